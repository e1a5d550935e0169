"""Making tensors, and joining them, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.backends.random import generator


def tensor(values: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `values` (list, number or array); Python floats become float32."""
    made = Tensor(values)
    return Tensor(made.array.astype(dtype or made.dtype), requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares memory with `array`."""
    return Tensor(array)


def zeros(*shape: int, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Zeros."""
    return Tensor(np.zeros(shape, dtype), requires_grad)


def ones(*shape: int, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return Tensor(np.ones(shape, dtype), requires_grad)


def randn(*shape: int, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Standard normal values from the global generator."""
    return Tensor(generator().standard_normal(shape).astype(dtype), requires_grad)


def rand(*shape: int, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Uniform values in [0, 1) from the global generator."""
    return Tensor(generator().random(shape).astype(dtype), requires_grad)


def arange(*bounds: Any, dtype: Any = None) -> Tensor:
    """Equally spaced values, as `numpy.arange`."""
    return tensor(np.arange(*bounds), dtype)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along `dim`."""
    return apply("concatenate", *tensors, dim=dim)
