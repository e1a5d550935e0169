"""What random transforms share: ranges, probabilities, and names of resampling filters, checked."""

from __future__ import annotations

import math
from typing import Any

from minicnn.data.checks import real
from minicnn.errors import ArgumentError

TRIES = 10  # a part that does not fit into the image is drawn again so often


def probability(called: str, p: Any) -> float:
    """`p` as a float between 0 and 1."""
    number = real(called, "p", p)
    if not 0 <= number <= 1:
        raise ArgumentError("p is no probability", called=called, seen=f"p={p}", rule="0 <= p <= 1")
    return number


def interval(called: str, name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """`value` as (smallest, largest) within low..high."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ArgumentError(f"{name} is no range", called=called, seen=f"{name}={value!r}", rule="(smallest, largest)")
    first, last = (real(called, f"{name}[{i}]", number) for i, number in enumerate(value))
    if not low <= first <= last <= high:
        raise ArgumentError(
            f"{name} is out of range",
            called=called,
            seen=f"{name}={value!r}",
            rule=(f"{low:g} <= " if low > -math.inf else "")
            + "smallest <= largest"
            + (f" <= {high:g}" if high < math.inf else ""),
        )
    return first, last


def positive(called: str, name: str, values: tuple[float, float]) -> tuple[float, float]:
    """The range, if it does not begin with zero."""
    if values[0] <= 0:
        raise ArgumentError(f"{name} begins with zero", called=called, seen=f"{name}={values}", rule="above 0")
    return values


def interpolation_name(called: str, interpolation: Any, allowed: tuple[str, ...]) -> str:
    """`interpolation` as given, if it is allowed."""
    if interpolation not in allowed:
        raise ArgumentError(
            "an unknown interpolation",
            called=called,
            seen=f"interpolation={interpolation!r}",
            rule=f"one of {', '.join(allowed)}",
        )
    return interpolation
