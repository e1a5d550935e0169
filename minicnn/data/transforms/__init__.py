"""From an image to an array that a network takes, under torchvision's names and with its results.

::

    normalize = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    transform = Compose([Resize(256), CenterCrop(224), ToTensor(), normalize])

A transform is any callable with one argument, so a function of one's own may stand in the list. There are two kinds of
values on the way, and `ToTensor` leads from the first to the second:

- images: a `PIL.Image`, or a uint8 array (H, W) or (H, W, C). `Resize`, `CenterCrop`, `Pad`, `Grayscale`, `RandomCrop`
  and `RandomHorizontalFlip` take either and give a `PIL.Image`;
- arrays: float32 (C, H, W), values 0..1. `Normalize` takes and gives these.

Random transforms draw from `minicnn.data.sample_generator()`, which a `DataLoader` seeds by (seed, epoch, sample).

| file | what is in it |
|---|---|
| `compose.py` | `Compose`, and what all transforms share |
| `geometry.py` | `Resize`, `CenterCrop`, `Pad` |
| `augmentation.py` | `RandomCrop`, `RandomHorizontalFlip` |
| `values.py` | `ToTensor`, `Normalize`, `Grayscale` |
"""

from minicnn.data.transforms.augmentation import RandomCrop, RandomHorizontalFlip
from minicnn.data.transforms.compose import Compose, Transform
from minicnn.data.transforms.geometry import CenterCrop, Pad, Resize
from minicnn.data.transforms.values import Grayscale, Normalize, ToTensor

__all__ = [
    "CenterCrop",
    "Compose",
    "Grayscale",
    "Normalize",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
    "ToTensor",
    "Transform",
]
