"""Images in memory, and parts of any data set.

A data set is anything with `len(dataset)` and `dataset[i] -> (image, label)`; a class of one's own needs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from minicnn.backends.arrays import FLOATS
from minicnn.errors import DataError, DTypeError, ShapeError


class Dataset(Protocol):
    """What a `DataLoader` and a `Subset` need."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """The sample `index`: (image, label)."""
        ...


class ArrayDataset:
    """Images in one array; `dataset[i]` is (transformed image, label).

    Parameters
    ----------
    images : array (N, ...)
        uint8, (N, H, W) or (N, H, W, C), for transforms; or floats in a shape that the network takes, (N, C, H, W).
        Not copied; transforms see read-only views.
    labels : array (N,)
        Integers 0 .. len(classes) - 1.
    classes : sequence of str
        Name of each class.
    transform : callable, optional
        From one image (an array) to what the network wants; see `minicnn.data.transforms`.

    Attributes
    ----------
    images, labels, targets : array
        As given; labels are int64; `targets` is another name for `labels`.
    classes : list of str
    """

    def __init__(
        self, images: Any, labels: Any, classes: Sequence[str], transform: Callable[[Any], Any] | None = None
    ) -> None:
        images, labels = np.asarray(images), np.asarray(labels)
        self.classes = [str(name) for name in classes]
        self.transform = transform
        self._check(images, labels)
        self.images = _read_only(images)
        self.labels = _read_only(labels.astype(np.int64))

    @property
    def targets(self) -> np.ndarray:
        """The labels, under torchvision's name."""
        return self.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.images[index], int(self.labels[index])
        return (image if self.transform is None else self.transform(image)), label

    def __repr__(self) -> str:
        shape = tuple(self.images.shape[1:])
        return f"ArrayDataset({len(self)} images {shape} {self.images.dtype}, {len(self.classes)} classes)"

    def _check(self, images: np.ndarray, labels: np.ndarray) -> None:
        called = "ArrayDataset"
        if images.dtype != np.uint8 and images.dtype not in FLOATS:
            raise DTypeError(
                "images have a dtype that is not known",
                called=called,
                seen=f"images {images.dtype}",
                rule="uint8 (0..255), or floats",
            )
        if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels):
            raise ShapeError(
                "images and labels do not fit",
                called=called,
                seen=f"images {images.shape}, labels {labels.shape}",
                rule="images (N, ...), labels (N,)",
            )
        if not images.size:
            raise DataError("no images", called=called, seen=f"images {images.shape}", rule="at least one image")
        if labels.dtype.kind not in "iu":
            raise DTypeError("labels are not integers", called=called, seen=f"labels {labels.dtype}")
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise DataError(
                "a label without a class",
                called=called,
                seen=f"labels {labels.min()} .. {labels.max()}, {len(self.classes)} classes",
                rule="0 <= label < number of classes",
            )


class Subset:
    """Some samples of a data set, in a given order.

    Parameters
    ----------
    dataset : Dataset
        Any data set; `classes` and `targets` are passed through where it has them.
    indices : sequence of int
        Which samples.
    """

    def __init__(self, dataset: Dataset, indices: Any) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices)
        if self.indices.ndim != 1 or not self.indices.size or self.indices.dtype.kind not in "iu":
            raise DataError(
                "indices that select nothing" if not self.indices.size else "not a list of indices",
                called="Subset",
                seen=f"shape {self.indices.shape}, {self.indices.dtype}",
                rule="at least one integer",
            )
        low, high = int(self.indices.min()), int(self.indices.max())
        if low < 0 or high >= len(dataset):
            raise DataError(
                "an index out of range",
                called="Subset",
                seen=f"indices {low} .. {high}, {len(dataset)} samples",
                rule="0 <= index < number of samples",
            )

    @property
    def classes(self) -> list[str]:
        """Names of the classes of the whole data set."""
        return self.dataset.classes  # type: ignore[attr-defined]

    @property
    def targets(self) -> np.ndarray:
        """Labels of the selected samples."""
        return np.asarray(self.dataset.targets)[self.indices]  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.dataset[int(self.indices[index])]

    def encoded(self, index: int) -> bytes:
        """The bytes of an image file, where the data set has files."""
        return self.dataset.encoded(int(self.indices[index]))  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


def _read_only(array: np.ndarray) -> np.ndarray:
    """The same memory; a transform that works in place fails instead of spoiling the data."""
    view = array.view()
    view.flags.writeable = False
    return view
