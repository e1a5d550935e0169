"""The small convolutional network of the documents (S4): two convolutions, two poolings, two linear layers."""

from __future__ import annotations

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.models.pretrained import LARGEST, Shape
from minicnn.ops.windows import is_whole


class CNN(nn.Module):
    """Conv 3-32, pool, conv 32-64, pool, linear 512, linear `num_classes`, for square RGB images.

    Parameters
    ----------
    num_classes : int
    image_size : int
        Height and width of the images; a multiple of 4.
    """

    def __init__(self, num_classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        _check_size(image_size)
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(64 * (image_size // 4) ** 2, 512)
        self.fc2 = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to logits (N, num_classes)."""
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def _largest(num_classes: int = 10, image_size: int = 32) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    _check_size(image_size)
    return {"fc1.weight": (512, 64 * (image_size // 4) ** 2), "fc2.weight": (num_classes, 512)}


LARGEST.update(cnn=_largest)


def _check_size(image_size: int) -> None:
    if not is_whole(image_size) or image_size < 4 or image_size % 4:
        raise ArgumentError(
            "image_size is not valid",
            called="CNN",
            seen=f"image_size={image_size!r}",
            rule="a multiple of 4, at least 4",
        )


def cnn(num_classes: int = 10, image_size: int = 32) -> CNN:
    """The network of document system S4."""
    return CNN(num_classes, image_size)
