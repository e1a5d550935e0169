"""Objects of an HDF5 file: where groups, datasets and attributes stand, read from the bytes themselves.

Foreign files come in HDF5's first form, whose structure has no checksums, and on changed bytes in it the HDF5 library
ends the process or does not come back (measured: 4 of 3,000 files with one to four changed bytes). So the parts of the
format that weights use are read here, in Python, after the format's specification ("HDF5 File Format Specification",
version 3.0; sections II to IV): nothing is followed that is not checked to lie within the file, and each object is
visited once.

    superblock -> object header of the root -> messages: dataspace, datatype, layout, filters, attributes, links
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from minicnn.errors import WeightsError

UNDEFINED = 2**64 - 1
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0x0B, 0x0C, 0x10, 0x11, 0x15
SHARED = 0x02  # flag of a message that stands elsewhere
MOST_OBJECTS, MOST_MESSAGES, MOST_BLOCKS, DEEPEST = 8_000, 4_000, 64, 12
LARGEST_BLOCK, MOST_PIECES = 2**20, 40_000
MOST_STRUCTURE, MOST_CHECKED = 16 * 2**20, 3 * 2**19  # bytes: what takes about half a second
LONGEST_NAME = 300
HINT = "write it again with h5py.File(path, 'w') and its default settings"


class Hdf5Bytes:
    """Bytes of a file by address, each checked to lie within it.

    Parameters
    ----------
    file : binary file
    called : str
        Its path, for errors.
    """

    def __init__(self, file: BinaryIO, called: str) -> None:
        self.file, self.called = file, called
        self.size = os.fstat(file.fileno()).st_size
        self.pieces = self.bytes = self.checked = 0  # of structure, so far

    def read(self, address: int, size: int, what: str = "a structure") -> bytes:
        """`size` bytes at `address`; raises WeightsError if the file does not hold them."""
        if not 0 <= address <= self.size or size < 0 or address + size > self.size:
            raise self.damaged(f"{what} of {size:,} bytes at {address:,}, in a file of {self.size:,}")
        self.file.seek(address)
        found = self.file.read(size)
        if len(found) != size:
            raise self.damaged(f"{what} cut off: the file changed while it was read")
        return found

    def block(self, address: int, size: int, what: str = "a structure") -> bytes:
        """The same for a piece of structure, of a limited size; the pieces together are limited as well."""
        self.count(size, what)
        return self.read(address, size, what)

    def count(self, size: int, what: str) -> None:
        """Raise if a piece of structure is too large, or the pieces so far are too many."""
        self.pieces, self.bytes = self.pieces + 1, self.bytes + max(size, 0)
        if size > LARGEST_BLOCK or self.pieces > MOST_PIECES or self.bytes > MOST_STRUCTURE:
            raise self.damaged(f"{what} of {size:,} bytes, piece {self.pieces:,}, {self.bytes:,} bytes in all")

    def check(self, data: bytes, expected: int, what: str) -> None:
        """Raise unless the structure matches its checksum."""
        self.checked += len(data)
        if self.checked > MOST_CHECKED:
            raise WeightsError(
                "too many objects with checksums",
                called=self.called,
                rule=f"at most {MOST_CHECKED:,} bytes of structure",
                hint=HINT,
            )
        if lookup3(data) != expected:
            raise self.damaged(f"{what} that does not match its checksum")

    def damaged(self, seen: str) -> WeightsError:
        """The error for bytes that make no sense."""
        return WeightsError("the file is damaged", called=self.called, seen=seen, hint="fetch it again")

    def unsupported(self, what: str) -> WeightsError:
        """The error for sound HDF5 that weights do not need."""
        return WeightsError(f"an HDF5 file with {what}", called=self.called, rule="plain HDF5", hint=HINT)


@dataclass
class Message:
    """One message of an object's header."""

    kind: int
    data: bytes


def root_address(source: Hdf5Bytes) -> int:
    """Address of the root group's header, from the superblock at the file's beginning."""
    start = source.read(0, min(96, source.size), "a superblock")
    version = start[8] if len(start) > 8 else 255
    if version > 3:
        raise source.damaged(f"superblock version {version}")
    sizes, base, root = (13, 24, 64) if version == 0 else (13, 28, 68) if version == 1 else (9, 12, 36)
    start = start.ljust(96, b"\0")
    if tuple(start[sizes : sizes + 2]) != (8, 8) or any(start[base : base + 8]):
        raise source.unsupported("addresses that are not of 8 bytes, counted from its beginning")
    end = number(start, base + 16)  # the end of the file, as it was written
    if version >= 2:
        source.check(start[:44], number(start, 44, 4), "a superblock")
    if end > source.size:
        raise WeightsError(
            "the file is cut off (half a download?)",
            called=source.called,
            seen=f"{source.size:,} bytes of {end:,}",
            hint="fetch it again",
        )
    return number(start, root)


