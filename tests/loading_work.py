"""Data sets for the tests of workers, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal

import numpy as np

from minicnn.data import sample_generator
from minicnn.errors import DataError


class Numbered:
    """Image i holds i and random numbers; the label is i."""

    def __init__(self, count: int, shape: tuple[int, ...] = (1, 2, 3)) -> None:
        self.count, self.shape = count, shape

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = sample_generator().random(self.shape, np.float32)
        image.flat[0] = index
        return image, index


class Growing(Numbered):
    """Images of another size in every batch of 3."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((1, 1 + index // 3 * 700, 2), index, np.float32), index


class Process(Numbered):
    """The label is the process that read the sample."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return super().__getitem__(index)[0], os.getpid()


class Sent(Numbered):
    """The label tells how often a data set of this class was sent to the process that reads it."""

    times = 0

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        Sent.times += 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return super().__getitem__(index)[0], Sent.times


class PixelLimit(Numbered):
    """The label is Pillow's limit for images."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        from PIL import Image

        return super().__getitem__(index)[0], Image.MAX_IMAGE_PIXELS or 0


class Failing(Numbered):
    """Sample 5 fails, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__(10)
        self.how = how

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == 5:
            if self.how == "refuse":
                raise DataError("a broken image", called="photo5.jpg")
            if self.how == "raise":
                raise KeyError("no such\nkey")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "exit":
                os._exit(3)
            if self.how == "shape":
                return np.zeros((1, 9, 9), np.float32), 5
        return super().__getitem__(index)


class Unloadable(Numbered):
    """Can be pickled, but not read back."""

    def __setstate__(self, state: dict) -> None:
        raise RuntimeError("lost on the way")
