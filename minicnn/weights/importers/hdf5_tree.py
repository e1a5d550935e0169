"""A whole HDF5 file as names, datasets and the lists of names that Keras keeps in attributes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import MOST_TENSORS, check_count, check_name
from minicnn.weights.importers.hdf5_datasets import MOST_CHUNKS, MOST_UNPACKED, Stored, dataset, dataspace
from minicnn.weights.importers.hdf5_heap import dense_attributes
from minicnn.weights.importers.hdf5_objects import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    DEEPEST,
    MOST_OBJECTS,
    Hdf5Bytes,
    Message,
    links,
    messages,
    number,
    root_address,
    text,
)

LISTS = ("layer_names", "weight_names")  # the attributes that are read, and no others
MOST_NAMES = 4 * MOST_TENSORS  # in all of them; a list may have one byte a name


@dataclass
class Tree:
    """What stands in a file.

    Attributes
    ----------
    datasets : dict of path to Stored
        Paths as "layer1/0/conv1/weight", in the order of the groups.
    lists : dict of path to list of names
        The attributes `layer_names` and `weight_names` by the path of their group and their own name:
        "model_weights/layer_names".
    attributes : set of paths of attributes
        All of them, unread.
    """

    source: Hdf5Bytes
    datasets: dict[str, Stored] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    names: int = 0  # in all lists

    def read(self) -> dict[str, np.ndarray]:
        """All values by path."""
        return {path: stored.read(self.source) for path, stored in self.datasets.items()}


@contextmanager
def open_tree(called: str) -> Iterator[Tree]:
    """Open a file and check its whole structure; values are read by `Stored.read`."""
    try:
        with open(called, "rb") as file:
            tree = Tree(Hdf5Bytes(file, called))
            _walk(tree)
            yield tree
    except OSError as error:
        raise WeightsError("the file cannot be read", called=called, seen=error.strerror or "") from None


def _walk(tree: Tree) -> None:
    """Visit every object once, groups in the order of their links."""
    source = tree.source
    root = root_address(source)
    seen = {root}
    total = chunks = stored_bytes = 0
    stack: list[tuple[int, list[str]]] = [(root, [])]
    while stack:
        address, path = stack.pop()
        found = messages(source, address)
        name = "/".join(path)
        where = f"{source.called} at {name[:120]!r}"
        entries = links(source, found)
        _attributes(tree, found, name)
        if entries is None:
            if not path:
                raise source.damaged("a root that is not a group")
            check_name(name, source.called)
            stored = dataset(source, found, where)
            total += stored.nbytes
            stored_bytes += sum(size for _, _, size, _ in stored.pieces)
            chunks += len(stored.pieces)
            _check_sizes(source, where, total, stored_bytes, chunks)
            tree.datasets[name] = stored
            check_count(len(tree.datasets), source.called)
            continue
        tree.groups.add(name)
        if len(path) >= DEEPEST:
            raise WeightsError("groups are nested too deep", called=where, rule=f"at most {DEEPEST}")
        for part, child in reversed(entries):
            if child in seen:
                raise WeightsError(
                    "an object that is linked twice (a cycle?)",
                    called=f"{source.called} at {'/'.join([*path, part])[:120]!r}",
                    rule="each object once",
                )
            if not part or part in (".", "..") or not part.isprintable():
                raise WeightsError("a name that cannot be", called=where, seen=ascii(part[:40]))
            seen.add(child)
            stack.append((child, [*path, part]))
        if len(seen) > min(MOST_OBJECTS, 4 * MOST_TENSORS):
            raise WeightsError("too many objects", called=source.called, rule=f"at most {MOST_OBJECTS:,}")


def _check_sizes(source: Hdf5Bytes, where: str, total: int, stored: int, chunks: int) -> None:
    if stored > source.size or total > 2**20 + MOST_UNPACKED * source.size:
        raise WeightsError(
            "more values than the file can hold",
            called=where,
            seen=f"{total:,} bytes of values, {stored:,} stored",
            rule=f"a file of {source.size:,} bytes, and {MOST_UNPACKED} times that unpacked",
        )
    if chunks > MOST_CHUNKS:
        raise WeightsError("too many chunks", called=where, rule=f"at most {MOST_CHUNKS:,}")


def _attributes(tree: Tree, found: list[Message], path: str) -> None:
    """Note the names of all attributes, and read the lists of names."""
    source = tree.source
    stored = [message.data for message in found if message.kind == ATTRIBUTE]
    for message in found:
        if message.kind == ATTRIBUTE_INFO:
            stored += dense_attributes(source, message.data)
    for data in stored:
        version = number(data, 0, 1)
        sizes = [number(data, at, 2) for at in (2, 4, 6)]
        at = 9 if version == 3 else 8
        if version not in (1, 2, 3):
            raise source.damaged(f"an attribute of version {version}")
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        name = text(source, parts[0].split(b"\0")[0])
        tree.attributes.add(f"{path}/{name}".lstrip("/"))
        stem = name.rstrip("0123456789")  # Keras cuts long lists into weight_names0, weight_names1, ...
        if stem in LISTS:
            where = f"{source.called} at {path[:120]!r}"
            texts = _texts(
                source, parts[1], dataspace(source, parts[2], where), data[at:], f"{where}, attribute {name}"
            )
            tree.lists.setdefault(f"{path}/{stem}".lstrip("/"), []).extend(texts)
            tree.names += len(texts)
            if tree.names > MOST_NAMES:
                raise WeightsError("too many names of layers and weights", called=where, rule=f"at most {MOST_NAMES:,}")


def _texts(source: Hdf5Bytes, kind: bytes, shape: tuple[int, ...], data: bytes, where: str) -> list[str]:
    """A list of texts of fixed length, or of any length in a heap."""
    count = shape[0] if len(shape) == 1 else -1
    if count == 0:
        return []
    which, size = number(kind, 0, 1) & 15, number(kind, 4, 4)
    if not 0 < count <= MOST_OBJECTS or which not in (3, 9) or len(data) < count * size or not size:
        raise WeightsError("a list of names that is none", called=where, seen=f"datatype class {which}, {shape}")
    items = [data[i * size : (i + 1) * size] for i in range(count)]
    if which == 9:
        items = [_from_heap(source, item, where) for item in items]
    return [text(source, item.split(b"\0")[0]) for item in items]


def _from_heap(source: Hdf5Bytes, reference: bytes, where: str) -> bytes:
    """The text of a reference into a global heap: length, address of the heap, index in it."""
    length, address, index = number(reference, 0, 4), number(reference, 4), number(reference, 12, 4)
    head = source.block(address, 16, "a heap of texts")
    heap = source.block(address, min(number(head, 8), 2**16 + 64), "a heap of texts")
    at = 16
    while head[:4] == b"GCOL" and at + 16 <= len(heap):
        own, size = number(heap, at, 2), number(heap, at + 8)
        if own == index and index and length <= size:
            return heap[at + 16 : at + 16 + length]
        if not own:
            break
        at += 16 + -(-size // 8) * 8
    raise WeightsError("a name that is nowhere", called=where)
