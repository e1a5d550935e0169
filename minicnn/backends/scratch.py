"""Buffers that are used again: memory that has been touched before costs no page faults.

A `Pool` keeps buffers by a key. What is taken under a key was zero when new, and comes back as its last user under the
same key left it: users may rely on places that nobody under that key ever writes (the halo of images). All share
`POOL`, unless a thread has said `with own_pool():`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np

Key = tuple[Any, ...]
LIMIT = int(os.environ.get("MINICNN_POOL_BYTES", 4 * 2**30))  # of waiting buffers; the longest unused ones go first
CACHE_LINE = 64


class Pool:
    """Buffers that wait for their next use, at most `limit` bytes of them."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.waiting = 0  # bytes
        self._buffers: OrderedDict[Key, list[np.ndarray]] = OrderedDict()
        self._lock = threading.RLock()  # __del__ may give a buffer back while this thread holds the lock

    def take(self, key: Key, size: int, dtype: Any) -> np.ndarray:
        """A 1-D array of `size` numbers that begins at a cache line."""
        with self._lock:
            waiting = self._buffers.get(key)
            if waiting:
                buffer = waiting.pop()
                self.waiting -= buffer.nbytes
                return buffer
        return aligned_zeros(size, dtype)

    def give(self, key: Key, buffer: np.ndarray) -> None:
        """Let the buffer wait for the next `take` under this key."""
        with self._lock:
            self._buffers.setdefault(key, []).append(buffer)
            self._buffers.move_to_end(key)
            self.waiting += buffer.nbytes
            while self.waiting > self.limit:
                oldest, buffers = next(iter(self._buffers.items()))
                if buffers:
                    self.waiting -= buffers.pop().nbytes
                else:
                    del self._buffers[oldest]

    def clear(self) -> None:
        """Forget all waiting buffers."""
        with self._lock:
            self._buffers.clear()
            self.waiting = 0

    def begin_again(self) -> None:
        """In a forked process: the thread that held the lock is not here, and what it was doing is half done."""
        self._lock = threading.RLock()
        self.clear()


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.begin_again)

_current = threading.local()


def pool() -> Pool:
    """The pool of this thread."""
    return getattr(_current, "pool", POOL)


@contextmanager
def own_pool() -> Iterator[Pool]:
    """In this block, this thread's buffers come from a pool that nobody else uses, and return to it."""
    before, _current.pool = pool(), Pool()
    try:
        yield _current.pool
    finally:
        _current.pool = before


class Scratch:
    """Working memory of one call: `with Scratch(size, dtype) as v:`; what is in it at first is not defined.

    Sizes are rounded up to powers of two, so that the layers of a network share a few buffers, which stay in the cache.
    """

    def __init__(self, size: int, dtype: Any) -> None:
        self._size, self._dtype = 1 << max(0, size - 1).bit_length(), np.dtype(dtype)
        self._key: Key = ("scratch", self._size, self._dtype.char)

    def __enter__(self) -> np.ndarray:
        self._pool = pool()
        self._buffer = self._pool.take(self._key, self._size, self._dtype)
        return self._buffer

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.give(self._key, self._buffer)


def aligned_zeros(size: int, dtype: Any) -> np.ndarray:
    """A 1-D array of zeros that begins at a cache line, so that no vector lies on two of them."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(size * itemsize + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + size * itemsize].view(dtype)
