"""Batches: which samples, in which order, read by whom.

Everything random is decided by (seed, epoch) and, for a transform, by (seed, epoch, sample): the same seed gives the
same bits, whatever the number of workers, and epoch 7 of a run that was resumed is epoch 7 of a run that was not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends import random
from minicnn.backends.arrays import FLOATS
from minicnn.data.arrays import Dataset
from minicnn.data.checks import integer
from minicnn.data.randomness import drawing_for_sample, order_generator
from minicnn.errors import ArgumentError, DataError

PREFETCH = 2  # batches that each worker may be ahead


class DataLoader:
    """Batches of a data set: `for images, labels in loader`.

    Parameters
    ----------
    dataset : Dataset
        `dataset[i]` is (image, label): a float array (C, H, W), and an integer.
    batch_size : int
        Images a batch; the last batch may be smaller.
    shuffle : bool
        A new order in every epoch.
    seed : int, optional
        Decides order and augmentation. None: one is drawn now from the global generator (the one that `manual_seed`
        restarts), and stands in `loader.seed`.
    drop_last : bool
        Leave out the last batch where it is not full.
    num_workers : int
        Threads that read ahead; 0 reads in the caller's thread. The batches are the same. A data set or transform of
        one's own must then be usable from several threads.

    Yields
    ------
    images : Tensor (N, C, H, W)
        float32 (the dtype of the samples).
    labels : Tensor (N,)
        int64.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.batch_size = integer("DataLoader", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.num_workers = integer("DataLoader", "num_workers", num_workers, 0)
        self._check_dataset()
        if seed is None:
            seed = int(random.generator().integers(2**63))
        self.seed = integer("DataLoader", "seed", seed, 0)
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """The next pass over the loader is this epoch; without it, epochs are counted 0, 1, 2, ...

        Parameters
        ----------
        epoch : int
            0, 1, 2, ...
        start : int
            The first batch of that pass: `start` batches are left out without being read. For a run that was
            interrupted after `start` batches and goes on: the rest of the epoch has the same bits, and the passes after
            it are whole epochs again. With `start=len(loader)` the pass is empty.
        """
        self.epoch = integer("DataLoader.set_epoch", "epoch", epoch, 0)
        self.start = integer("DataLoader.set_epoch", "start", start, 0)
        if start > len(self):
            raise ArgumentError(
                "start is behind the end of the epoch",
                called="DataLoader.set_epoch",
                seen=f"start={start}, {len(self)} batches an epoch",
                rule="0 <= start <= len(loader)",
                hint="the data set or the batch size is not the one of the interrupted run",
            )

    def __len__(self) -> int:
        """Number of batches of a whole epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, start = self.epoch, self.start
        self.epoch, self.start = epoch + 1, 0
        return self._batches(epoch, start)

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed}, "
            f"drop_last={self.drop_last}, num_workers={self.num_workers})"
        )

    # ---- one epoch --------------------------------------------------------------------------------------------------

    def order(self, epoch: int) -> np.ndarray:
        """The samples of `epoch` in their order."""
        samples = np.arange(len(self.dataset))
        return order_generator(self.seed, epoch).permutation(samples) if self.shuffle else samples

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        order, size = self.order(epoch), self.batch_size
        batches = (order[batch * size : (batch + 1) * size].tolist() for batch in range(start, len(self)))
        if self.num_workers:
            yield from self._read_ahead(batches, epoch)
        else:
            for indices in batches:
                yield self._read(indices, epoch)

    def _read_ahead(self, batches: Iterator[list[int]], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Workers read whole batches; they are given out in order."""
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="minicnn-data")
        try:
            waiting: deque[Future] = deque(
                pool.submit(self._read, indices, epoch) for indices in islice(batches, PREFETCH * self.num_workers)
            )
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(self._read, indices, epoch) for indices in islice(batches, 1))
                yield batch
        finally:  # also after a break, an error or Ctrl-C in the loop's body
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, indices: list[int], epoch: int) -> tuple[Tensor, Tensor]:
        """One batch."""
        images: list[np.ndarray] = []
        labels: list[int] = []
        for index in indices:
            with drawing_for_sample(self.seed, epoch, index):
                sample = self.dataset[index]
            image, label = _image_and_label(sample, index)
            if images and image.shape != images[0].shape:
                raise DataError(
                    "images of different shapes in a batch",
                    called="DataLoader",
                    seen=f"sample {indices[0]} {images[0].shape}, sample {index} {image.shape}",
                    rule="one shape (C, H, W) for all images of a batch",
                    hint="add Resize((height, width)), or Resize(size) and CenterCrop(size), to the transform",
                )
            images.append(image)
            labels.append(label)
        return Tensor(np.stack(images)), Tensor(np.array(labels, np.int64))

    def _check_dataset(self) -> None:
        try:
            count = len(self.dataset)
        except TypeError:
            raise ArgumentError(
                "not a data set",
                called="DataLoader",
                seen=type(self.dataset).__name__,
                rule="len(dataset) and dataset[i] -> (image, label)",
            ) from None
        if not count:
            raise DataError(
                "an empty data set", called="DataLoader", seen=repr(self.dataset), rule="at least one image"
            )
        if self.drop_last and count < self.batch_size:
            raise DataError(
                "drop_last leaves no batch",
                called="DataLoader",
                seen=f"{count} images, batch_size={self.batch_size}",
                rule="at least one full batch",
                hint="a smaller batch_size, or drop_last=False",
            )


def _image_and_label(sample: Any, index: int) -> tuple[np.ndarray, int]:
    """The two parts of a sample, checked."""
    called = f"DataLoader: sample {index}"
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
