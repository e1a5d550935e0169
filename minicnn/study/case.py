"""What is asked for when an operation is measured (`Request`), and how it is then called (`Case`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Request:
    """What is asked for: an operation's pass on these shapes; stride and padding as whole numbers or pairs."""

    operation: str
    pass_name: str
    dtype: Any
    shape: Shape
    kernel: Shape = ()
    stride: Any = None
    padding: Any = None


@dataclass(frozen=True)
class Case:
    """An operation, ready to be called on given shapes.

    Attributes
    ----------
    call : callable
        `call(m, request, *tensors)` with the module `minicnn` or `torch`; returns y.
    inputs : callable
        Shapes of the tensors, from the request; without it one tensor of its shape.
    flops : callable
        Operations of the forward formula, from the request.
    form : str
        The axes of `shape`: "NxCxHxW"; "" for any.
    kernel_form : str
        The axes of `kernel`, "" where there is none.
    shape, kernel, stride, padding
        Used where none is given; stride None: there is none to give.
    change : callable, optional
        Changes the normally distributed numbers of the tensors in place or not; returns the arrays.
    result : callable, optional
        Shape of y, where it may be much larger than the inputs.
    in_flops : bool
        Whether arithmetic limits it, so that rates are FLOP/s; else memory, and bytes a second.
    torch : callable, optional
        PyTorch's call, where it differs.
    names : tuple of str
        Of the tensors, where they are not the operation's inputs.
    words : str
        What the shapes do not say.
    """

    call: Callable[..., Any]
    shape: Shape
    flops: Callable[[Request], float]
    inputs: Callable[[Request], list[Shape]] = lambda r: [r.shape]
    form: str = "NxCxHxW"
    kernel: Shape = ()
    kernel_form: str = ""
    stride: Any = None
    padding: Any = None
    change: Callable[[Request, Arrays], Arrays] = lambda r, arrays: arrays
    result: Callable[[Request], Shape] = lambda r: r.shape
    in_flops: bool = False
    torch: Callable[..., Any] | None = None
    names: tuple[str, ...] = ()
    words: str = ""


def draw(dtype: Any, *shapes: Shape, seed: int = 0) -> list[np.ndarray]:
    """Arrays of normally distributed numbers, the same at each call."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return [rng.standard_normal(shape, dtype=np.float32).astype(dtype) for shape in shapes]
