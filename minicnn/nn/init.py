"""Initial values of parameters, drawn from the global generator (`minicnn.manual_seed`)."""

from __future__ import annotations

import math

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.random import generator


def uniform_(tensor: Tensor, bound: float) -> Tensor:
    """Uniform in [-bound, bound)."""
    tensor.array[...] = generator().uniform(-bound, bound, tensor.shape)
    return tensor


def fan_in_uniform_(tensor: Tensor, fan_in: int) -> Tensor:
    """PyTorch's default for weights and biases of Linear and Conv2d: uniform with bound 1 / sqrt(fan_in).

    (It is He's uniform initialisation with a = sqrt(5), which gives just this bound.)
    """
    return uniform_(tensor, 1 / math.sqrt(fan_in))


def kaiming_normal_(tensor: Tensor, mode: str = "fan_out") -> Tensor:
    """Normal with variance 2 / fan, for ReLU networks (He et al. 2015, formula 10; `fan_out` is its formula 14)."""
    receptive = int(np.prod(tensor.shape[2:]))
    fan = (tensor.shape[0] if mode == "fan_out" else tensor.shape[1]) * receptive
    tensor.array[...] = generator().standard_normal(tensor.shape) * math.sqrt(2 / fan)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """All zeros."""
    tensor.array[...] = 0
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """All ones."""
    tensor.array[...] = 1
    return tensor
