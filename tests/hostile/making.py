"""Named hostile weight files: a family is a list of functions, each of which makes one file's bytes when it is called.

Nothing is stored. `measure.py` writes the files, gives each to everything that users have for reading weights, and
measures; `tests/weights/test_hostile_files.py` runs that.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import torch_files as t

FOREIGN = ("read_foreign", "import_weights", "info")
HOME = ("read", "load", "info")
ELSEWHERE = "../elsewhere"  # a folder beside the hostile file's, in which nothing may be opened
RUN = "touch executed"  # what a hostile file would run
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@dataclass(frozen=True)
class Case:
    """One hostile file.

    Attributes
    ----------
    name : str
    make : function
        Returns the bytes; or takes a path, and makes there what is no regular file.
    reason : str
        What the error's message must hold.
    suffix : str
    refused_by : tuple of str
        Which of the ways to read it must refuse.
    values : dict or None
        For a file that is as harmless as it is odd: what `read_foreign` must find.
    """

    name: str
    make: Callable[..., Any]
    reason: str
    suffix: str
    refused_by: tuple[str, ...]
    values: dict[str, np.ndarray] | None = None


class Family:
    """Cases of one kind of file."""

    def __init__(self, suffix: str, ways: tuple[str, ...] = FOREIGN) -> None:
        self.suffix, self.ways = suffix, ways
        self.cases: list[Case] = []

    def refused(self, reason: str, *, by: tuple[str, ...] = (), suffix: str = "") -> Callable:
        """Decorates the function that makes a file which is refused with `reason`."""

        def add(make: Callable[..., Any]) -> Callable[..., Any]:
            self.cases.append(Case(make.__name__, make, reason, suffix or self.suffix, by or self.ways))
            return make

        return add

    def accepted(self, values: dict[str, np.ndarray] | None = None) -> Callable:
        """Decorates the function that makes a file whose trick is harmless: it reads as `values`."""

        def add(make: Callable[..., Any]) -> Callable[..., Any]:
            found = {"w": VALUES} if values is None else values
            self.cases.append(Case(make.__name__, make, "", self.suffix, (), found))
            return make

        return add


# ---- PyTorch ---------------------------------------------------------------------------------------------------------

STORED = t.storage("0", "Float", 6)
TENSOR = t.tensor(STORED, (2, 3))
ROWS = {"0": VALUES.tobytes()}


def checkpoint(root: bytes, rows: dict[str, bytes] | None = None) -> bytes:
    """A zip file of PyTorch with this program, and one storage of six floats."""
    return t.zip_checkpoint(root, ROWS if rows is None else rows)


def with_tensor(root: bytes) -> bytes:
    """The same with a list in it: what `root` makes, and a sound tensor."""
    return checkpoint(b"](" + root + t.ordered({"w": TENSOR}) + b"e")


# ---- zip -------------------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """An entry of a zip file, and what its headers say of it."""

    name: str
    data: bytes
    method: int = 0
    flags: int = 0
    size: int | None = None
    packed: int | None = None
    checksum: int | None = None
    extra: bytes = b""
    local_name: str | None = None
    mode: int = 0


def deflated(name: str, content: bytes, **lies: Any) -> Entry:
    """An entry that is packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(content) + packer.flush()
    return Entry(name, data, **{"method": 8, "size": len(content), "checksum": zlib.crc32(content), **lies})


def zipped(*entries: Entry, count: int | None = None, disk: int = 0, before_end: bytes = b"") -> bytes:
    """A zip file whose headers say whatever the entries say."""
    out, directory = bytearray(), bytearray()
    for entry in entries:
        size = len(entry.data) if entry.size is None else entry.size
        packed = len(entry.data) if entry.packed is None else entry.packed
        checksum = zlib.crc32(entry.data) if entry.checksum is None else entry.checksum
        name, local = entry.name.encode(), (entry.local_name or entry.name).encode()
        common = struct.pack("<HHHHIII", entry.flags, entry.method, 0, 33, checksum, packed, size)
        header = len(out)
        out += b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<HH", len(local), 0) + local + entry.data
        directory += b"PK\1\2" + struct.pack("<HH", 20, 20) + common
        directory += struct.pack("<HHHHHII", len(name), len(entry.extra), 0, 0, 0, entry.mode << 16, header)
        directory += name + entry.extra
    count = len(entries) if count is None else count
    end = struct.pack("<HHHHIIH", disk, 0, count, count, len(directory), len(out), 0)
    return bytes(out + directory) + before_end + b"PK\5\6" + end


# ---- NumPy -----------------------------------------------------------------------------------------------------------


def npy(header: str, values: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    """A .npy file with any header."""
    text = header.encode("utf-8") + b"\n"
    width = "<H" if version == 1 else "<I"
    size = struct.pack(width, len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + values


def header(descr: str = "'<f4'", shape: str = "(2, 3)", fortran: str = "False") -> str:
    """A header of a .npy file, of texts that stand in it as they are."""
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


GOOD_NPY = Entry("w.npy", npy(header(), VALUES.tobytes()))
