"""Texts of any length in an attribute of an HDF5 file, read without HDF5, which never ends on some damaged heaps.

After the format's specification: the header of the root group is a list of messages; the message of an attribute ends
with one reference a text (length, address of a heap, number in it); a heap ("GCOL") is a list of objects. All values
are little-endian, offsets and lengths have eight bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Read = Callable[[int, int], bytes]  # (place, size) -> bytes of the file, or an error

CONTINUATION, ATTRIBUTE = 0x10, 0x0C  # types of messages
MOST_BLOCKS, LARGEST_BLOCK, LARGEST_HEAP = 64, 2**20, 2**24  # bytes
REFERENCE = 16  # bytes


class DamagedError(Exception):
    """What is wrong, for people."""


def read_texts(read: Read, header: int, name: str, count: int) -> list[bytes]:
    """The texts of an attribute.

    Parameters
    ----------
    read : callable
        (place, size) -> bytes of the file.
    header : int
        Where the header of the object is.
    name : str
        Of the attribute, a list of texts of variable length.
    count : int
        How many texts it has.

    Raises
    ------
    DamagedError
    """
    for kind, data in _messages(read, header):
        if kind == ATTRIBUTE:
            found, values = _attribute(data)
            if found == name.encode():
                if len(values) < count * REFERENCE:
                    raise DamagedError(f"an attribute of {len(values):,} bytes for {count:,} texts")
                return _texts(read, values[: count * REFERENCE])
    raise DamagedError(f"the attribute {name!r} is not in the header")


def _texts(read: Read, references: bytes) -> list[bytes]:
    heaps: dict[int, dict[int, bytes]] = {}
    texts = []
    for at in range(0, len(references), REFERENCE):
        length = _number(references, at, 4)
        place, number = _number(references, at + 4, 8), _number(references, at + 12, 4)
        if place not in heaps:
            if len(heaps) == MOST_BLOCKS:
                raise DamagedError("texts in too many heaps")
            heaps[place] = _heap(read, place)
        text = heaps[place].get(number, b"")
        if length > len(text):
            raise DamagedError(f"a text of {length:,} bytes, of which there are {len(text):,}")
        texts.append(text[:length])
    return texts


def _heap(read: Read, place: int) -> dict[int, bytes]:
    """The objects of a heap by their numbers."""
    start = read(place, 16)
    size = _number(start, 8, 8)
    if start[:5] != b"GCOL\1" or not 16 <= size <= LARGEST_HEAP:
        raise DamagedError(f"no heap of texts at {place:,}")
    data, at = read(place, size), 16
    objects: dict[int, bytes] = {}
    while at + 16 <= size:
        number, length = _number(data, at, 2), _number(data, at + 8, 8)
        if number == 0:  # the free space, which is the rest
            break
        if at + 16 + length > size:
            raise DamagedError("a heap of texts that does not hold what it declares")
        objects[number] = data[at + 16 : at + 16 + length]
        at += 16 + (length + 7) // 8 * 8
    return objects


def _attribute(data: bytes) -> tuple[bytes, bytes]:
    """Name and values of an attribute's message."""
    version = data[0] if data else 0
    sizes = [_number(data, at, 2) for at in (2, 4, 6)]  # of name, type, shape
    if version not in (1, 2, 3) or (version > 1 and data[1] & 3):  # 3: a type or a shape that stands elsewhere
        raise DamagedError(f"an attribute of version {version}")
    at = 9 if version == 3 else 8
    name = data[at : at + sizes[0]].rstrip(b"\0")
    step = 8 if version == 1 else 1
    return name, data[at + sum(-(-size // step) * step for size in sizes) :]


def _messages(read: Read, header: int) -> Iterator[tuple[int, bytes]]:
    """Type and data of each message of an object's header, through all its blocks."""
    start = read(header, 16)
    if start[:5] == b"OHDR\2":
        flags = start[5]
        at = header + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks = [(at + width, _number(read(at, width), 0, width))]
        before, wide, frame = (6 if flags & 4 else 4), 1, 4  # of a message; of its type; "OCHK" and a checksum
    elif start[0] == 1:
        blocks = [(header + 16, _number(start, 8, 4))]
        before, wide, frame = 8, 2, 0
    else:
        raise DamagedError("no header of an object")
    for place, size in blocks:  # a list that grows: a header may go on elsewhere
        if not 0 <= size <= LARGEST_BLOCK:
            raise DamagedError(f"a header of {size:,} bytes")
        block, at = read(place, size), 0
        while at + before <= size:
            kind, length = _number(block, at, wide), _number(block, at + wide, 2)
            data = block[at + before : at + before + length]
            if kind == CONTINUATION:
                if len(blocks) == MOST_BLOCKS or len(data) < 16:
                    raise DamagedError("a header in too many parts")
                blocks.append((_number(data, 0, 8) + frame, _number(data, 8, 8) - 2 * frame))
            yield kind, data
            at += before + length


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise DamagedError("the end of a header")
    return int.from_bytes(data[at : at + size], "little")
