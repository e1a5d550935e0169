"""Links and attributes in HDF5's newer form: a B-tree of names over a "fractal heap" of messages.

Groups of more than eight links, and objects of more than eight attributes, are stored so by `h5py.File(...,
libver="latest")`, and by minicnn. After the format's specification,
sections III.A.2 (B-trees, version 2) and III.G (fractal heap); only what a group of a few thousand links needs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from minicnn.weights.importers.hdf5_objects import MOST_OBJECTS, UNDEFINED, Hdf5Bytes, number

# Types of records: size, and where in them the heap's identifier stands.
LINKS, ATTRIBUTES = 5, 8
RECORDS = {LINKS: (11, slice(4, 11)), ATTRIBUTES: (17, slice(0, 8))}


def dense_links(source: Hdf5Bytes, info: bytes) -> Iterator[bytes]:
    """The link messages that a link-info message points to."""
    at = 2 + (8 if number(info, 1, 1) & 1 else 0)
    heap, tree = number(info, at), number(info, at + 8)
    if heap == UNDEFINED:
        return
    objects = _Heap(source, heap)
    for identifier in _records(source, tree, LINKS):
        yield objects.read(identifier)


def dense_attributes(source: Hdf5Bytes, info: bytes) -> Iterator[bytes]:
    """The attribute messages that an attribute-info message points to, but for very long ones."""
    at = 2 + (2 if number(info, 1, 1) & 1 else 0)
    heap, tree = number(info, at), number(info, at + 8)
    if heap == UNDEFINED:
        return
    objects = _Heap(source, heap)
    for identifier in _records(source, tree, ATTRIBUTES):
        if not identifier[0] >> 4:  # longer ones stand outside the heap; none that is read here is so long
            yield objects.read(identifier)


def _records(source: Hdf5Bytes, address: int, kind: int) -> Iterator[bytes]:
    """The heap's identifiers in a B-tree of version 2, node after node."""
    head = source.block(address, 38, "a B-tree")
    size, width, depth = number(head, 6, 4), number(head, 10, 2), number(head, 12, 2)
    expected, place_in_record = RECORDS[kind]
    if head[:4] != b"BTHD" or head[5] != kind or width != expected:
        raise source.damaged("a B-tree that is none")
    source.check(head[:34], number(head, 34, 4), "a B-tree")
    if depth > 4 or size < 64:
        raise source.damaged(f"a B-tree of depth {depth}")
    # Widths of the counts that an inner node keeps of its children, as the specification derives them.
    most = [(size - 10) // width]
    total_most, widths = [most[0]], [0]
    for _ in range(depth):
        own = _bytes_for(most[0])
        pointer = 8 + own + widths[-1]
        most.append((size - 10 - pointer) // (width + pointer))
        total_most.append((most[-1] + 1) * total_most[-1] + most[-1])
        widths.append(_bytes_for(total_most[-1]))
    stack = [(number(head, 16), number(head, 24, 2), depth)]
    seen = 0
    while stack:
        place, count, level = stack.pop()
        node = source.block(place, size, "a B-tree")
        if node[:4] != (b"BTIN" if level else b"BTLF") or count > most[level]:
            raise source.damaged("a B-tree that is none")
        end = 6 + count * width
        for at in range(6, end, width):
            yield node[at : at + width][place_in_record]
        seen += count
        if seen > MOST_OBJECTS:
            raise source.damaged("a B-tree of too many records")
        if level:
            own, pointer = _bytes_for(most[0]), 8 + _bytes_for(most[0]) + widths[level - 1]
            for at in range(end, end + (count + 1) * pointer, pointer):
                stack.append((number(node, at), number(node, at + 8, own), level - 1))
            end += (count + 1) * pointer
        source.check(node[:end], number(node, end, 4), "a B-tree")


def _bytes_for(count: int) -> int:
    return max(1, (count.bit_length() + 7) // 8)


class _Heap:
    """A fractal heap of small objects: blocks in rows of `width`, whose sizes double from the third row on."""

    def __init__(self, source: Hdf5Bytes, address: int) -> None:
        self.source = source
        head = source.block(address, 146, "a heap of links")
        if head[:4] != b"FRHP" or number(head, 7, 2):
            raise source.damaged("a heap of links that is none")
        source.check(head[:142], number(head, 142, 4), "a heap of links")
        self.checked = bool(head[9] & 2)
        self.width, self.first, self.largest = number(head, 110, 2), number(head, 112), number(head, 120)
        bits, root, rows = number(head, 128, 2), number(head, 132), number(head, 140, 2)
        self.offset_bytes = (bits + 7) // 8
        self.length_bytes = _bytes_for(min(self.largest, number(head, 10, 4)))
        if not 1 <= self.width <= 64 or not 64 <= self.first <= self.largest <= 2**20 or rows > 40 or bits > 64:
            raise source.damaged("a heap of links of unlikely sizes")
        self.blocks: list[tuple[int, int, bytes]] = []  # in order: where it begins in the heap, its size, its bytes
        if rows == 0:
            self._add(root, self.first, 0)
        else:
            self._indirect(root, rows)

    def _indirect(self, address: int, rows: int) -> None:
        start = 13 + self.offset_bytes
        node = self.source.block(address, start + rows * self.width * 8 + 4, "a heap of links")
        if node[:4] != b"FHIB":
            raise self.source.damaged("a heap of links that is none")
        self.source.check(node[:-4], number(node, len(node) - 4, 4), "a heap of links")
        offset = 0
        for row in range(rows):
            size = self.first * (1 if row < 2 else 1 << (row - 1))
            for column in range(self.width):
                child = number(node, start + (row * self.width + column) * 8)
                if child != UNDEFINED:
                    if size > self.largest:
                        raise self.source.unsupported("a group of very many links")
                    self._add(child, size, offset)
                offset += size

    def _add(self, address: int, size: int, offset: int) -> None:
        block = self.source.block(address, size, "a heap of links")
        if block[:4] != b"FHDB":
            raise self.source.damaged("a heap of links that is none")
        if self.checked:
            at = 13 + self.offset_bytes
            self.source.check(block[:at] + bytes(4) + block[at + 4 :], number(block, at, 4), "a heap of links")
        self.blocks.append((offset, size, block))

    def read(self, identifier: bytes) -> bytes:
        """The object of an identifier: flags, offset, length."""
        if identifier[0] >> 4:
            raise self.source.unsupported("links of unusual length")
        offset = number(identifier, 1, self.offset_bytes)
        length = number(identifier, 1 + self.offset_bytes, self.length_bytes)
        which = bisect_right(self.blocks, offset, key=lambda block: block[0]) - 1
        if which >= 0:
            start, size, block = self.blocks[which]
            if offset + length <= start + size:
                self.source.count(length, "an object in a heap")  # many identifiers may lead to one large object
                return block[offset - start : offset - start + length]
        raise self.source.damaged("a link beyond the end of its heap")
