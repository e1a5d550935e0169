"""Preprocessing belongs to the weights: from an image to the array that a network has learned to take.

A network gives its published results only for images prepared as in its training: torchvision's short side of 256,
bilinear, the middle 224 x 224, values 0..1, less the mean, divided by the standard deviation. Which numbers these are
stands in the weights file (`WeightsInfo`), and everything that feeds images to a network takes them from there.
"""

from __future__ import annotations

import os

from minicnn.data.transforms import (
    CenterCrop,
    Compose,
    Grayscale,
    Normalize,
    Resize,
    ReverseChannels,
    ToTensor,
    Transform,
)
from minicnn.errors import ArgumentError
from minicnn.weights.embedded import find
from minicnn.weights.hdf5 import describe
from minicnn.weights.info import CHANNELS, WeightsInfo


def transforms(source: str | os.PathLike[str]) -> Compose:
    """What a weights file says about preparing images.

    Parameters
    ----------
    source : path or name of embedded weights

    Returns
    -------
    Compose
        Takes a PIL image or a uint8 array (H, W, 3), gives float32 (C, input_size, input_size).

    Examples
    --------
    >>> from minicnn import weights
    >>> weights.transforms("resnet18-fashion-mnist-32").transforms[1]
    CenterCrop(size=(32, 32))
    """
    return transforms_of(describe(find(source)))


def transforms_of(info: WeightsInfo, grey: bool = False) -> Compose:
    """The same from a `WeightsInfo`; `info.transforms()` calls it.

    Parameters
    ----------
    info : WeightsInfo
    grey : bool
        Take grey images too, or colour as brightness, though the network takes colour.
    """
    channels = CHANNELS.get(info.channels)
    takes = info.arguments.get("in_channels", channels)
    if channels is None or takes != channels or len(info.mean) not in (1, channels):
        raise ArgumentError(
            "no transform makes these channels of an image",
            called="WeightsInfo.transforms",
            seen=f"channels={info.channels!r}, in_channels={takes}, mean of {len(info.mean)}",
            rule="RGB or BGR for a network of three channels, L for one of one; a mean for each",
            hint="write a transform for these images",
        )
    steps: list[Transform] = [
        Resize(info.resize or info.input_size, info.interpolation, info.antialias),
        CenterCrop(info.input_size),
        ToTensor(),
    ]
    if grey or info.channels == "L":
        steps.insert(0, Grayscale(channels))
    if info.channels == "BGR":
        steps.append(ReverseChannels())
    # ToTensor gives 0..1. (255 x - mean) / std = (x - mean / 255) / (std / 255), up to rounding.
    mean, std = (tuple(value / info.scale for value in values) for values in (info.mean, info.std))
    return Compose([*steps, Normalize(mean, std)])
