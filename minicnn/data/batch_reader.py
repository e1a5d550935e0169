"""Reading one batch: the same code in the caller's thread, in worker threads and in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import FLOATS
from minicnn.data.arrays import Dataset
from minicnn.data.checks import integer
from minicnn.data.randomness import drawing_for_batch, drawing_for_sample
from minicnn.errors import DataError, MinicnnError

Arrays = tuple[np.ndarray, np.ndarray]
Allocate = Callable[[tuple[int, ...], np.dtype], np.ndarray]


@dataclass(frozen=True)
class BatchReader:
    """Reads any batch of one epoch. Everything that decides its bits stands here, so that it does not matter who reads.

    Attributes
    ----------
    dataset : Dataset
    order : int array
        The samples of the epoch, in their order.
    batch_size : int
    seed, epoch : int
        Of the augmentation.
    batch_transform : callable or None
        (images, labels) to (images, labels), as arrays.
    """

    dataset: Dataset
    order: np.ndarray
    batch_size: int
    seed: int
    epoch: int
    batch_transform: Callable[[np.ndarray, np.ndarray], Arrays] | None = None

    def samples(self, batch: int) -> list[int]:
        """The samples of a batch."""
        return self.order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()

    def read(self, batch: int, allocate: Allocate = np.empty) -> Arrays:
        """Images (N, C, H, W), and labels (N,) of int64, of a batch.

        Parameters
        ----------
        batch : int
            Its number in the epoch.
        allocate : callable
            From shape and dtype to an array for the images, which every sample is written into.
        """
        samples = self.samples(batch)
        image, label = self._sample(samples[0])
        images = allocate((len(samples), *image.shape), image.dtype)
        labels = np.empty(len(samples), np.int64)
        images[0], labels[0] = image, label
        for place, index in enumerate(samples[1:], 1):
            image, label = self._sample(index)
            if image.shape != images.shape[1:]:
                raise DataError(
                    "images of different shapes in a batch",
                    called="DataLoader",
                    seen=f"sample {samples[0]} {images.shape[1:]}, sample {index} {image.shape}",
                    rule="one shape (C, H, W) for all images of a batch",
                    hint="add Resize((height, width)), or Resize(size) and CenterCrop(size), to the transform",
                )
            if image.dtype != images.dtype:  # writing it into the batch would be a silent cast
                raise DataError(
                    "images of different dtypes in a batch",
                    called="DataLoader",
                    seen=f"sample {samples[0]} {images.dtype}, sample {index} {image.dtype}",
                    rule="one dtype for all images of a batch",
                )
            images[place], labels[place] = image, label
        if self.batch_transform is not None:
            with drawing_for_batch(self.seed, self.epoch, batch):
                images, labels = self.batch_transform(images, labels)
        return images, labels

    def _sample(self, index: int) -> tuple[np.ndarray, int]:
        """Image and label of a sample, checked; errors name the sample."""
        called = f"DataLoader: sample {index}"
        try:
            with drawing_for_sample(self.seed, self.epoch, index):
                sample = self.dataset[index]
        except MinicnnError as error:
            error.called = f"{called}: {error.called}" if error.called else called
            raise
        except Exception as error:
            raise DataError(
                "the data set or its transform failed",
                called=called,
                seen=f"{type(error).__name__}: {' '.join(str(error).split())}",
            ) from error
        return _image_and_label(sample, called)


def _image_and_label(sample: Any, called: str) -> tuple[np.ndarray, int]:
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise DataError("not a pair", called=called, seen=type(sample).__name__, rule="dataset[i] gives (image, label)")
    image, label = sample
    image = image.array if isinstance(image, Tensor) else image
    if not isinstance(image, np.ndarray) or image.dtype not in FLOATS:
        raise DataError(
            "the image is not a float array",
            called=called,
            seen=f"array {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__,
            rule="a float32 array (C, H, W)",
            hint="end the transform with ToTensor()",
        )
    return image, integer(called, "label", label, -(2**63))
