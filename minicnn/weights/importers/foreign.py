"""What a reader of a foreign weights file gives back: arrays by name, as the file has them."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from minicnn.errors import WeightsError

MOST_TENSORS, MOST_AXES, LONGEST_NAME = 8_000, 8, 300
LARGEST_AXIS, LARGEST_PRODUCT = 2**40, 2**56

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""The dtype of arrays of bfloat16, which NumPy does not have: the upper 16 bits of a float32. See `as_float32`."""


@dataclass
class Foreign:
    """The content of a foreign weights file, not yet renamed.

    Attributes
    ----------
    format : str
        In words: "PyTorch checkpoint (zip)".
    arrays : dict of name to array
        In the file's order, under the file's names; nested containers become dotted names
        (`state_dict.conv1.weight`). Views of the mapped file where the format allows it: nothing is read until it is
        used. dtype bool, (u)int, float16, float32, float64, or `BFLOAT16`.
    notes : list of str
        What a user should know, a sentence each.
    layout : "torch" or "keras"
        Axes of the kernels: (out, in, h, w) and (out, in), or (h, w, in, out) and (in, out).
    values : dict of dotted name to number, text or list of texts
        What else the file says (`epoch`, `arch`, `classes`); never believed without a check.
    eps : dict of name to float
        Epsilon of batch normalisation, by the name of its variance's array, where the file says it.
    checksum : str
        Which checksum the format has and the reader has checked, in words; "" where it has none.
    """

    format: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    layout: Literal["torch", "keras"] = "torch"
    values: dict[str, Any] = field(default_factory=dict)
    eps: dict[str, float] = field(default_factory=dict)
    checksum: str = ""


def as_float32(array: np.ndarray) -> np.ndarray:
    """Any array of a `Foreign` as float32, contiguous, in the machine's byte order."""
    if array.dtype.names == BFLOAT16.names:
        bits = np.asarray(array["bfloat16"], np.uint32, order="C") << np.uint32(16)
        return np.asarray(bits).view(np.float32)
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32, order="C")


def map_file(path: str) -> mmap.mmap:
    """The bytes of a file that is not empty, read only when they are used."""
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty, by now or because the system makes it up
        raise WeightsError("the file cannot be read", called=path, seen=str(error)[:80]) from None


def dtype_name(dtype: np.dtype) -> str:
    """The name of a dtype of a `Foreign`: "float32", "bfloat16", ..."""
    return "bfloat16" if dtype.names == BFLOAT16.names else dtype.name


def shown(value: Any) -> str:
    """A value of a file in a few letters: writing out containers that hold each other would take for ever."""
    if isinstance(value, (str, bytes)):
        return ascii(value[:60])
    return (
        str(value)
        if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64)
        else type(value).__name__
    )


def check_name(name: str, called: str) -> None:
    """Raise unless a tensor's name is printable and of a limited length."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise WeightsError(
            "a tensor's name that cannot be",
            called=called,
            seen=ascii(name[:40]),
            rule=f"1 to {LONGEST_NAME} printable characters",
        )


def count_of(shape: Sequence[int], where: str) -> int:
    """The number of values of a shape, exactly; raises unless it is a shape of a few axes of sane lengths."""
    sane = len(shape) <= MOST_AXES and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= LARGEST_AXIS for n in shape
    )
    # NumPy multiplies the other axes also where one is zero.
    if not sane or (0 in shape and math.prod(n for n in shape if n) > LARGEST_PRODUCT):
        raise WeightsError(
            "a shape that cannot be",
            called=where,
            seen=f"({', '.join(shown(n) for n in shape[: MOST_AXES + 1])})",
            rule=f"at most {MOST_AXES} axes, each 0 to {LARGEST_AXIS:,}",
        )
    return math.prod(shape)


def check_count(count: int, called: str) -> None:
    """Raise if a file has more tensors than any network for images."""
    if count > MOST_TENSORS:
        raise WeightsError("too many tensors", called=called, seen=f"{count:,}", rule=f"at most {MOST_TENSORS:,}")
