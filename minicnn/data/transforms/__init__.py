"""From an image to an array that a network takes, under torchvision's names and with its results.

::

    normalize = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    transform = Compose([Resize(256), CenterCrop(224), ToTensor(), normalize])

A transform is any callable with one argument, so a function of one's own may stand in the list. There are two kinds of
values on the way, and `ToTensor` leads from the first to the second:

- images: a `PIL.Image`, or a uint8 array (H, W) or (H, W, C). All that stand before `ToTensor` take either and give a
  `PIL.Image`;
- arrays: float32 (C, H, W), values 0..1. `Normalize` and `RandomErasing` take and give these.

Random transforms draw from `minicnn.data.sample_generator()`, which a `DataLoader` seeds by (seed, epoch, sample).

| file | what is in it |
|---|---|
| `compose.py` | `Compose`, and what all transforms share |
| `geometry.py` | `Resize`, `CenterCrop`, `Pad` |
| `augmentation.py` | `RandomCrop`, `RandomHorizontalFlip`, `RandomVerticalFlip` |
| `random_resized_crop.py` | `RandomResizedCrop` |
| `random_rotation.py` | `RandomRotation` |
| `color_jitter.py` | `ColorJitter`, `RandomGrayscale` |
| `random_erasing.py` | `RandomErasing`, after `Normalize` |
| `choices.py` | `RandomApply`, `RandomChoice` |
| `mixing.py` | `MixUp`, `CutMix`, for whole batches: the loader's `batch_transform` |
| `values.py` | `ToTensor`, `Normalize`, `ReverseChannels`, `Grayscale` |
"""

from minicnn.data.transforms.augmentation import RandomCrop, RandomHorizontalFlip, RandomVerticalFlip
from minicnn.data.transforms.choices import RandomApply, RandomChoice
from minicnn.data.transforms.color_jitter import ColorJitter, RandomGrayscale
from minicnn.data.transforms.compose import Compose, Transform
from minicnn.data.transforms.geometry import CenterCrop, Pad, Resize
from minicnn.data.transforms.mixing import CutMix, MixUp
from minicnn.data.transforms.random_erasing import RandomErasing
from minicnn.data.transforms.random_resized_crop import RandomResizedCrop
from minicnn.data.transforms.random_rotation import RandomRotation
from minicnn.data.transforms.values import Grayscale, Normalize, ReverseChannels, ToTensor

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Grayscale",
    "MixUp",
    "Normalize",
    "Pad",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ReverseChannels",
    "ToTensor",
    "Transform",
]
