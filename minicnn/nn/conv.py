"""The convolution layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.ops.windows import is_whole, pair


class Conv2d(Module):
    """Convolution with learned kernels: (N, in_channels, H, W) -> (N, out_channels, P, Q).

    Parameters are `weight: (out_channels, in_channels / groups, R, S)` and `bias: (out_channels,)`, both uniform in
    +-1/sqrt(in_channels / groups * R * S) at first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            if not is_whole(value) or value < 1:
                raise ArgumentError(
                    f"{name} is not valid", called="Conv2d", seen=f"{name}={value!r}", rule=f"{name} >= 1"
                )
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                "groups must divide the channels",
                called="Conv2d",
                seen=f"in_channels={in_channels}, out_channels={out_channels}, groups={groups}",
                rule="in_channels % groups == 0 and out_channels % groups == 0",
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "kernel_size", "Conv2d", least=1)
        self.stride = pair(stride, "stride", "Conv2d", least=1)
        self.padding = pair(padding, "padding", "Conv2d", least=0)
        self.dilation = pair(dilation, "dilation", "Conv2d", least=1)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32))
        self.register_parameter("bias", Parameter(np.empty(out_channels, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        fan_in = int(np.prod(self.weight.shape[1:]))
        init.fan_in_uniform_(self.weight, fan_in)
        if self.bias is not None:
            init.fan_in_uniform_(self.bias, fan_in)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Arguments that differ from their defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")
