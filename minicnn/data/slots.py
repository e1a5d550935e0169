"""Memory that the loader and a worker process share: `Slot`, room for one batch.

A slot is a file without a name (`memfd_create`, elsewhere a temporary file that is deleted at once), mapped by both.
The kernel frees it when neither has it open any more, however they ended: nothing can be left behind in `/dev/shm`, and
the small `/dev/shm` of a container does not limit it.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import IO

import numpy as np


class Slot:
    """Room for one batch, as large as the largest so far.

    Parameters
    ----------
    file : binary file
        Opened for reading and writing; see `anonymous_file`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self._map: mmap.mmap | None = None

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array to write into; the slot grows where it must."""
        size = _bytes(shape, dtype)
        if os.fstat(self.file.fileno()).st_size < size:
            os.truncate(self.file.fileno(), size)
        return self.array(shape, dtype)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The array that was written."""
        size = _bytes(shape, dtype)
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.file.fileno(), size)  # the old one goes with the last array in it
        return np.ndarray(shape, dtype, self._map)

    def close(self) -> None:
        """Give the memory back."""
        self._map = None  # it keeps the file open, too
        self.file.close()


def anonymous_file() -> IO[bytes]:
    """A file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("minicnn-batch"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return max(math.prod(shape) * np.dtype(dtype).itemsize, 1)  # a map of no bytes does not exist
