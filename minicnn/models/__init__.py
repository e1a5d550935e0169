"""Floor 5: networks, each near to how its paper writes it. Names, shapes and results equal torchvision's."""

from collections.abc import Callable

from minicnn.models.cnn import CNN, cnn
from minicnn.models.pretrained import check_arguments
from minicnn.models.resnet import BasicBlock, ResNet, resnet18, resnet34
from minicnn.models.vgg import VGG, vgg16
from minicnn.nn import Module

MODELS: dict[str, Callable[..., Module]] = {"resnet18": resnet18, "resnet34": resnet34, "vgg16": vgg16, "cnn": cnn}

__all__ = ["CNN", "MODELS", "VGG", "BasicBlock", "ResNet", "check_arguments", "cnn", "resnet18", "resnet34", "vgg16"]
