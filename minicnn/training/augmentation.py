"""How photographs are varied while a network learns from them."""

from __future__ import annotations

from minicnn.data import transforms
from minicnn.weights import WeightsInfo

# A part of at least this share of the area: with the usual 0.08 of training from scratch on a million images, an image
# of 64 pixels may show a blur of 18, and an insect's photograph only the flower.
SCALE = (0.35, 1.0)
MARGIN = 1.5  # images are kept so many times larger than a part is shown, so that small parts are not blurred


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
    rest = [
        step
        for step in info.transforms().transforms
        if not isinstance(step, (transforms.Resize, transforms.CenterCrop))
    ]
    return transforms.Compose([*steps, *rest])


def kept_side(info: WeightsInfo) -> int:
    """Pixels of the short side with which an image is kept in memory."""
    return round(MARGIN * info.input_size)
