"""Pooling layers."""

from __future__ import annotations

from typing import Any

from minicnn.autograd import Tensor
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn.module import Module
from minicnn.ops.windows import pair


class MaxPool2d(Module):
    """The maximum of each window (formulas D1.2, D4.2); stride is the kernel size unless given."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.kernel_size = pair(kernel_size, "kernel_size", "MaxPool2d", least=1)
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", "MaxPool2d", least=1)
        self.padding = pair(padding, "padding", "MaxPool2d", least=0)
        self.dilation = pair(dilation, "dilation", "MaxPool2d", least=1)
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        """Arguments."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window; padding counts as zeros unless `count_include_pad` is False."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = pair(kernel_size, "kernel_size", "AvgPool2d", least=1)
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", "AvgPool2d", least=1)
        self.padding = pair(padding, "padding", "AvgPool2d", least=0)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        """Arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over windows chosen so that the output has size `output_size`, whatever the input's size."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        """The output size."""
        return f"output_size={self.output_size}"
