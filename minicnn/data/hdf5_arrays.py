"""Arrays of numbers in an HDF5 file that somebody else made: looked at first, then read without trust.

HDF5 can point to other files, load plug-ins and declare arrays larger than any memory. `open_arrays` refuses all of
that by name before a value is read: links are hard ones, layouts are contiguous or cut into chunks, the only filters
are gzip, shuffle and Fletcher-32, and nothing declares much more than the file holds. HDF5 only says where the bytes
lie; they are read, checked and unpacked here, with limits. A contiguous array need not be read at all:
`StoredArray.place` says where it lies.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from minicnn.data.hdf5_texts import DamagedError, read_texts
from minicnn.data.hdf5_values import FLETCHER32, GZIP, SHUFFLE, StoredArray, damaged, read_at
from minicnn.data.images import shown
from minicnn.errors import DataError, MinicnnError, MissingPackageError

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_LINKS, MOST_CHUNKS, MOST_CLASSES = 10_000, 1_000_000, 100_000
LONGEST_TEXT = 2**24  # bytes of an attribute
LARGEST = 2**31  # bytes of a packed array, which has to be kept in memory
PIPELINES = ((), (GZIP,), (SHUFFLE,), (SHUFFLE, GZIP))  # and any of them with a checksum as the last
MOST_PACKED = 64  # times that gzip may make an array smaller: photographs come to 3, drawings to 20, bombs to 1,000


class ArrayFile:
    """An open HDF5 file: names of its groups, its arrays, its texts."""

    def __init__(self, file: Any, called: str) -> None:
        self._file, self.called = file, called
        self._size = os.path.getsize(called)

    def names(self, group: str = "") -> list[str]:
        """What stands in a group (the root: ""), sorted."""
        node = self._group(group)
        if node.get_num_objs() > MOST_LINKS:
            raise DataError("too many objects", called=self.called, rule=f"at most {MOST_LINKS:,} in a group")
        names: list[bytes] = []
        node.links.iterate(names.append)
        return sorted(name.decode("utf-8", "replace") for name in names)

    def is_group(self, name: str) -> bool:
        """Whether `name`, which stands in the root, is a group, and no link to somewhere else."""
        from h5py import h5g, h5l, h5o

        key, root = name.encode(), self._group("")
        is_hard = root.links.exists(key) and root.links.get_info(key).type == h5l.TYPE_HARD
        return is_hard and isinstance(h5o.open(root, key), h5g.GroupID)

    def array(self, group: str, name: str, axes: tuple[int, ...], dtypes: str) -> StoredArray:
        """The array `name` of a group, with one of these numbers of axes and of a dtype of these kinds ("u", "iu")."""
        from h5py import h5d, h5o, h5s, h5t

        where = f"{self.called} at {shown(f'{group}/{name}'.strip('/'))!r}"
        node = self._group(group)
        self._follow(node, name, where)
        dataset = h5o.open(node, name.encode())
        if not isinstance(dataset, h5d.DatasetID):
            raise DataError("not an array", called=where)
        plan = dataset.get_create_plist()  # first: asking a virtual dataset for its shape may open its sources
        layout = plan.get_layout()
        if layout == h5d.VIRTUAL or plan.get_external_count():
            raise DataError("values in another file", called=where, rule="all values are in this file")
        kind, space = dataset.get_type(), dataset.get_space()
        dtype = dataset.dtype if kind.get_class() == h5t.INTEGER else None
        if dtype is None or dtype.kind not in dtypes or ("i" not in dtypes and dtype.itemsize != 1):
            rule = "integers" if "i" in dtypes else "bytes (uint8)"
            raise DataError("an unexpected dtype", called=where, seen=str(dtype or "not integers"), rule=rule)
        simple = space.get_simple_extent_type() == h5s.SIMPLE
        shape = tuple(int(n) for n in space.get_simple_extent_dims()) if simple else ()
        if len(shape) not in axes:
            raise DataError("an unexpected number of axes", called=where, seen=f"shape {shape}", rule=f"{axes}")
        size = math.prod(shape) * dtype.itemsize
        if not size:
            raise DataError("an empty array", called=where, seen=f"shape {shape}", rule="at least one value")
        if layout == h5d.CONTIGUOUS:
            place = dataset.get_offset()
            if place is None or place + size > self._size:
                raise damaged(where, f"{size:,} bytes at {place}, a file of {self._size:,}", "within the file")
            return StoredArray(where, shape, dtype, place, (), (), ())
        if layout != h5d.CHUNKED:
            raise DataError("an unexpected layout", called=where, rule="contiguous, or cut into chunks")
        return self._chunked(dataset, plan, where, shape, dtype)

    def texts(self, name: str) -> list[str] | None:
        """A list of texts in an attribute of the root, or None where there is none."""
        from h5py import h5a, h5s, h5t

        if not h5a.exists(self._file.id, name.encode()):
            return None
        where = f"{self.called}: attribute {name!r}"
        attribute = h5a.open(self._file.id, name.encode())
        space = attribute.get_space()
        count = space.get_simple_extent_npoints() if space.get_simple_extent_type() == h5s.SIMPLE else 0
        kind = attribute.get_type()
        if kind.get_class() != h5t.STRING or len(attribute.shape) != 1 or not 0 < count <= MOST_CLASSES:
            raise DataError("not a list of texts", called=where, rule=f"1 to {MOST_CLASSES:,} texts")
        if attribute.get_storage_size() > LONGEST_TEXT:
            raise DataError("too long", called=where, rule=f"at most {LONGEST_TEXT:,} bytes")
        if kind.is_variable_str():
            values = self._long_texts(name, count)
        else:
            array = np.empty(attribute.shape, attribute.dtype)
            attribute.read(array)
            values = array.tolist()
        return [value.decode("utf-8", "replace") for value in values]

    def _long_texts(self, name: str, count: int) -> list[bytes]:
        from h5py import h5g, h5o

        with open(self.called, "rb") as file:

            def read(place: int, size: int) -> bytes:
                if not 0 <= place <= place + size <= self._size:
                    raise DamagedError(f"{size:,} bytes at {place:,}, a file of {self._size:,}")
                return read_at(file.fileno(), place, size, self.called)

            try:
                return read_texts(read, h5o.get_info(h5g.open(self._file.id, b"/")).addr, name, count)
            except DamagedError as problem:
                raise DataError(
                    "texts that cannot be read",
                    called=f"{self.called}: attribute {name!r}",
                    seen=str(problem),
                    rule="short texts, or texts of a fixed length (numpy's dtype S)",
                    hint="or pass classes=[...]",
                ) from None

    def _chunked(self, dataset: Any, plan: Any, where: str, shape: tuple[int, ...], dtype: np.dtype) -> StoredArray:
        filters = tuple(plan.get_filter(i)[0] for i in range(plan.get_nfilters()))
        if (filters[:-1] if filters[-1:] == (FLETCHER32,) else filters) not in PIPELINES:
            raise DataError(
                "unexpected filters",
                called=where,
                seen=f"numbers {list(filters)}",
                rule="none, gzip (1), shuffle (2) and gzip; then perhaps Fletcher-32 (3)",
                hint="write the file again with h5py, without compression",
            )
        chunk = tuple(int(n) for n in plan.get_chunk())
        count = math.prod(-(-n // step) for n, step in zip(shape, chunk, strict=True))
        size, chunk_size = math.prod(shape) * dtype.itemsize, math.prod(chunk) * dtype.itemsize
        stored = min(dataset.get_storage_size(), self._size)
        if size > LARGEST or count > MOST_CHUNKS:
            raise DataError(
                "too large to be unpacked into memory",
                called=where,
                seen=f"{size:,} bytes in {count:,} chunks",
                rule=f"at most {LARGEST:,} bytes in {MOST_CHUNKS:,} chunks",
                hint="write the file again without compression and chunks: then it is read in place",
            )
        if max(size, chunk_size) > MOST_PACKED * stored + 2**20:
            raise damaged(
                where, f"shape {shape}, chunks {chunk} in {stored:,} bytes", "the file holds what it declares"
            )
        found: list[tuple[tuple[int, ...], int, int]] = []

        def note(info: Any) -> bool | None:
            found.append((tuple(info.chunk_offset), info.byte_offset, info.size))
            sound = not info.filter_mask and 0 < info.size <= stored and len(found) <= count
            return None if sound else True  # None: the next one

        wrong = dataset.chunk_iter(note)
        if wrong or len({start for start, _, _ in found}) != count or len(found) != count:
            raise damaged(where, f"{len(found):,} chunks, or one that is not sound", f"{count:,} whole chunks")
        if sum(length for _, _, length in found) > self._size or not all(map(_fits(shape, chunk), found)):
            raise damaged(where, "chunks that overlap or lie outside of the array")
        return StoredArray(where, shape, dtype, None, chunk, filters, tuple(found))

    def _group(self, name: str) -> Any:
        from h5py import h5g, h5o

        root = h5g.open(self._file.id, b"/")
        if not name:
            return root
        self._follow(root, name, self.called)
        group = h5o.open(root, name.encode())
        if not isinstance(group, h5g.GroupID):
            raise DataError("not a group", called=f"{self.called} at {shown(name)!r}")
        return group

    @staticmethod
    def _follow(group: Any, name: str, where: str) -> None:
        """Raise unless `name` is there, by a hard link."""
        from h5py import h5l

        if "/" in name or name in ("", ".") or not group.links.exists(name.encode()):
            raise DataError(f"no {shown(name)!r} in the file", called=where)
        kind = group.links.get_info(name.encode()).type
        if kind != h5l.TYPE_HARD:
            what = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}.get(kind, "a user link")
            raise DataError(f"{what}, which is never followed", called=where, rule="hard links only")


@contextlib.contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[ArrayFile]:
    """Open an HDF5 file to look at; any error of HDF5 becomes a `DataError` that names the file."""
    try:
        import h5py
    except ImportError:
        raise MissingPackageError("h5py is not installed", called=shown(path), hint="pip install h5py") from None
    name = os.fspath(path)
    _check_start(name)
    try:
        with h5py.File(name, "r", locking=False) as file:
            yield ArrayFile(file, name)
    except MinicnnError:
        raise
    except Exception as error:  # HDF5 reports a damaged file in many ways, and none of them may escape
        raise damaged(shown(name), f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from None


def _fits(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Any:
    def fits(found: tuple[tuple[int, ...], int, int]) -> bool:
        return all(at % step == 0 and at < n for at, step, n in zip(found[0], chunk, shape, strict=True))

    return fits


def _check_start(path: str) -> None:
    """Say what the file is, if it is not HDF5."""
    called = shown(path)
    if not os.path.isfile(path):
        what = "not a regular file" if os.path.lexists(path) else "there is no such file"
        raise DataError(what, called=called, hint="check the path")
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise DataError("the file cannot be read", called=called, seen=error.strerror or "") from None
    if start.startswith(b"version https://git-lfs"):
        raise DataError("a git-lfs pointer, not the images themselves", called=called, hint="run `git lfs pull`")
    if not start.startswith(MAGIC):
        raise DataError("not an HDF5 file", called=called, seen=f"first bytes {start[:8]!r}", rule=f"{MAGIC!r}")