def messages(source: Hdf5Bytes, address: int) -> list[Message]:
    """All messages of the object's header, through all its blocks."""
    start = source.block(address, 16, "an object's header")
    found = list(_second_form(source, address) if start[:4] == b"OHDR" else _first_form(source, address, start))
    if not found:
        raise source.damaged(f"an object without a header at {address:,}")
    return found


def _first_form(source: Hdf5Bytes, address: int, start: bytes) -> Iterator[Message]:
    version, count, size = start[0], number(start, 2, 2), number(start, 8, 4)
    if version != 1 or count > MOST_MESSAGES:
        raise source.damaged(f"an object's header of version {version}, {count:,} messages")
    blocks = [(address + 16, size)]
    for place, length in blocks:  # a list that grows: a header may go on elsewhere
        block, at = source.block(place, length, "an object's header"), 0
        while at + 8 <= length and count:
            kind, width, flags = number(block, at, 2), number(block, at + 2, 2), block[at + 4]
            data = block[at + 8 : at + 8 + width]
            if len(data) != width:
                raise source.damaged("a message beyond the end of its header")
            at, count = at + 8 + width, count - 1
            yield from _message(source, kind, flags, data, blocks, 0)


def _second_form(source: Hdf5Bytes, address: int) -> Iterator[Message]:
    start = source.block(address, min(64, source.size - address), "an object's header").ljust(64, b"\0")
    flags = start[5]
    at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    first, size = at + width, number(start, at, width)
    before = 6 if flags & 0x04 else 4
    blocks, lead, count = [(address, first + size + 4)], first, 0
    for place, length in blocks:
        block = source.block(place, length, "an object's header")
        if length < lead + 4:
            raise source.damaged("an empty header")
        source.check(block[:-4], number(block, length - 4, 4), "an object's header")
        if lead == 4 and block[:4] != b"OCHK":
            raise source.damaged("a header that does not go on")
        at = lead
        while at + before <= length - 4:
            kind, width, marks = block[at], number(block, at + 1, 2), block[at + 3]
            data = block[at + before : at + before + width]
            at, count = at + before + width, count + 1
            if at > length - 4 or count > MOST_MESSAGES:
                raise source.damaged("a message beyond the end of its header")
            yield from _message(source, kind, marks, data, blocks, 4)
        lead = 4


def _message(
    source: Hdf5Bytes, kind: int, flags: int, data: bytes, blocks: list[tuple[int, int]], smallest: int
) -> Iterator[Message]:
    if kind == CONTINUATION:
        if len(blocks) == MOST_BLOCKS or len(data) < 16 or number(data, 8) < smallest + 4:
            raise source.damaged("a header in too many parts")
        blocks.append((number(data, 0), number(data, 8)))
    elif flags & SHARED and kind in (DATASPACE, DATATYPE, LAYOUT, FILTERS, ATTRIBUTE, LINK):
        raise source.unsupported("a named datatype or another shared part")
    else:
        yield Message(kind, data)


def links(source: Hdf5Bytes, found: list[Message]) -> list[tuple[str, int]] | None:
    """Name and address of each object in a group, or None if these messages are not a group's."""
    kinds = {message.kind for message in found}
    if not kinds & {SYMBOL_TABLE, LINK_INFO}:
        return None
    entries: list[tuple[str, int]] = []
    for message in found:
        for entry in _entries(source, message):
            entries.append(entry)
            if len(entries) > MOST_OBJECTS:
                raise WeightsError("too many objects", called=source.called, rule=f"at most {MOST_OBJECTS:,}")
    return entries


def _entries(source: Hdf5Bytes, message: Message) -> Iterator[tuple[str, int]]:
    if message.kind == SYMBOL_TABLE:
        yield from _symbol_table(source, message.data)
    elif message.kind == LINK:
        yield _link(source, message.data)
    elif message.kind == LINK_INFO:
        from minicnn.weights.importers.hdf5_heap import dense_links

        for data in dense_links(source, message.data):
            yield _link(source, data)


