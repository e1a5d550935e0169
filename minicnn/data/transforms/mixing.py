"""Batches that are mixed: `MixUp`, `CutMix`; torchvision's rules, on arrays.

::

    loader = DataLoader(dataset, 64, shuffle=True, seed=0, batch_transform=MixUp(alpha=0.2, num_classes=10))

The labels become probabilities (N, num_classes), which `nn.CrossEntropyLoss` takes as they are. Every image is mixed
with the one before it in the batch, the first with the last; with a shuffled loader that is any other image.

Sources: Zhang et al. 2017, "mixup: Beyond Empirical Risk Minimization"; Yun et al. 2019, "CutMix".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minicnn.backends.arrays import FLOATS
from minicnn.data.checks import integer, real
from minicnn.data.randomness import sample_generator
from minicnn.data.transforms.compose import Transform
from minicnn.errors import ArgumentError, DataError, ShapeError


class _Mixing(Transform):
    """What both share: `alpha`, `num_classes`, and labels as probabilities."""

    def __init__(self, *, alpha: float = 1.0, num_classes: int) -> None:
        called = type(self).__name__
        self.alpha = real(called, "alpha", alpha)
        if self.alpha <= 0:
            raise ArgumentError("alpha is not positive", called=called, seen=f"alpha={alpha!r}", rule="above 0")
        self.num_classes = integer(called, "num_classes", num_classes, 1)

    def __call__(self, images: Any, labels: Any, /) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[override]
        """Mixed images (N, C, H, W), and the probabilities of their classes (N, num_classes) in the same dtype.

        Parameters
        ----------
        images : float array (N, C, H, W)
        labels : int array (N,), or probabilities (N, num_classes)
        """
        called = type(self).__name__
        if not isinstance(images, np.ndarray) or images.dtype not in FLOATS or images.ndim != 4:
            raise ShapeError(
                "not a batch of images",
                called=called,
                seen=f"array {images.dtype} {images.shape}"
                if isinstance(images, np.ndarray)
                else type(images).__name__,
                rule="a float array (N, C, H, W)",
                hint="it belongs to the loader: DataLoader(..., batch_transform=...)",
            )
        probabilities = self._probabilities(called, labels, images)
        images, share = self.mix(images, sample_generator().beta(self.alpha, self.alpha))
        return images, _blend(probabilities, share)

    def mix(self, images: np.ndarray, share: float) -> tuple[np.ndarray, float]:
        """The images mixed, each keeping `share` of itself; and the share that they really kept."""
        raise NotImplementedError

    def _probabilities(self, called: str, labels: Any, images: np.ndarray) -> np.ndarray:
        labels = np.asarray(labels)
        if labels.shape == (len(images), self.num_classes) and labels.dtype in FLOATS:
            return labels.astype(images.dtype)
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ShapeError(
                "labels do not fit the images",
                called=called,
                seen=f"images {images.shape}, labels {labels.dtype} {labels.shape}",
                rule=f"integers (N,), or probabilities (N, {self.num_classes})",
            )
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise DataError(
                "a label without a class",
                called=called,
                seen=f"labels {labels.min()} .. {labels.max()}, num_classes={self.num_classes}",
                rule="0 <= label < num_classes",
            )
        probabilities = np.zeros((len(images), self.num_classes), images.dtype)
        probabilities[np.arange(len(images)), labels] = 1
        return probabilities


class MixUp(_Mixing):
    """share * image + (1 - share) * the image before it, with one share a batch, from Beta(alpha, alpha).

    Parameters
    ----------
    alpha : float
        Above 0; small values leave most batches nearly as they are, 1 makes all shares equally likely.
    num_classes : int
    """

    def mix(self, images: np.ndarray, share: float) -> tuple[np.ndarray, float]:
        """The weighted means."""
        return _blend(images, share), share


class CutMix(_Mixing):
    """A rectangle comes from the image before it, the same one in the whole batch; shares are those of the areas.

    Parameters
    ----------
    alpha : float
        Above 0. The rectangle has the area 1 - share, share from Beta(alpha, alpha), and the ratio of the image; its
        middle is anywhere, and what is outside of the image is cut off.
    num_classes : int
    """

    def mix(self, images: np.ndarray, share: float) -> tuple[np.ndarray, float]:
        """The images with a rectangle of the one before."""
        height, width = images.shape[2:]
        draw = sample_generator()
        x, y = int(draw.integers(width)), int(draw.integers(height))
        half = 0.5 * math.sqrt(1 - share)
        left, right = max(x - int(half * width), 0), min(x + int(half * width), width)
        top, bottom = max(y - int(half * height), 0), min(y + int(half * height), height)
        mixed = images.copy()
        mixed[1:, :, top:bottom, left:right] = images[:-1, :, top:bottom, left:right]
        mixed[0, :, top:bottom, left:right] = images[-1, :, top:bottom, left:right]
        return mixed, 1 - (right - left) * (bottom - top) / (height * width)


def _blend(x: np.ndarray, share: float) -> np.ndarray:
    """share * x[i] + (1 - share) * x[i - 1]."""
    mine, other = x.dtype.type(share), x.dtype.type(1 - share)
    y = x * mine
    y[1:] += x[:-1] * other
    y[0] += x[-1] * other
    return y
