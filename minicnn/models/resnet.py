"""Residual networks (He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015; table 1).

A block learns F and computes relu(F(x) + x): the gradient of the sum flows past F unchanged. Names, shapes and results
are those of torchvision's `resnet.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.models.pretrained import LARGEST, Shape, check_whole, make

STEMS = ("imagenet", "small")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the shortcut is a 1x1 convolution where the shape changes (option B)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """relu(F(x) + shortcut(x))"""
        y = self.bn1(self.conv1(x), relu=True)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn2(self.conv2(y), relu=True, residual=shortcut)


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3 there, 1x1 to four times as many, and a shortcut (figure 5, right).

    The stride is in the 3x3 convolution, as in torchvision ("version 1.5"); the paper has it in the first 1x1.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """relu(F(x) + shortcut(x))"""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.bn2(self.conv2(y), relu=True)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv3(y), relu=True, residual=shortcut)


class ResNet(nn.Module):
    """Stem, four stages of blocks with 1, 2, 4, 8 times `width` channels, global average pooling, one linear layer
    `fc`.

    Parameters
    ----------
    layers : list of four ints
        Blocks in each stage.
    num_classes : int
    width : int
        Channels of the first stage; 64 in the paper.
    stem : str
        "imagenet": 7x7 convolution of stride 2, as in the paper. "small": 3x3 of stride 1, for images of 32x32 or so.
        Both are followed by the max pooling 3x3 of stride 2.
    in_channels : int
        Channels of the images.
    block : type
        `BasicBlock`, or `Bottleneck`, whose stages give four times as many channels.
    """

    heads = ("fc",)

    def __init__(
        self,
        layers: list[int],
        num_classes: int = 1000,
        width: int = 64,
        stem: str = "imagenet",
        in_channels: int = 3,
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
    ) -> None:
        super().__init__()
        if stem not in STEMS:
            raise ArgumentError("unknown stem", called="ResNet", seen=f"stem={stem!r}", rule=" or ".join(STEMS))
        kernel, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        out = block.expansion
        self.layer1 = _stage(block, width, width, layers[0], stride=1)
        self.layer2 = _stage(block, out * width, 2 * width, layers[1], stride=2)
        self.layer3 = _stage(block, out * 2 * width, 4 * width, layers[2], stride=2)
        self.layer4 = _stage(block, out * 4 * width, 8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(out * 8 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of any size to logits (N, num_classes)."""
        return self.fc(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to the vectors that `fc` classifies: (N, 8 width) or (N, 32 width)."""
        x = self.maxpool(self.bn1(self.conv1(x), relu=True))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, channels: int, blocks: int, stride: int
) -> nn.Sequential:
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(block.expansion * channels, channels) for _ in range(1, blocks)))


def _largest(
    expansion: int, num_classes: int = 1000, width: int = 64, stem: str = "imagenet", in_channels: int = 3
) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    check_whole("ResNet", num_classes=num_classes, width=width, in_channels=in_channels)
    if stem not in STEMS:
        raise ArgumentError("unknown stem", called="ResNet", seen=f"stem={stem!r}", rule=" or ".join(STEMS))
    kernel = 7 if stem == "imagenet" else 3
    return {
        "layer4.1.conv2.weight": (8 * width, 8 * width, 3, 3),
        "fc.weight": (num_classes, 8 * width * expansion),
        "conv1.weight": (width, in_channels, kernel, kernel),
    }


LARGEST.update(resnet18=partial(_largest, 1), resnet34=partial(_largest, 1), resnet50=partial(_largest, 4))


def resnet18(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    stem: str | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> ResNet:
    """ResNet-18: 11,689,512 parameters with 1,000 classes.

    Parameters
    ----------
    num_classes : int, optional
        Size of the head `fc`: 1000, or with `weights` that of the file. Asked for another size than the file has, the
        head stays new, and the report says so.
    width : int, optional
        Channels of the first stage: 64, or with `weights` that of the file.
    weights : path or name, optional
        A weights file (`minicnn.weights`), or the name of an embedded one. The model then has `load_report` (what was
        loaded) and `weights_info` (classes, input size, mean and standard deviation, ...).
    stem : str, optional
        See `ResNet`: "imagenet", or with `weights` that of the file.
    in_channels : int, optional
        Channels of the images: 3, or with `weights` those of the file. For others the kernels of the first convolution
        are made to fit (summed for one channel, else repeated and scaled: `minicnn/weights/adaptation.py`), and the
        report says so.
    input_size : int, optional
        Height and width of the images. A ResNet takes any; with `weights`, `weights_info.transforms()` follows it.
    """
    build = partial(ResNet, [2, 2, 2, 2])
    return _resnet("resnet18", build, num_classes, width, weights, stem, in_channels, input_size)


def resnet34(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    stem: str | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> ResNet:
    """ResNet-34: 21,797,672 parameters with 1,000 classes; arguments as for `resnet18`."""
    build = partial(ResNet, [3, 4, 6, 3])
    return _resnet("resnet34", build, num_classes, width, weights, stem, in_channels, input_size)


def resnet50(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    stem: str | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> ResNet:
    """ResNet-50, of bottlenecks: 25,557,032 parameters with 1,000 classes; arguments as for `resnet18`."""
    build = partial(ResNet, [3, 4, 6, 3], block=Bottleneck)
    return _resnet("resnet50", build, num_classes, width, weights, stem, in_channels, input_size)


def _resnet(
    name: str,
    build: Callable[..., ResNet],
    num_classes: int | None,
    width: int | None,
    weights: str | PathLike | None,
    stem: str | None,
    in_channels: int | None,
    input_size: int | None,
) -> ResNet:
    return make(
        name,
        build,
        weights,
        heads=ResNet.heads,
        input_size=input_size,
        num_classes=num_classes,
        width=width,
        stem=stem,
        in_channels=in_channels,
    )
