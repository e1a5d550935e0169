"""Parallel kernels that any thread and any process may call.

Numba runs a parallel kernel's threads by one of three *threading layers*, and two of them have a limit that ends the
process: `workqueue` if two Python threads call parallel kernels at once, GNU's OpenMP (`omp`) if a forked process
(`multiprocessing` with "fork") calls one after its parent did. A `Parallel` kernel keeps out of both:

- under `workqueue`, one call at a time runs; the others wait;
- in a process that was forked after threads had begun, kernels run on the one thread that is left, compiled without
  threads. Results are the same bits, because no sum depends on threads.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numba

THREAD_SAFE = ("omp", "tbb")

_lock = threading.RLock()  # a kernel's call may compile helpers, and Numba's listeners may call kernels
_ready = False  # this process may call parallel kernels without the lock
_forked = False  # its parent had threads, which are not here
_noting = 0  # threads whose calls are being noted
_notes = threading.local()  # of this thread: the list that its calls are noted in

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def parallel(dispatcher: Any, alone: Callable[[], Any]) -> Callable[..., Any]:
    """A callable that runs `dispatcher`, or, where threads cannot be used, what `alone()` returns."""

    @functools.wraps(dispatcher.py_func)
    def call(*arguments: Any) -> Any:
        if _ready:
            return dispatcher(*arguments)
        note = getattr(_notes, "calls", None)
        if note is not None:
            note.append((call, arguments))
        return _carefully(dispatcher, alone, arguments)

    found: Any = call  # a function takes any attribute, unseen by type checkers
    found.py_func, found.dispatcher, found.alone = dispatcher.py_func, dispatcher, alone
    return call


def _carefully(dispatcher: Any, alone: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
    global _ready
    if _forked:
        return alone()(*arguments)
    with _lock:
        if started() not in THREAD_SAFE:
            return dispatcher(*arguments)
        _ready = not _noting
    return dispatcher(*arguments)


@contextmanager
def noted() -> Iterator[list[Call]]:
    """A list of all calls of parallel kernels that this thread makes in the block, with their arguments."""
    global _ready, _noting
    with _lock:
        _ready, _noting = False, _noting + 1
    before, _notes.calls = getattr(_notes, "calls", None), []
    try:
        yield _notes.calls
    finally:
        _notes.calls = before
        with _lock:
            _noting -= 1


def started() -> str:
    """Name of the threading layer, whose threads begin now if they have not yet."""
    numba.get_num_threads()
    return str(numba.threading_layer())


class Lock:
    """A lock that is open in a forked process, whoever held it when the process was forked: `with lock:`."""

    def __init__(self) -> None:
        self.renew()
        _locks.add(self)

    def renew(self) -> None:
        """Nobody holds it any more."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()


def _after_fork() -> None:
    global _lock, _ready, _forked
    _lock = threading.RLock()  # the thread that held the old one is not here
    for lock in list(_locks):
        lock.renew()
    try:
        numba.threading_layer()
    except ValueError:  # no threads yet: this process may begin its own
        return
    _ready, _forked = False, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
