"""Initial values of parameters, drawn from the global generator (`minicnn.manual_seed`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.random import generator
from minicnn.errors import ArgumentError

_drawing: ContextVar[bool] = ContextVar("drawing", default=True)


@contextmanager
def uninitialized() -> Iterator[None]:
    """Random initial values are not drawn in this block: parameters hold whatever memory holds.

    For networks that are only counted: where nothing is written, the system gives no memory either.
    """
    token = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(token)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    if not _drawing.get():
        return tensor
    tensor.array[...] = generator().uniform(a, b, tensor.shape)
    return tensor


def fan_in_uniform_(tensor: Tensor, fan_in: int) -> Tensor:
    """PyTorch's default for weights and biases of Linear and Conv2d: uniform with bound 1 / sqrt(fan_in).

    (It is He's uniform initialisation with a = sqrt(5), which gives just this bound.)
    """
    bound = 1 / math.sqrt(fan_in)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, mode: str = "fan_in") -> Tensor:
    """Normal with variance 2 / fan, for ReLU networks (He et al. 2015, formula 10; `fan_out` is its formula 14)."""
    if mode not in ("fan_in", "fan_out") or tensor.ndim < 2:
        raise ArgumentError(
            "no fan of that kind",
            called="kaiming_normal_",
            seen=f"mode={mode!r}, tensor {tensor.shape}",
            rule="'fan_in' or 'fan_out' of a tensor (K, C, ...)",
        )
    if not _drawing.get():
        return tensor
    receptive = int(np.prod(tensor.shape[2:]))
    fan = (tensor.shape[0] if mode == "fan_out" else tensor.shape[1]) * receptive
    tensor.array[...] = generator().standard_normal(tensor.shape) * math.sqrt(2 / fan)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with this mean and standard deviation."""
    if _drawing.get():
        tensor.array[...] = generator().standard_normal(tensor.shape) * std + mean
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """All zeros."""
    tensor.array[...] = 0
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """All ones."""
    tensor.array[...] = 1
    return tensor
