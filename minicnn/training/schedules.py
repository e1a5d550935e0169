"""Learning-rate schedules: functions from progress to a factor.

A schedule gets the share of the training that is done, step / total (0 at the first step, just below 1 at the last),
and returns what the optimizer's learning rate is multiplied with. It remembers nothing, so a training goes on with it
from any step. (`ReduceOnPlateau`, which needs to see the validation, stands in `plateau.py`.)

Below, p is the progress.
"""

from __future__ import annotations

import math
import numbers
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from minicnn.errors import ArgumentError

Schedule = Callable[[float], float]
NEARLY = 1e-9  # progress is a quotient: 0.3 / 0.1 is a bit less than 3


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
    return warm_up(warmup, lambda progress: (1 + math.cos(math.pi * progress)) / 2, called="cosine")


def warm_up(share: float, then: Schedule, start: float = 0.1, called: str = "warm_up") -> Schedule:
    """A straight line from `start` up to 1 in a share of the training; then another schedule, in what is left.

    Parameters
    ----------
    share : float
        0 <= share < 1.
    then : callable
    start : float
        The first factor, 0 <= start <= 1.
    called : str
        Named in errors.
    """
    name = "share" if called == "warm_up" else "warmup"
    if not (_is_number(share) and 0 <= share < 1):
        raise ArgumentError(f"{name} is not valid", called=called, seen=f"{name}={share}", rule=f"0 <= {name} < 1")
    _check("start", start, called, most=1.0)

    def factor(progress: float) -> float:
        if progress < share:
            return start + (1 - start) * progress / share
        return then((progress - share) / (1 - share))

    return factor


def step(every: float, gamma: float = 0.1) -> Schedule:
    r"""Down by a factor after equal parts of the training: :math:`\gamma^{\lfloor p / e \rfloor}`.

    Parameters
    ----------
    every : float
        e, the share of the training after which a step comes, above 0: 1/3 is every 10 of 30 epochs.
    gamma : float
        Not negative.
    """
    _check("every", every, "step", above=True)
    _check("gamma", gamma, "step")
    return lambda progress: gamma ** math.floor(progress / every + NEARLY)


def multistep(milestones: Iterable[float], gamma: float = 0.1) -> Schedule:
    r"""Down by a factor at some moments: :math:`\gamma^n`, n the number of milestones :math:`\le p`.

    Parameters
    ----------
    milestones : iterable of float
        Shares of the training, each from 0 to 1: (0.5, 0.75).
    gamma : float
        Not negative.
    """
    if not isinstance(milestones, Iterable) or isinstance(milestones, str):
        rule = "a list of shares of the training"
        raise ArgumentError("milestones are not valid", called="multistep", seen=repr(milestones), rule=rule)
    moments = sorted(_check("milestone", moment, "multistep", most=1.0) for moment in milestones)
    _check("gamma", gamma, "multistep")
    return lambda progress: gamma ** bisect_right(moments, progress + NEARLY)


def exponential(last: float = 0.01) -> Schedule:
    """Down by the same factor in each step, to `last` at the end: last^p.

    Parameters
    ----------
    last : float
        Above 0.
    """
    _check("last", last, "exponential", above=True)
    return lambda progress: last**progress


def one_cycle(rise: float = 0.3, first: float = 1 / 25, last: float = 1 / 250_000) -> Schedule:
    """Half a cosine up from `first` to 1, then one down to `last` (Smith and Topin 2019): the rate is the highest one.

    `optim.lr_scheduler.OneCycleLR` turns momentum the other way meanwhile; this one leaves it alone.

    Parameters
    ----------
    rise : float
        Share of the training that the way up takes, 0 < rise < 1.
    first, last : float
        Factors at the beginning and at the end, 0 to 1.
    """
    if not (_is_number(rise) and 0 < rise < 1):
        raise ArgumentError("rise is not valid", called="one_cycle", seen=f"rise={rise!r}", rule="0 < rise < 1")
    _check("first", first, "one_cycle", most=1.0)
    _check("last", last, "one_cycle", most=1.0)

    def factor(progress: float) -> float:
        start, done = (first, progress / rise) if progress < rise else (last, (1 - progress) / (1 - rise))
        return start + (1 - start) * (1 - math.cos(math.pi * done)) / 2

    return factor


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check(name: str, value: Any, called: str, *, above: bool = False, most: float = math.inf) -> float:
    if not (_is_number(value) and math.isfinite(value) and value <= most and (value > 0 if above else value >= 0)):
        rule = f"{name} {'>' if above else '>='} 0" + (f", {name} <= {most:g}" if most < math.inf else "")
        raise ArgumentError(f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule=rule)
    return float(value)
