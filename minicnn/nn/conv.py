"""The convolution layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, ShapeError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.ops.windows import is_whole, pair


class _Convolution(Module):
    """What both layers have: sizes that are checked, a weight and a bias, and how they begin."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> None:
        super().__init__()
        called = type(self).__name__
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            if not is_whole(value) or value < 1:
                raise ArgumentError(
                    f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule=f"{name} >= 1"
                )
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                "groups must divide the channels",
                called=called,
                seen=f"in_channels={in_channels}, out_channels={out_channels}, groups={groups}",
                rule="in_channels % groups == 0 and out_channels % groups == 0",
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "kernel_size", called, least=1)
        self.stride = pair(stride, "stride", called, least=1)
        self.padding = pair(padding, "padding", called, least=0)
        self.dilation = pair(dilation, "dilation", called, least=1)

    def _make_parameters(self, channels: tuple[int, int], bias: bool) -> None:
        self.weight = Parameter(np.empty((*channels, *self.kernel_size), np.float32))
        self.register_parameter("bias", Parameter(np.empty(self.out_channels, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        fan_in = int(np.prod(self.weight.shape[1:]))
        init.fan_in_uniform_(self.weight, fan_in)
        if self.bias is not None:
            init.fan_in_uniform_(self.bias, fan_in)

    def extra_repr(self) -> str:
        """Arguments that differ from their defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", (0, 0)), ("output_padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)):
            value = getattr(self, name, default)
            text += f", {name}={value}" if value != default else ""
        return text + (", bias=False" if self.bias is None else "")


class Conv2d(_Convolution):
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
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self._make_parameters((out_channels, in_channels // groups), bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Convolution):
    """Transposed convolution with learned kernels: (N, in_channels, H, W) -> (N, out_channels, P, Q), with
    P = (H - 1) stride - 2 padding + dilation (R - 1) + 1 + output_padding, Q alike.

    Parameters are `weight: (in_channels, out_channels / groups, R, S)` and `bias: (out_channels,)`, both uniform in
    +-1/sqrt(out_channels / groups * R * S) at first, as in PyTorch.

    `ConvTranspose2d(a, b, 4, stride=2, padding=1)` doubles an image: each pixel of y is then seen by just 2 x 2
    pixels of x. With a kernel that stride does not divide, some pixels get more summands than others, and y shows a
    chequered pattern (Odena et al. 2016).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.output_padding = pair(output_padding, "output_padding", "ConvTranspose2d", least=0)
        least = [max(steps) for steps in zip(self.stride, self.dilation, strict=True)]
        if self.output_padding[0] >= least[0] or self.output_padding[1] >= least[1]:
            raise ArgumentError(
                "output_padding is not valid",
                called="ConvTranspose2d",
                seen=f"output_padding={output_padding!r}, stride={stride!r}, dilation={dilation!r}",
                rule="output_padding < stride, or < dilation",
            )
        self._make_parameters((in_channels, out_channels // groups), bias)

    def forward(self, x: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """Convolve, transposed; `output_size` (P, Q) is reached by an output_padding of its own, if it can be."""
        more = self.output_padding if output_size is None or x.ndim != 4 else self._to_reach(output_size, x)
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )

    def _to_reach(self, output_size: tuple[int, int], x: Tensor) -> tuple[int, int]:
        """The output_padding that gives images of `output_size`."""
        sizes = output_size[-2:] if isinstance(output_size, (tuple, list)) else output_size
        wanted = pair(sizes, "output_size", "ConvTranspose2d", least=1)
        least = [
            (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
            for size, kernel, stride, padding, dilation in zip(
                x.shape[-2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        more = [size - small for size, small in zip(wanted, least, strict=True)]
        if not all(0 <= m < max(*steps) for m, *steps in zip(more, self.stride, self.dilation, strict=True)):
            most = [s + max(*steps) - 1 for s, *steps in zip(least, self.stride, self.dilation, strict=True)]
            raise ShapeError(
                "these images cannot become so large or small",
                called="ConvTranspose2d",
                seen=f"output_size={output_size!r}, x {x.shape}",
                rule=f"{least[0]}..{most[0]} rows, {least[1]}..{most[1]} columns",
            )
        return more[0], more[1]
