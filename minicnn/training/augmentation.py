"""How photographs are varied while a network learns from them."""

from __future__ import annotations

from collections.abc import Callable

from minicnn.data import Dataset, Shrunk, transforms
from minicnn.weights import WeightsInfo

# A part of at least this share of the area. The usual 0.08, made for a million images, would often show of an insect's
# photograph only the flower.
SCALE = (0.35, 1.0)
MARGIN = 1.5  # images are kept so many times larger than parts are shown: small parts are then not blurred


def augmentation(info: WeightsInfo) -> transforms.Compose:
    """A random part, scaled to the network's size, mirrored half of the time; then as the weights have learned images.

    Parameters
    ----------
    info : WeightsInfo
        Size, interpolation, order of channels, mean and standard deviation.
    """
    steps: list[transforms.Transform] = [
        transforms.RandomResizedCrop(info.input_size, SCALE, interpolation=info.interpolation),
        transforms.RandomHorizontalFlip(),
    ]
    plain = (transforms.Resize, transforms.CenterCrop)
    return transforms.Compose([*steps, *(step for step in info.transforms().transforms if not isinstance(step, plain))])


def variation(info: WeightsInfo, show: bool | None = None) -> Callable[[Dataset], Shrunk]:
    """From images to train on to the same images, varied each time they are read.

    Parameters
    ----------
    info : WeightsInfo
    show : bool or None
        Whether a progress bar is shown while they are decoded; None: on a terminal.
    """
    side = round(MARGIN * info.input_size)
    return lambda dataset: Shrunk(dataset, side, augmentation(info), show=show)
