"""Arguments that people give: one place that says what was wrong with them."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

from minicnn.errors import ArgumentError


def integer(called: str, name: str, value: Any, at_least: int) -> int:
    """`value` as an int, or an error: a whole number, not a bool, not below `at_least`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < at_least:
        raise ArgumentError(
            f"{name} is not an integer" if number is None else f"{name} is too small",
            called=called,
            seen=f"{name}={value!r} ({type(value).__name__})",
            rule=f"an integer, {at_least} or more",
        )
    return number


def integers(called: str, name: str, values: Any, at_least: int) -> tuple[int, ...]:
    """A list or tuple of integers as a tuple; each is checked by `integer`."""
    return tuple(integer(called, f"{name}[{i}]", value, at_least) for i, value in enumerate(values))


def real(called: str, name: str, value: Any) -> float:
    """`value` as a float, or an error: one finite number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ArgumentError(
            f"{name} is not a finite number", called=called, seen=f"{name}={value!r} ({type(value).__name__})"
        )
    return float(value)


def height_width(called: str, size: Any) -> tuple[int, int]:
    """`size` as (height, width): an integer means a square."""
    if isinstance(size, (list, tuple)):
        if len(size) != 2:
            raise ArgumentError(
                "size has a wrong length", called=called, seen=f"size={size!r}", rule="an integer or (height, width)"
            )
        height, width = integers(called, "size", size, 1)
        return height, width
    side = integer(called, "size", size, 1)
    return side, side
