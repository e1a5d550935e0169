"""The fully connected layer, and the layers that only rearrange."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.ops.axes import one_axis
from minicnn.ops.windows import is_whole


class Linear(Module):
    """Fully connected (formula D1.3): (..., in_features) -> (..., out_features).

    Parameters are `weight: (out_features, in_features)` and `bias: (out_features,)`, uniform in +-1/sqrt(in_features)
    at first.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if not is_whole(value) or value < 1:
                raise ArgumentError(
                    f"{name} is not valid", called="Linear", seen=f"{name}={value!r}", rule=f"{name} >= 1"
                )
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.register_parameter("bias", Parameter(np.empty(out_features, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.fan_in_uniform_(self.weight, self.in_features)
        if self.bias is not None:
            init.fan_in_uniform_(self.bias, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """x w^T + b."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """All axes from `start_dim` to `end_dim` become one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """Flatten."""
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis `dim` becomes several, of the sizes `unflattened_size`: what `Flatten` took apart."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        sizes = tuple(unflattened_size) if isinstance(unflattened_size, (tuple, list)) else ()
        if not sizes or not is_whole(dim) or not all(is_whole(size) and size >= 1 for size in sizes):
            raise ArgumentError(
                "not an axis and the sizes that it becomes",
                called="Unflatten",
                seen=f"dim={dim!r}, unflattened_size={unflattened_size!r}",
                rule="a whole number, and whole numbers >= 1",
            )
        self.dim, self.unflattened_size = dim, sizes

    def forward(self, x: Tensor) -> Tensor:
        """Unflatten."""
        axis = one_axis(self.dim, x.ndim, "Unflatten")
        return x.reshape(*x.shape[:axis], *self.unflattened_size, *x.shape[axis + 1 :])

    def extra_repr(self) -> str:
        """The axis, and its sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Identity(Module):
    """Passes its input on; put in the place of a layer that is not wanted. Arguments are ignored."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """The input itself."""
        return x
