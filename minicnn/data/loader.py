"""Batches: which samples, in which order, read by whom.

Everything random is decided by (seed, epoch) and, for a transform, by (seed, epoch, sample): the same seed gives the
same bits, whatever the number of workers, and epoch 7 of a run that was resumed is epoch 7 of a run that was not.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends import random
from minicnn.data.arrays import Dataset
from minicnn.data.batch_reader import Arrays, BatchReader
from minicnn.data.checks import integer
from minicnn.data.randomness import order_generator
from minicnn.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from minicnn.data.processes import Processes

PREFETCH = 2  # batches that each worker may be ahead
WORKERS = ("threads", "processes")


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
        Threads or processes that read ahead, each up to two batches; 0 reads in the caller's thread. The batches are
        the same.
    workers : str
        "threads": decoding, scaling and arithmetic run side by side, since Pillow and NumPy let go of Python's lock
        meanwhile. A data set or transform of one's own must be usable from several threads.
        "processes": for slow Python code of one's own. The data set is pickled and sent to each process, again at the
        start of an epoch before which it was changed; images come back through shared memory. Linux and macOS.
    batch_transform : callable, optional
        From arrays (images, labels) to such, for a whole batch: `MixUp`, `CutMix`. Workers do it.

    Yields
    ------
    images : Tensor (N, C, H, W)
        float32 (the dtype of the samples).
    labels : Tensor (N,)
        int64; with `MixUp` or `CutMix`, probabilities (N, classes).
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        num_workers: int = 0,
        workers: str = "threads",
        batch_transform: Callable[[np.ndarray, np.ndarray], Arrays] | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = integer("DataLoader", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.num_workers = integer("DataLoader", "num_workers", num_workers, 0)
        self.workers = workers
        self.batch_transform = batch_transform
        self._idle: list[Processes] = []
        self._check_workers()
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
        epoch = integer("DataLoader.set_epoch", "epoch", epoch, 0)
        start = integer("DataLoader.set_epoch", "start", start, 0)
        if start > len(self):
            raise ArgumentError(
                "start is behind the end of the epoch",
                called="DataLoader.set_epoch",
                seen=f"start={start}, {len(self)} batches an epoch",
                rule="0 <= start <= len(loader)",
                hint="the data set or the batch size is not the one of the interrupted run",
            )
        self.epoch, self.start = epoch, start

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_idle": []}  # a copy has processes of its own

    def close(self) -> None:
        """Stop the processes that wait for the next epoch. It also happens when the loader or the program ends."""
        while self._idle:
            self._idle.pop().stop()

    def __len__(self) -> int:
        """Number of batches of a whole epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, start = self.epoch, self.start
        self.epoch, self.start = epoch + 1, 0
        return self._batches(epoch, start)

    def __repr__(self) -> str:
        workers = f", workers={self.workers!r}" if self.num_workers else ""
        mixing = f", batch_transform={self.batch_transform!r}" if self.batch_transform is not None else ""
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed}, "
            f"drop_last={self.drop_last}, num_workers={self.num_workers}{workers}{mixing})"
        )

    # ---- one epoch --------------------------------------------------------------------------------------------------

    def order(self, epoch: int) -> np.ndarray:
        """The samples of `epoch` in their order."""
        samples = np.arange(len(self.dataset))
        return order_generator(self.seed, epoch).permutation(samples) if self.shuffle else samples

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        reader = BatchReader(self.dataset, self.order(epoch), self.batch_size, self.seed, epoch, self.batch_transform)
        batches = range(start, len(self))
        if not self.num_workers:
            arrays: Iterator[Arrays] = map(reader.read, batches)
        else:
            read_ahead = self._with_threads if self.workers == "threads" else self._with_processes
            arrays = read_ahead(reader, batches)
        for images, labels in arrays:
            yield Tensor(images), Tensor(labels)

    def _with_threads(self, reader: BatchReader, batches: range) -> Iterator[Arrays]:
        """Workers read whole batches; they are given out in order."""
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="minicnn-data")
        following = iter(batches)
        try:
            waiting: deque[Future] = deque(
                pool.submit(reader.read, batch) for batch in islice(following, PREFETCH * self.num_workers)
            )
            while waiting:
                arrays = waiting.popleft().result()
                waiting.extend(pool.submit(reader.read, batch) for batch in islice(following, 1))
                yield arrays
        finally:  # also after a break, an error or Ctrl-C in the loop's body
            pool.shutdown(wait=True, cancel_futures=True)

    def _with_processes(self, reader: BatchReader, batches: range) -> Iterator[Arrays]:
        """Processes stay for the next epoch, unless this one is left before its end."""
        from minicnn.data.processes import Processes, epoch_message

        if not batches:
            return
        message = epoch_message(reader)  # first of all: it says what cannot be sent
        processes = self._idle.pop() if self._idle else Processes(min(self.num_workers, len(self)), PREFETCH)
        try:
            yield from processes.read(reader, message, batches)
        except BaseException:  # a break (GeneratorExit), an error, Ctrl-C
            processes.stop()
            raise
        self._idle.append(processes)
        while len(self._idle) > 1:  # two loops ran over this loader at the same time
            self._idle.pop().stop()

    def _check_workers(self) -> None:
        if self.workers not in WORKERS:
            raise ArgumentError(
                "unknown workers",
                called="DataLoader",
                seen=f"workers={self.workers!r}",
                rule=f"one of {', '.join(WORKERS)}",
            )
        if self.workers == "processes" and self.num_workers and os.name != "posix":
            raise ArgumentError(
                "worker processes are not there on this system",
                called="DataLoader",
                seen=sys.platform,
                rule="Linux or macOS",
                hint="workers='threads'",
            )
        if self.batch_transform is not None and (
            not callable(self.batch_transform) or isinstance(self.batch_transform, type)
        ):
            raise ArgumentError(
                "batch_transform is not a transform",
                called="DataLoader",
                seen=repr(self.batch_transform),
                rule="something that can be called with (images, labels)",
            )

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
