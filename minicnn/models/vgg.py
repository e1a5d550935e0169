"""VGG (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014; table 1).

The paper's idea: only 3x3 convolutions, many of them; two see as much of the image as one of 5x5, with fewer numbers.
After each stage the image is halved and the channels double, up to eight times `width`. Batch normalisation came a year
later; the `_bn` networks have it after each convolution. Names, shapes and results are those of torchvision's `vgg.py`.
"""

from __future__ import annotations

from functools import partial
from os import PathLike

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.pretrained import LARGEST, LEAST_SIZE, Shape, check_images, check_whole, make

TIMES = (1, 2, 4, 8, 8)  # channels of the five stages, in units of `width`; after each stage a max pooling
VGG11, VGG16 = (1, 1, 2, 2, 2), (2, 2, 3, 3, 3)  # convolutions in each stage
SMALLEST = 32  # halved five times: one pixel is left


class VGG(nn.Module):
    """Five stages of 3x3 convolutions (`features`), then three linear layers (`classifier`).

    Parameters
    ----------
    num_classes : int
    width : int
        Channels of the first stage; 64 in the paper. The hidden linear layers have 64 times as many outputs.
    dropout : float
        Probability that a hidden value is dropped in training.
    convolutions : tuple of five ints
        In each stage: those of VGG-16 unless given.
    batch_norm : bool
        Whether each convolution is followed by batch normalisation.
    in_channels : int
        Channels of the images.
    """

    heads = ("classifier.6",)

    def __init__(
        self,
        num_classes: int = 1000,
        width: int = 64,
        dropout: float = 0.5,
        convolutions: tuple[int, ...] = VGG16,
        batch_norm: bool = False,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for times, many in zip(TIMES, convolutions, strict=True):
            for _ in range(many):
                layers.append(nn.Conv2d(channels, times * width, 3, padding=1))
                channels = times * width
                layers += [nn.BatchNorm2d(channels), nn.ReLU()] if batch_norm else [nn.ReLU()]
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
        """Images (N, in_channels, H, W), at least 32 x 32, to logits (N, num_classes)."""
        check_images("VGG", x, SMALLEST)
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _largest(num_classes: int = 1000, width: int = 64, in_channels: int = 3) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    check_whole("VGG", num_classes=num_classes, width=width, in_channels=in_channels)
    hidden = 64 * width
    return {
        "features.0.weight": (width, in_channels, 3, 3),
        "classifier.0.weight": (hidden, 8 * width * 7 * 7),
        "classifier.6.weight": (num_classes, hidden),
    }


NAMES = ("vgg11", "vgg11_bn", "vgg16", "vgg16_bn")
LARGEST.update(dict.fromkeys(NAMES, _largest))
LEAST_SIZE.update(dict.fromkeys(NAMES, SMALLEST))


def vgg11(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> VGG:
    """VGG-11: 132,863,336 parameters with 1,000 classes; arguments as for `vgg16`."""
    return _vgg("vgg11", VGG11, False, num_classes, width, weights, in_channels, input_size)


def vgg11_bn(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> VGG:
    """VGG-11 with batch normalisation: 132,868,840 parameters with 1,000 classes; arguments as for `vgg16`."""
    return _vgg("vgg11_bn", VGG11, True, num_classes, width, weights, in_channels, input_size)


def vgg16(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> VGG:
    """VGG-16: 138,357,544 parameters with 1,000 classes.

    Parameters
    ----------
    num_classes : int, optional
        Size of the head `classifier.6`: 1000, or with `weights` that of the file; see `resnet18`.
    width : int, optional
        Channels of the first stage: 64, or with `weights` that of the file.
    weights : path or name, optional
        A weights file (`minicnn.weights`).
    in_channels : int, optional
        Channels of the images: 3, or with `weights` those of the file; see `resnet18`.
    input_size : int, optional
        Height and width of the images, at least 32; with `weights`, `weights_info.transforms()` follows it.
    """
    return _vgg("vgg16", VGG16, False, num_classes, width, weights, in_channels, input_size)


def vgg16_bn(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> VGG:
    """VGG-16 with batch normalisation: 138,365,992 parameters with 1,000 classes; arguments as for `vgg16`."""
    return _vgg("vgg16_bn", VGG16, True, num_classes, width, weights, in_channels, input_size)


def _vgg(
    name: str,
    convolutions: tuple[int, ...],
    batch_norm: bool,
    num_classes: int | None,
    width: int | None,
    weights: str | PathLike | None,
    in_channels: int | None,
    input_size: int | None,
) -> VGG:
    return make(
        name,
        partial(VGG, convolutions=convolutions, batch_norm=batch_norm),
        weights,
        heads=VGG.heads,
        input_size=input_size,
        num_classes=num_classes,
        width=width,
        in_channels=in_channels,
    )
