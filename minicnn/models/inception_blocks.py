"""The blocks of Inception-v3: several ways through a block side by side, and their channels one after the other.

Each way sees windows of another size. What is 7x7 in one paper is 1x7 after 7x1 here (section 3.2 of Szegedy et al.
2015): a seventh of the products, twice the depth. Names are those of torchvision's `inception.py`; `c` counts channels
in the full network, of which a narrower one has a share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.functions import cat
from minicnn.nn import functional as F  # noqa: N812

Share = Callable[[int], int]  # from channels of the full network to those of this one


class BasicConv2d(nn.Module):
    """Convolution without bias, batch normalisation with eps 0.001, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: int = 1, padding: Any = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """relu(bn(conv(x)))"""
        return self.bn(self.conv(x), relu=True)


def _pooled(x: Tensor) -> Tensor:
    """Means of 3x3 windows; what lies outside the image counts as zeros."""
    return F.avg_pool2d(x, 3, stride=1, padding=1)


class InceptionA(nn.Module):
    """1x1, 5x5, two 3x3, and a pooling: 224 channels and those of the pooling (figure 5)."""

    def __init__(self, in_channels: int, pool_features: int, share: Share) -> None:
        super().__init__()
        i, c = share(in_channels), share
        self.branch1x1 = BasicConv2d(i, c(64), 1)
        self.branch5x5_1 = BasicConv2d(i, c(48), 1)
        self.branch5x5_2 = BasicConv2d(c(48), c(64), 5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(i, c(64), 1)
        self.branch3x3dbl_2 = BasicConv2d(c(64), c(96), 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(c(96), c(96), 3, padding=1)
        self.branch_pool = BasicConv2d(i, c(pool_features), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 224 + pool_features, H, W)"""
        two = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return cat([self.branch1x1(x), two, three, self.branch_pool(_pooled(x))], 1)


class InceptionB(nn.Module):
    """Halves the image: 3x3 of stride 2, two 3x3 the second of stride 2, and a max pooling (figure 10)."""

    def __init__(self, in_channels: int, share: Share) -> None:
        super().__init__()
        i, c = share(in_channels), share
        self.branch3x3 = BasicConv2d(i, c(384), 3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(i, c(64), 1)
        self.branch3x3dbl_2 = BasicConv2d(c(64), c(96), 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(c(96), c(96), 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 480 + C, H/2, W/2)"""
        two = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return cat([self.branch3x3(x), two, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionC(nn.Module):
    """1x1, 7x7 as 1x7 and 7x1, twice 7x7 likewise, and a pooling: 192 channels each (figure 6, n = 7)."""

    def __init__(self, in_channels: int, channels_7x7: int, share: Share) -> None:
        super().__init__()
        i, o, c = share(in_channels), share(192), share(channels_7x7)
        lying: dict[str, Any] = {"kernel_size": (1, 7), "padding": (0, 3)}
        upright: dict[str, Any] = {"kernel_size": (7, 1), "padding": (3, 0)}
        self.branch1x1 = BasicConv2d(i, o, 1)
        self.branch7x7_1 = BasicConv2d(i, c, 1)
        self.branch7x7_2 = BasicConv2d(c, c, **lying)
        self.branch7x7_3 = BasicConv2d(c, o, **upright)
        self.branch7x7dbl_1 = BasicConv2d(i, c, 1)
        self.branch7x7dbl_2 = BasicConv2d(c, c, **upright)
        self.branch7x7dbl_3 = BasicConv2d(c, c, **lying)
        self.branch7x7dbl_4 = BasicConv2d(c, c, **upright)
        self.branch7x7dbl_5 = BasicConv2d(c, o, **lying)
        self.branch_pool = BasicConv2d(i, o, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 768, H, W)"""
        one = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        two = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        two = self.branch7x7dbl_5(self.branch7x7dbl_4(two))
        return cat([self.branch1x1(x), one, two, self.branch_pool(_pooled(x))], 1)


class InceptionD(nn.Module):
    """Halves the image: 3x3 of stride 2, 7x7 as 1x7 and 7x1 before such a one, and a max pooling."""

    def __init__(self, in_channels: int, share: Share) -> None:
        super().__init__()
        i, c = share(in_channels), share
        self.branch3x3_1 = BasicConv2d(i, c(192), 1)
        self.branch3x3_2 = BasicConv2d(c(192), c(320), 3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(i, c(192), 1)
        self.branch7x7x3_2 = BasicConv2d(c(192), c(192), (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = BasicConv2d(c(192), c(192), (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = BasicConv2d(c(192), c(192), 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 512 + C, H/2, W/2)"""
        one = self.branch3x3_2(self.branch3x3_1(x))
        two = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return cat([one, two, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionE(nn.Module):
    """1x1, 3x3 as 1x3 beside 3x1, the same after another 3x3, and a pooling: the widest block (figure 7)."""

    def __init__(self, in_channels: int, share: Share) -> None:
        super().__init__()
        i, c = share(in_channels), share
        lying: dict[str, Any] = {"kernel_size": (1, 3), "padding": (0, 1)}
        upright: dict[str, Any] = {"kernel_size": (3, 1), "padding": (1, 0)}
        self.branch1x1 = BasicConv2d(i, c(320), 1)
        self.branch3x3_1 = BasicConv2d(i, c(384), 1)
        self.branch3x3_2a = BasicConv2d(c(384), c(384), **lying)
        self.branch3x3_2b = BasicConv2d(c(384), c(384), **upright)
        self.branch3x3dbl_1 = BasicConv2d(i, c(448), 1)
        self.branch3x3dbl_2 = BasicConv2d(c(448), c(384), 3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(c(384), c(384), **lying)
        self.branch3x3dbl_3b = BasicConv2d(c(384), c(384), **upright)
        self.branch_pool = BasicConv2d(i, c(192), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2048, H, W)"""
        one = self.branch3x3_1(x)
        two = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        ones = [self.branch3x3_2a(one), self.branch3x3_2b(one)]
        twos = [self.branch3x3dbl_3a(two), self.branch3x3dbl_3b(two)]
        return cat([self.branch1x1(x), *ones, *twos, self.branch_pool(_pooled(x))], 1)


class InceptionAux(nn.Module):
    """A second head halfway, for training: gradients reach the lower layers by a shorter way (section 4)."""

    def __init__(self, in_channels: int, num_classes: int, share: Share) -> None:
        super().__init__()
        self.conv0 = BasicConv2d(share(in_channels), share(128), 1)
        self.conv1 = BasicConv2d(share(128), share(768), 5)
        self.fc = nn.Linear(share(768), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), at least 17 x 17, to logits (N, num_classes)"""
        x = self.conv1(self.conv0(F.avg_pool2d(x, 5, stride=3)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
