"""The pretrained network: from its weights file to a network for other classes, and the images as it knows them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from minicnn import nn, weights
from minicnn.data import transforms
from minicnn.errors import MinicnnError, WeightsError
from minicnn.models import MODELS
from minicnn.models.pretrained import LARGEST, check_arguments, check_input_size, load_into
from minicnn.training import freezing
from minicnn.weights import WeightsInfo
from minicnn.weights.adaptation import adapted

WITHOUT_CLASSES = ("vae", "conv_vae")
DEFAULT = "resnet18-fashion-mnist-32"  # small grey pictures of single things; in the wheel
PHOTOGRAPHS = "resnet18-tinyimagenet-64"


class Pretrained:
    """A weights file, looked at before anything is built.

    Parameters
    ----------
    source : path or name, optional
        A weights file or the name of an embedded one; without, the embedded one for small images.
    in_channels, input_size : int, optional
        Channels and size of the images, if they are to be others than the file's (see `minicnn.models`).

    Attributes
    ----------
    path : Path
    info : WeightsInfo
        What the file says; with other channels or another size, what the network made from it takes.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | None = None,
        in_channels: int | None = None,
        input_size: int | None = None,
    ) -> None:
        self.path = weights.find(DEFAULT if source is None else source)
        info = weights.describe(self.path)
        if info.architecture not in MODELS:
            raise WeightsError(
                "weights of an unknown architecture",
                called=str(self.path),
                seen=info.architecture or "no name",
                rule=f"one of {', '.join(MODELS)}",
            )
        check_input_size(info.architecture, input_size)
        if info.architecture in LARGEST:
            check_arguments(self.path, info)
        self.info = adapted(info, in_channels, input_size)

    def transform(self, grey: bool = False) -> transforms.Compose:
        """From an image to what the network was trained on: see `transform_for`."""
        return transform_for(self.info, grey)

    def build(self, classes: list[str], pretrained: bool = True) -> nn.Module:
        """The network for these classes, from the global generator's state.

        With `pretrained`, the weights are loaded. The head stays new, unless the file is for just these classes: then
        the training goes on where it ended.
        """
        architecture: Any = MODELS[self.info.architecture]
        if self.info.architecture in WITHOUT_CLASSES:
            raise WeightsError(
                "weights of a network that tells no classes apart",
                called=str(self.path),
                seen=self.info.architecture,
                rule="a classifier",
                hint=f"load it with models.{self.info.architecture}(weights=...)",
            )
        try:
            model = architecture(**{**self.info.arguments, "num_classes": len(classes)})
        except TypeError as error:
            raise WeightsError(
                "arguments that the architecture does not have",
                called=str(self.path),
                seen=f"{self.info.architecture}: {self.info.arguments}",
                rule=str(error),
            ) from None
        name, head = freezing.head_of(model)
        if head.out_features != len(classes):
            raise WeightsError(
                "the network's last linear layer is not its head",
                called=f"{self.info.architecture}: {name}",
                seen=f"{head.out_features} outputs",
                rule=f"{len(classes)}, one a class",
            )
        if pretrained:
            heads = getattr(model, "heads", (name,))
            load_into(model, self.path, heads)
            if not self.is_for(classes):
                for layer in heads:
                    cast(nn.Linear, model.get_submodule(layer)).reset_parameters()
        return model

    def is_for(self, classes: list[str]) -> bool:
        """Whether the file's head is for just these classes."""
        return list(self.info.classes) == list(classes)

    def info_for(self, classes: list[str], trained_on: str) -> WeightsInfo:
        """What a file with the network for these classes says about itself."""
        return replace(
            self.info,
            arguments={**self.info.arguments, "num_classes": len(classes)},
            classes=list(classes),
            trained_on=f"{trained_on}; before that: {self.info.trained_on}",
            accuracy=None,
            log=[],
            notes=f"fine-tuned by minicnn from {self.path.stem}",
        )

    def describe(self, classes: list[str]) -> str:
        """A line: which weights, and what becomes of the head."""
        name, head = freezing.head_of(self.build(classes, pretrained=False))
        kept = "head kept" if self.is_for(classes) else "new head"
        return f"{self.path.stem}: {self.info.architecture}; {kept} {name}, {head.in_features} -> {head.out_features}"


def default_weights(photographs: bool, say: Callable[[str], Any]) -> str:
    """The name of the weights to start from, fetched if need be.

    Where those for photographs are neither here nor to be had, the small embedded ones are taken, and `say` gets a line
    that tells so.
    """
    if not photographs:
        return DEFAULT
    try:
        weights.find(PHOTOGRAPHS)
    except MinicnnError as error:
        say(f"the weights for photographs are not here, small ones for grey pictures are taken instead: {error}")
        return DEFAULT
    return PHOTOGRAPHS


def transform_for(info: WeightsInfo, grey: bool = False) -> transforms.Compose:
    """From an image to the array that the network of a weights file takes: `info.transforms(grey)`.

    Parameters
    ----------
    info : WeightsInfo
    grey : bool
        Take grey images too, or colour as brightness.
    """
    return info.transforms(grey)
