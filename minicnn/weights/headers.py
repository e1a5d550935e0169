"""Looking at the bytes of an object before HDF5 opens it.

HDF5 2.0 divides by zero, and so ends the process, when it opens a dataset whose chunks are said to have no axes.
Nothing can be asked about a dataset without opening it; so its header is read here first, as the format's specification
("Data Object Headers", version 2) lays it out:

    "OHDR", version, flags, [times], [limits], size, messages...       message: type, size, flags, [order], data
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from minicnn.errors import WeightsError
from minicnn.weights.kinds import how_to_import

LAYOUT, CONTINUATION = 0x08, 0x10  # types of messages
CHUNKED = 2
MOST_BLOCKS, LARGEST_BLOCK = 64, 2**20


def check_superblock(start: bytes, called: str) -> None:
    """Raise unless the file's first bytes are those of a file whose structure carries checksums, as ours do."""
    version, offset_size, length_size = start[8:11].ljust(3, b"\0")
    if version not in (2, 3) or (offset_size, length_size) != (8, 8) or any(start[12:20]):
        raise WeightsError(
            "an HDF5 file in a form that minicnn does not write",
            called=called,
            seen=f"superblock version {version}",
            rule="version 3: its structure has checksums",
            hint=how_to_import(called),
        )


def check_header(file: BinaryIO, address: int, where: str) -> None:
    """Raise unless HDF5 can open the object at this address without harm."""
    for kind, data in _messages(file, address, where):
        if kind == LAYOUT and data[0] >= 4 and data[1] == CHUNKED and data[3] == 0:
            raise WeightsError("the file is damaged", called=where, seen="chunks without axes")


def _messages(file: BinaryIO, address: int, where: str) -> Iterator[tuple[int, bytes]]:
    """Type and data of each message of an object's header, through all its blocks."""
    start = _read(file, address, 6, where)
    if start[:5] != b"OHDR\2":
        raise WeightsError("an object in a form that minicnn does not write", called=where, seen=f"{start[:4]!r}")
    flags = start[5]
    place = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    blocks = [(place + width, int.from_bytes(_read(file, place, width, where), "little"))]
    before = 6 if flags & 0x04 else 4
    for place, size in blocks:  # a list that grows: a header may go on elsewhere
        block, at = _read(file, place, size, where), 0
        while at + before <= size:
            kind, length = block[at], int.from_bytes(block[at + 1 : at + 3], "little")
            data = block[at + before : at + before + length].ljust(16, b"\0")
            if kind == CONTINUATION:
                if len(blocks) == MOST_BLOCKS:
                    raise WeightsError("the file is damaged", called=where, seen="a header in too many parts")
                # The block begins with "OCHK" and ends with a checksum, four bytes each.
                blocks.append((int.from_bytes(data[:8], "little") + 4, int.from_bytes(data[8:16], "little") - 8))
            yield kind, data
            at += before + length


def _read(file: BinaryIO, place: int, size: int, where: str) -> bytes:
    if not 0 <= size <= LARGEST_BLOCK or place >= 2**62:
        raise WeightsError("the file is damaged", called=where, seen=f"a header of {size:,} bytes at {place}")
    file.seek(place)
    found = file.read(size)
    if len(found) != size:
        raise WeightsError("the file is damaged", called=where, seen="a header beyond the end of the file")
    return found
