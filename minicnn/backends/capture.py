"""Run a piece of work once, then repeat only its kernels: what a CUDA graph is on a GPU.

Between two kernels Python chooses an algorithm, takes buffers and computes their steps. That is some 50 microseconds
when other data has driven the interpreter out of the caches, as much as a small layer takes. In a network for
inference all of it is the same in every run. A `Capture` notes the calls of kernels with their arguments, which are
arrays at fixed places, and `replay` makes the same calls again::

    with Capture() as capture:
        y = work(x)
    x[...] = other
    capture.replay()        # y holds work(other)

This is right where the work is done by parallel kernels alone: what NumPy computes meanwhile is not repeated. The
buffers belong to the capture; one thread at a time may replay it. Working memory is cut for the number of threads at
that time, and `replay` runs with that number.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

import numba

from minicnn.backends.scratch import own_pool
from minicnn.backends.threads import Call, noted


class Capture:
    """The calls of kernels in a `with` block.

    Attributes
    ----------
    calls : list of (kernel, arguments)
        The arguments keep all buffers alive.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._threads = 0
        self._stack = ExitStack()

    def __enter__(self) -> Capture:
        self._threads = numba.get_num_threads()
        self._stack.enter_context(own_pool())
        self.calls = self._stack.enter_context(noted())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def replay(self) -> None:
        """Make the calls again."""
        now = numba.get_num_threads()
        if now != self._threads:
            numba.set_num_threads(self._threads)
        try:
            for kernel, arguments in self.calls:
                kernel(*arguments)
        finally:
            if now != self._threads:
                numba.set_num_threads(now)
