"""Learning-rate schedules: functions from progress to a factor.

A schedule gets the share of the training that is done, step / total (0 at the first step, just below 1 at the last),
and returns what the optimizer's learning rate is multiplied with.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from minicnn.errors import ArgumentError

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """The same learning rate from the first step to the last."""
    return lambda progress: 1.0


def cosine(warmup: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to 0; before it, a straight line up from a tenth.

    Parameters
    ----------
    warmup : float
        Share of the training that the way up takes, 0 <= warmup < 1.
    """
    if not 0 <= warmup < 1:
        raise ArgumentError("warmup is not valid", called="cosine", seen=f"warmup={warmup}", rule="0 <= warmup < 1")

    def factor(progress: float) -> float:
        if progress < warmup:
            return 0.1 + 0.9 * progress / warmup
        return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2

    return factor
