"""Making tensors, and joining them, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.backends.random import generator
from minicnn.errors import ShapeError
from minicnn.ops.windows import is_whole


def tensor(values: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `values` (list, number or array); Python floats become float32."""
    made = Tensor(values)
    return Tensor(made.array.astype(dtype or made.dtype), requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares memory with `array`."""
    return Tensor(array)


def _sizes(shape: tuple[Any, ...], called: str) -> tuple[int, ...]:
    """The sizes in `f(2, 3)` or `f((2, 3))`."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if not all(is_whole(size) and size >= 0 for size in sizes):
        raise ShapeError("not a shape", called=called, seen=f"{tuple(sizes)}", rule="whole numbers >= 0")
    return tuple(sizes)


def zeros(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Zeros."""
    return Tensor(np.zeros(_sizes(shape, "zeros"), dtype), requires_grad)


def ones(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return Tensor(np.ones(_sizes(shape, "ones"), dtype), requires_grad)


def randn(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Standard normal values from the global generator."""
    return Tensor(generator().standard_normal(_sizes(shape, "randn")).astype(dtype), requires_grad)


def rand(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Uniform values in [0, 1) from the global generator."""
    return Tensor(generator().random(_sizes(shape, "rand")).astype(dtype), requires_grad)


def arange(*bounds: Any, dtype: Any = None) -> Tensor:
    """Equally spaced values, as `numpy.arange`; float32 where a bound is a float, else int64."""
    values = np.arange(*bounds)
    return tensor(values, dtype or (np.float32 if values.dtype.kind == "f" else np.int64))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along `dim`."""
    return apply("concatenate", *tensors, dim=dim)
