"""AlexNet (Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014).

The network that began it (Krizhevsky, Sutskever, Hinton 2012), in its later form for one device: five convolutions with
large kernels and strides at first, three linear layers that hold most of the parameters. Names, shapes and results are
those of torchvision's `alexnet`.
"""

from __future__ import annotations

from os import PathLike

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.pretrained import LARGEST, LEAST_SIZE, Shape, check_images, check_whole, make

SMALLEST = 63  # 15 pixels after the first convolution, then 7, 3, and 1 after the last pooling


class AlexNet(nn.Module):
    """Five convolutions (`features`), then three linear layers (`classifier`).

    Parameters
    ----------
    num_classes : int
    width : int
        Channels of the first convolution; 64 in the paper. The hidden linear layers have 64 times as many outputs.
    dropout : float
        Probability that a value is dropped before the hidden layers in training.
    in_channels : int
        Channels of the images.
    """

    heads = ("classifier.6",)

    def __init__(self, num_classes: int = 1000, width: int = 64, dropout: float = 0.5, in_channels: int = 3) -> None:
        super().__init__()
        w, hidden = width, 64 * width
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, w, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(w, 3 * w, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(3 * w, 6 * w, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6 * w, 4 * w, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4 * w, 4 * w, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(4 * w * 6 * 6, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W), at least 63 x 63, to logits (N, num_classes)."""
        check_images("AlexNet", x, SMALLEST)
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _largest(num_classes: int = 1000, width: int = 64, in_channels: int = 3) -> dict[str, Shape]:
    """Name and shape of the weights that decide the size of the network."""
    check_whole("AlexNet", num_classes=num_classes, width=width, in_channels=in_channels)
    hidden = 64 * width
    return {
        "features.0.weight": (width, in_channels, 11, 11),
        "classifier.1.weight": (hidden, 4 * width * 6 * 6),
        "classifier.6.weight": (num_classes, hidden),
    }


LARGEST.update(alexnet=_largest)
LEAST_SIZE.update(alexnet=SMALLEST)


def alexnet(
    num_classes: int | None = None,
    width: int | None = None,
    weights: str | PathLike | None = None,
    *,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> AlexNet:
    """AlexNet: 61,100,840 parameters with 1,000 classes.

    Parameters
    ----------
    num_classes : int, optional
        Size of the head `classifier.6`: 1000, or with `weights` that of the file; see `resnet18`.
    width : int, optional
        Channels of the first convolution: 64, or with `weights` that of the file.
    weights : path or name, optional
        A weights file (`minicnn.weights`).
    in_channels : int, optional
        Channels of the images: 3, or with `weights` those of the file; see `resnet18`.
    input_size : int, optional
        Height and width of the images, at least 63; with `weights`, `weights_info.transforms()` follows it.
    """
    return make(
        "alexnet",
        AlexNet,
        weights,
        heads=AlexNet.heads,
        input_size=input_size,
        num_classes=num_classes,
        width=width,
        in_channels=in_channels,
    )
