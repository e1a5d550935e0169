"""The small convolutional network of the documents (S4): two convolutions, two poolings, two linear layers."""

from __future__ import annotations

from os import PathLike

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.models.pretrained import LARGEST, Shape, check_whole, make
from minicnn.ops.windows import is_whole


class CNN(nn.Module):
    """Conv 3-32, pool, conv 32-64, pool, linear 512, linear `num_classes`, for square images.

    Parameters
    ----------
    num_classes : int
    image_size : int
        Height and width of the images; a multiple of 4.
    in_channels : int
        Channels of the images.
    """

    heads = ("fc2",)

    def __init__(self, num_classes: int = 10, image_size: int = 32, in_channels: int = 3) -> None:
        super().__init__()
        _check_size(image_size)
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(64 * (image_size // 4) ** 2, 512)
        self.fc2 = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def _largest(num_classes: int = 10, image_size: int = 32, in_channels: int = 3) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    _check_size(image_size)
    check_whole("CNN", num_classes=num_classes, in_channels=in_channels)
    return {
        "fc1.weight": (512, 64 * (image_size // 4) ** 2),
        "fc2.weight": (num_classes, 512),
        "conv1.weight": (32, in_channels, 3, 3),
    }


LARGEST.update(cnn=_largest)


def _check_size(image_size: int) -> None:
    if not is_whole(image_size) or image_size < 4 or image_size % 4:
        raise ArgumentError(
            "image_size is not valid",
            called="CNN",
            seen=f"image_size={image_size!r}",
            rule="a multiple of 4, at least 4",
        )


def cnn(
    num_classes: int | None = None,
    image_size: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
) -> CNN:
    """The network of document system S4.

    Parameters
    ----------
    num_classes : int, optional
        Size of the head `fc2`: 10, or with `weights` that of the file; see `resnet18`.
    image_size : int, optional
        Height and width of the images: 32, or with `weights` that of the file, which cannot be changed.
    weights : path or name, optional
        A weights file (`minicnn.weights`).
    in_channels : int, optional
        Channels of the images: 3, or with `weights` those of the file; see `resnet18`.
    """
    return make(
        "cnn",
        CNN,
        weights,
        heads=CNN.heads,
        num_classes=num_classes,
        image_size=image_size,
        in_channels=in_channels,
    )
