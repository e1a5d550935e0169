from __future__ import annotations

import time

import numba
import pytest

from minicnn.backends.jit import CompileClock
from minicnn.training.stopwatch import Stopwatch


def test_compiling_does_not_count():
    def kernel(x):
        return x * 3 + 1

    start = time.perf_counter()
    with CompileClock() as clock, Stopwatch() as watch:
        assert watch.seconds < 5
        assert numba.njit(kernel)(2) == 7
        time.sleep(0.02)
    wall = time.perf_counter() - start
    assert clock.seconds > 0
    assert watch.seconds >= 0.02
    assert watch.seconds == pytest.approx(wall - clock.seconds, abs=0.01)
    stopped = watch.seconds
    time.sleep(0.01)
    assert watch.seconds == stopped


def test_the_time_in_the_block_is_never_zero():
    with Stopwatch() as watch:
        first = watch.seconds
    assert first > 0
    assert watch.seconds > 0
