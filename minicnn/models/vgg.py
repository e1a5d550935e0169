"""VGG-16 (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014; table 1, D).

The paper's idea: only 3x3 convolutions, many of them; two see as much of the image as one of 5x5, with fewer numbers.
After each stage the image is halved and the channels double, up to eight times `width`. Names, shapes and results are
those of torchvision's `vgg16`.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.models.pretrained import LARGEST, Shape, load_pretrained
from minicnn.ops.windows import is_whole

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # channels in units of `width`, and convolutions; then a max pooling


class VGG(nn.Module):
    """Five stages of 3x3 convolutions (`features`), then three linear layers (`classifier`).

    Parameters
    ----------
    num_classes : int
    width : int
        Channels of the first stage; 64 in the paper. The hidden linear layers have 64 times as many outputs.
    dropout : float
        Probability that a hidden value is dropped in training.
    """

    def __init__(self, num_classes: int = 1000, width: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for times, convolutions in STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, times * width, 3, padding=1), nn.ReLU()]
                channels = times * width
            layers.append(nn.MaxPool2d(2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        hidden = 64 * width
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W), at least 32 x 32, to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _largest(num_classes: int = 1000, width: int = 64) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    if not is_whole(num_classes) or not is_whole(width):
        raise ArgumentError("not a VGG", rule="whole numbers")
    hidden = 64 * width
    return {"classifier.0.weight": (hidden, 8 * width * 7 * 7), "classifier.6.weight": (num_classes, hidden)}


LARGEST.update(vgg16=_largest)


def vgg16(num_classes: int | None = None, width: int | None = None, weights: str | PathLike | None = None) -> VGG:
    """VGG-16: 138,357,544 parameters with 1,000 classes.

    Parameters
    ----------
    num_classes : int, optional
        Size of the head `classifier.6`: 1000, or with `weights` that of the file; see `resnet18`.
    width : int, optional
        Channels of the first stage: 64, or with `weights` that of the file.
    weights : path or name, optional
        A weights file (`minicnn.weights`).
    """
    given: dict[str, Any] = {"num_classes": num_classes, "width": width}
    given = {key: value for key, value in given.items() if value is not None}
    if weights is None:
        return VGG(**given)
    return load_pretrained("vgg16", lambda **arguments: VGG(**arguments), weights, given, head="classifier.6")