def _link(source: Hdf5Bytes, data: bytes) -> tuple[str, int]:
    """A link message: flags, [type], [order], [character set], length of the name, name, then where it leads."""
    flags = number(data, 1, 1)
    at = 2
    kind = number(data, at, 1) if flags & 0x08 else 0
    at += (1 if flags & 0x08 else 0) + (8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    length = number(data, at, width)
    name = text(source, data[at + width : at + width + min(length, LONGEST_NAME + 1)])
    if kind:
        raise bad_link(source, name, {1: "a soft link", 64: "an external link"}.get(kind, "a user link"))
    at += width + length
    if len(data) < at + 8:
        raise source.damaged("a link cut off")
    return name, number(data, at)


def bad_link(source: Hdf5Bytes, name: str, what: str) -> WeightsError:
    """The error for a link that leads to a name in place of an object."""
    return WeightsError(
        f"{what}, which is never followed", called=f"{source.called} at {name[:120]!r}", rule="hard links only"
    )


def _symbol_table(source: Hdf5Bytes, data: bytes) -> Iterator[tuple[str, int]]:
    """A group of the first form: a B-tree whose leaves list names (in a local heap) and addresses."""
    tree, heap = number(data, 0), number(data, 8)
    head = source.block(heap, 32, "a heap of names")
    if head[:4] != b"HEAP":
        raise source.damaged("a group without its heap of names")
    names = source.block(number(head, 24), number(head, 8), "a heap of names")
    for leaf in tree_leaves(source, tree, 0, 8):
        node = source.block(leaf[1], 8, "a node of a group")
        count = number(node, 6, 2)
        if node[:4] != b"SNOD":
            raise source.damaged("a group without its list of names")
        entries = source.block(leaf[1] + 8, 40 * count, "a node of a group")
        for at in range(0, 40 * count, 40):
            start = number(entries, at)
            if start >= len(names):
                raise source.damaged("a name beyond the end of its heap")
            name = text(source, names[start : start + LONGEST_NAME + 1].split(b"\0")[0])
            if number(entries, at + 16, 4) == 2:
                raise bad_link(source, name, "a soft link")
            yield name, number(entries, at + 8)


def tree_leaves(source: Hdf5Bytes, address: int, kind: int, key: int) -> Iterator[tuple[bytes, int]]:
    """Key and child of each entry of the leaves of a B-tree of the first form; levels must go down one by one.

    Parameters
    ----------
    source : Hdf5Bytes
    address : int
        UNDEFINED for an empty tree.
    kind : int
        0 for groups, 1 for chunks.
    key : int
        Size of a key in bytes.
    """
    if address == UNDEFINED:
        return
    stack: list[tuple[int, int | None]] = [(address, None)]
    while stack:
        place, level = stack.pop()
        head = source.block(place, 24, "a B-tree")
        count = number(head, 6, 2)
        if head[:4] != b"TREE" or head[4] != kind or (level is not None and head[5] != level):
            raise source.damaged("a B-tree that is none")
        node = source.block(place + 24, count * (key + 8), "a B-tree")
        entries = [(node[at : at + key], number(node, at + key)) for at in range(0, count * (key + 8), key + 8)]
        if head[5] == 0:
            yield from entries
        else:
            stack += [(child, head[5] - 1) for _, child in reversed(entries)]
            if len(stack) > MOST_PIECES:
                raise source.damaged("a B-tree of too many nodes")


def number(data: bytes, at: int, width: int = 8) -> int:
    """The little-endian number of `width` bytes at `at`; what is not there counts as zero."""
    return int.from_bytes(data[at : at + width], "little")


def text(source: Hdf5Bytes, data: bytes) -> str:
    """A name of a link, an attribute or a weight."""
    if len(data) > LONGEST_NAME:
        raise source.damaged(f"a name of more than {LONGEST_NAME} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise source.damaged(f"a name that is not text: {data[:20]!r}") from None


def lookup3(data: bytes) -> int:
    """The checksum of HDF5's structure: Bob Jenkins's hash "lookup3" (little-endian, initial value 0)."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    at = 0
    while len(data) - at > 12:
        a, b, c = (a + number(data, at, 4)) & mask, (b + number(data, at + 4, 4)) & mask, c + number(data, at + 8, 4)
        c &= mask
        for turn in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & mask) ^ (((c << turn) | (c >> (32 - turn))) & mask)
            c = (c + b) & mask
            a, b, c = b, c, a
        at += 12
    if at == len(data):
        return c
    a, b, c = (a + number(data, at, 4)) & mask, (b + number(data, at + 4, 4)) & mask, c + number(data, at + 8, 4)
    c &= mask
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - (((b << turn) | (b >> (32 - turn))) & mask)) & mask
        a, b, c = b, c, a
    return b
