"""Timing several candidates in one process so that they can be compared.

A machine is not equally fast from one second to the next, and threads of one library may spin for a while after their
work and take the cores from the next. So candidates take turns: in each round each has one *block*, with a short pause
before it (spinning threads fall asleep), some warm calls (caches, buffers, the CPU's clock) and then timed ones. The
block's time is its median, the candidate's time the median of its blocks. Every other round goes backwards, so that
none always follows the same neighbour.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

ROUNDS, REPETITIONS = 5, 5
PAUSE = 0.12  # seconds; OpenMP's threads spin for less
WARM = 0.1  # seconds of warm calls; two calls if they are longer
TIMED = 0.15  # seconds of timed calls, at least as many as asked for if they are shorter than LONG together
SHORTEST = 200e-6  # seconds a sample: shorter calls are made several times in one
LONG = 1.0  # seconds of a call that is not repeated in its block
LONG_ROUNDS = 2

Call = Callable[[], Any]


def interleaved(
    candidates: Mapping[str, Call],
    rounds: int = ROUNDS,
    repetitions: int = REPETITIONS,
    pause: float = PAUSE,
    step: Callable[[], Any] | None = None,
) -> dict[str, float]:
    """Seconds a call of each candidate.

    Parameters
    ----------
    candidates : mapping of str to callable
    rounds, repetitions : int
        Blocks of each candidate, and timed calls in a block; fewer if they would take more than a second together.
    pause : float
        Seconds before each block.
    step : callable, optional
        Called after each block (for a progress bar): `rounds * len(candidates)` times.
    """
    blocks: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name in list(candidates)[:: 1 if number % 2 == 0 else -1]:
            if number < LONG_ROUNDS or min(blocks[name]) < LONG:
                time.sleep(pause)
                blocks[name].append(_block(candidates[name], repetitions))
            if step is not None:
                step()
    return {name: statistics.median(times) for name, times in blocks.items()}


def _block(call: Call, repetitions: int) -> float:
    warm = _seconds(call)
    if warm >= LONG:
        return warm  # its own warm-up is small beside it
    spent, warm = warm, min(warm, _seconds(call))
    while spent + warm < WARM:
        spent += warm
        warm = min(warm, _seconds(call))
    many = max(1, int(SHORTEST / max(warm, 1e-9)))
    samples: list[float] = []
    least = max(1, min(repetitions, int(LONG / warm)))
    while len(samples) < least or sum(samples) * many < TIMED:
        start = time.perf_counter()
        for _ in range(many):
            call()
        samples.append((time.perf_counter() - start) / many)
    return statistics.median(samples)


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def relative_error(result: Any, reference: np.ndarray) -> float:
    """The largest difference, relative to the largest value of the reference; infinity for NaN or another shape."""
    found = np.asarray(result)
    if found.shape != reference.shape:
        return float("inf")
    difference = np.abs(found.astype(np.float64) - reference).max(initial=0.0)
    error = float(difference / max(float(np.abs(reference).max(initial=0.0)), 1e-30))
    return error if np.isfinite(error) else float("inf")
