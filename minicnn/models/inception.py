"""Inception-v3 (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture, 2015; table 1).

Eleven blocks (`inception_blocks.py`) in which windows of several sizes look at the image side by side. Names, shapes
and results are those of torchvision's `inception_v3`.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import NamedTuple

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.functions import cat
from minicnn.models.inception_blocks import (
    BasicConv2d,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)
from minicnn.models.pretrained import LARGEST, LEAST_SIZE, Shape, check_images, check_whole, make

SMALLEST, SMALLEST_WITH_AUX = 75, 299  # one pixel is left before the head; 17 x 17 before the second head
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision normalises for all networks


class InceptionOutputs(NamedTuple):
    """What a network with `aux_logits` gives in training; train it by loss(logits) + 0.4 loss(aux_logits).

    Attributes
    ----------
    logits, aux_logits : Tensor (N, num_classes)
        Of the head, and of the second head.
    """

    logits: Tensor
    aux_logits: Tensor


class Inception3(nn.Module):
    """Inception-v3.

    Parameters
    ----------
    num_classes : int
    aux_logits : bool
        Whether there is a second head; in training the result is then `InceptionOutputs`.
    transform_input : bool
        Whether images come normalised by ImageNet's mean and deviation and have to be turned into (value - 0.5) / 0.5,
        which torchvision's pretrained weights know.
    width : int
        Channels of the first convolution, an even number; 32 in the paper. All others keep their proportion.
    dropout : float
        Probability that a value is dropped before the head in training.
    in_channels : int
        Channels of the images.
    """

    heads = ("AuxLogits.fc", "fc")

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        width: int = 32,
        dropout: float = 0.5,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        _check_width(width)
        if transform_input and in_channels != 3:
            raise ArgumentError(
                "transform_input is for three channels",
                called="Inception3",
                seen=f"in_channels={in_channels}",
                hint="transform_input=False, and images normalised by mean 0.5 and std 0.5",
            )
        self.aux_logits, self.transform_input = aux_logits, transform_input

        def share(channels: int) -> int:  # channels are multiples of 16
            return channels * width // 32

        self.Conv2d_1a_3x3 = BasicConv2d(in_channels, share(32), 3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(share(32), share(32), 3)
        self.Conv2d_2b_3x3 = BasicConv2d(share(32), share(64), 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = BasicConv2d(share(64), share(80), 1)
        self.Conv2d_4a_3x3 = BasicConv2d(share(80), share(192), 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = InceptionA(192, 32, share)
        self.Mixed_5c = InceptionA(256, 64, share)
        self.Mixed_5d = InceptionA(288, 64, share)
        self.Mixed_6a = InceptionB(288, share)
        self.Mixed_6b = InceptionC(768, 128, share)
        self.Mixed_6c = InceptionC(768, 160, share)
        self.Mixed_6d = InceptionC(768, 160, share)
        self.Mixed_6e = InceptionC(768, 192, share)
        self.AuxLogits = InceptionAux(768, num_classes, share) if aux_logits else None
        self.Mixed_7a = InceptionD(768, share)
        self.Mixed_7b = InceptionE(1280, share)
        self.Mixed_7c = InceptionE(2048, share)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(share(2048), num_classes)
        for name, module in self.named_modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(module.weight, std=0.001 if name == "AuxLogits.fc" else 0.1)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        """Images (N, in_channels, H, W) to logits (N, num_classes); in training with `aux_logits` to both logits.

        Images are at least 75 x 75; in training with `aux_logits`, 299 x 299.
        """
        second = self.AuxLogits if self.training else None
        if second is not None:
            check_images("Inception3", x, SMALLEST_WITH_AUX, " in training with aux_logits")
        check_images("Inception3", x, SMALLEST)
        if self.transform_input:
            x = _own_normalisation(x)
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        aux_logits = None if second is None else second(x)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        logits = self.fc(self.dropout(self.avgpool(x)).flatten(1))
        return logits if aux_logits is None else InceptionOutputs(logits, aux_logits)


def _own_normalisation(x: Tensor) -> Tensor:
    """From (value - MEAN) / STD to (value - 0.5) / 0.5, channel by channel."""
    scaled = [x[:, i : i + 1] * (STD[i] / 0.5) + (MEAN[i] - 0.5) / 0.5 for i in range(3)]
    return cat(scaled, 1)


def _check_width(width: int) -> None:
    check_whole("Inception3", width=width)
    if width % 2:
        raise ArgumentError("width is odd", called="Inception3", seen=f"width={width}", rule="an even number")


def _largest(
    num_classes: int = 1000,
    aux_logits: bool = True,
    transform_input: bool = False,
    width: int = 32,
    in_channels: int = 3,
) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    check_whole("Inception3", num_classes=num_classes, in_channels=in_channels)
    _check_width(width)
    for name, value in (("aux_logits", aux_logits), ("transform_input", transform_input)):
        if not isinstance(value, bool):
            raise ArgumentError(f"{name} is not valid", called="Inception3", seen=repr(value), rule="true or false")
    aux = {"AuxLogits.fc.weight": (num_classes, 24 * width)} if aux_logits else {}
    return {
        "Conv2d_1a_3x3.conv.weight": (width, in_channels, 3, 3),
        "Mixed_7c.branch3x3dbl_2.conv.weight": (12 * width, 14 * width, 3, 3),
        **aux,
        "fc.weight": (num_classes, 64 * width),
    }


LARGEST.update(inception_v3=_largest)
LEAST_SIZE.update(inception_v3=SMALLEST)


def inception_v3(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
    aux_logits: bool | None = None,
    transform_input: bool | None = None,
) -> Inception3:
    """Inception-v3: 27,161,264 parameters with 1,000 classes and the second head.

    Parameters
    ----------
    num_classes : int, optional
        Size of the heads `fc` and `AuxLogits.fc`: 1000, or with `weights` that of the file; see `resnet18`.
    width : int, optional
        Channels of the first convolution: 32, or with `weights` that of the file.
    weights : path or name, optional
        A weights file (`minicnn.weights`).
    in_channels : int, optional
        Channels of the images: 3, or with `weights` those of the file; see `resnet18`.
    input_size : int, optional
        Height and width of the images, at least 75, made for 299; with `weights`, `weights_info.transforms()` follows
        it.
    aux_logits, transform_input : bool, optional
        See `Inception3`: True and False, or with `weights` as the file says.
    """
    unwanted = weights is not None and aux_logits is False  # loaded with the rest, as the file has it, and taken off
    model = make(
        "inception_v3",
        Inception3,
        weights,
        heads=Inception3.heads,
        input_size=input_size,
        num_classes=num_classes,
        width=width,
        in_channels=in_channels,
        aux_logits=None if unwanted else aux_logits,
        transform_input=transform_input,
    )
    if unwanted:
        model.AuxLogits, model.aux_logits = None, False
        info = model.weights_info
        model.weights_info = replace(info, arguments={**info.arguments, "aux_logits": False})
    return model
