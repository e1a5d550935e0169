"""Measuring time without the time that compiling took."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds since its block began, without those that went into compiling kernels."""

    def __enter__(self) -> Stopwatch:
        from minicnn.backends.jit import CompileClock

        self._compiling = CompileClock().__enter__()
        self._start = time.perf_counter()
        self._stop: float | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = time.perf_counter()
        self._compiling.__exit__()

    @property
    def seconds(self) -> float:
        """So far; after the block, of the block. Above 0, so that one can divide by it."""
        now = time.perf_counter() if self._stop is None else self._stop
        return max(now - self._start - self._compiling.seconds, 1e-9)
