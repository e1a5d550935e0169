"""The values of an array in an HDF5 file, read and unpacked with limits, without HDF5."""

from __future__ import annotations

import math
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from minicnn.errors import DataError

READERS = 4  # threads that unpack chunks
GZIP, SHUFFLE, FLETCHER32 = 1, 2, 3  # numbers of HDF5's filters


@dataclass(frozen=True)
class StoredArray:
    """One dataset, checked but not read.

    Attributes
    ----------
    called : str
        File and name, for errors.
    shape : tuple of int
    dtype : dtype
        Integers.
    place : int or None
        Where in the file the values lie, one after the other; None for chunks.
    """

    called: str
    shape: tuple[int, ...]
    dtype: np.dtype
    place: int | None
    chunk: tuple[int, ...]
    filters: tuple[int, ...]
    chunks: tuple[tuple[tuple[int, ...], int, int], ...]  # where in the array, where in the file, how many bytes

    @property
    def size(self) -> int:
        """Bytes of all values, unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, descriptor: int) -> np.ndarray:
        """All values, from the open file."""
        if self.place is not None:
            return np.frombuffer(read_at(descriptor, self.place, self.size, self.called), self.dtype).reshape(
                self.shape
            )
        values = np.zeros(self.shape, self.dtype)

        def fill(chunk: tuple[tuple[int, ...], int, int]) -> None:
            start, place, size = chunk
            part = self._unpacked(read_at(descriptor, place, size, self.called))
            inside = tuple(slice(at, at + length) for at, length in zip(start, self.chunk, strict=True))
            wanted = values[inside]  # a chunk at the border reaches beyond the array
            wanted[...] = part[tuple(slice(0, length) for length in wanted.shape)]

        with ThreadPoolExecutor(READERS) as pool:
            for _ in pool.map(fill, self.chunks):
                pass
        return values

    def _unpacked(self, data: bytes) -> np.ndarray:
        expected = math.prod(self.chunk) * self.dtype.itemsize
        if FLETCHER32 in self.filters:
            data, checksum = data[:-4], int.from_bytes(data[-4:], "little")
            if fletcher32(data) != (checksum >> 16) % 65535 << 16 | (checksum & 65535) % 65535:
                raise damaged(self.called, "values that do not match their Fletcher-32 checksum")
        if GZIP in self.filters:
            try:
                data = zlib.decompressobj().decompress(data, expected + 1)
            except zlib.error as error:
                raise damaged(self.called, str(error)) from None
        if len(data) != expected:
            raise damaged(self.called, f"a chunk of {len(data):,} bytes", f"{expected:,} bytes")
        if SHUFFLE in self.filters and self.dtype.itemsize > 1:  # all first bytes, then all second bytes, ...
            data = np.frombuffer(data, np.uint8).reshape(self.dtype.itemsize, -1).T.tobytes()
        return np.frombuffer(data, self.dtype).reshape(self.chunk)


def read_at(descriptor: int, place: int, size: int, called: str) -> bytes:
    """`size` bytes at `place` of an open file, whoever else reads it too; all of them, or an error."""
    parts: list[bytes] = []
    while size:
        part = os.pread(descriptor, min(size, 2**30), place)
        if not part:
            raise damaged(called, "the end of the file")
        parts.append(part)
        place, size = place + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def fletcher32(data: bytes) -> int:
    """HDF5's checksum: of big-endian 16-bit words, their sum and the sum of all partial sums, both modulo 65535."""
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2")
    sums = np.cumsum(words, dtype=np.uint64)
    total = sums[-1] if len(sums) else 0
    if len(sums) > 2**24:  # their sum would not fit into 64 bits
        sums %= 65535
    return int(sums.sum() % 65535) << 16 | int(total % 65535)


def damaged(called: str, seen: str, rule: str = "") -> DataError:
    """The error for a file that is not what it says."""
    return DataError("the file is damaged", called=called, seen=seen, rule=rule, hint="copy or download it again")
