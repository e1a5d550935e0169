"""The distinct convolutions of ResNet-18 and VGG-16 on images of 224 x 224, by the name of the first layer of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A convolution without its batch: (C, H, W), (K, R, S), stride, padding."""

    image: tuple[int, int, int]
    kernel: tuple[int, int, int]
    stride: int
    padding: int


def _square(c: int, size: int, k: int, kernel: int, stride: int) -> Layer:
    return Layer((c, size, size), (k, kernel, kernel), stride, kernel // 2)


RESNET18 = {
    "resnet18.conv1": _square(3, 224, 64, 7, 2),
    "resnet18.layer1.0.conv1": _square(64, 56, 64, 3, 1),
    "resnet18.layer2.0.conv1": _square(64, 56, 128, 3, 2),
    "resnet18.layer2.0.downsample.0": _square(64, 56, 128, 1, 2),
    "resnet18.layer2.0.conv2": _square(128, 28, 128, 3, 1),
    "resnet18.layer3.0.conv1": _square(128, 28, 256, 3, 2),
    "resnet18.layer3.0.downsample.0": _square(128, 28, 256, 1, 2),
    "resnet18.layer3.0.conv2": _square(256, 14, 256, 3, 1),
    "resnet18.layer4.0.conv1": _square(256, 14, 512, 3, 2),
    "resnet18.layer4.0.downsample.0": _square(256, 14, 512, 1, 2),
    "resnet18.layer4.0.conv2": _square(512, 7, 512, 3, 1),
}
VGG16 = {
    "vgg16.features.0": _square(3, 224, 64, 3, 1),
    "vgg16.features.2": _square(64, 224, 64, 3, 1),
    "vgg16.features.5": _square(64, 112, 128, 3, 1),
    "vgg16.features.7": _square(128, 112, 128, 3, 1),
    "vgg16.features.10": _square(128, 56, 256, 3, 1),
    "vgg16.features.12": _square(256, 56, 256, 3, 1),
    "vgg16.features.17": _square(256, 28, 512, 3, 1),
    "vgg16.features.19": _square(512, 28, 512, 3, 1),
    "vgg16.features.24": _square(512, 14, 512, 3, 1),
}
LAYERS = {**RESNET18, **VGG16}
