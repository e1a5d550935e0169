"""Looking at an HDF5 file before believing it.

HDF5 can point to other files, load plug-ins, hold objects and declare arrays larger than any memory. None of that
occurs in a file of ours, so all of it is refused here, by name, before a value is read: only groups and datasets
reached by hard links, each once; only numbers; only Fletcher-32; every chunk of its whole size; no more bytes declared
than the file holds. Limits on numbers of things keep the time short, also for a file made to take long.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from minicnn.errors import MissingPackageError, WeightsError
from minicnn.weights.headers import check_header, check_superblock
from minicnn.weights.kinds import IN_WORDS, first_bytes, how_to_import, kind_of, not_weights

FORMAT, VERSION = "minicnn-weights", 1
MOST_OBJECTS, MOST_CHUNKS, MOST_ATTRIBUTES, DEEPEST, MOST_AXES, LONGEST = 4_000, 16_000, 100, 12, 8, 64 * 1024
CHECKSUM_BYTES = 4  # what Fletcher-32 adds to a chunk
_PART = re.compile(r"[A-Za-z0-9_]{1,100}")


def is_name(name: str) -> bool:
    """Whether `name` is a dotted path such as layer1.0.conv1.weight."""
    parts = name.split(".")
    return len(parts) <= DEEPEST and all(_PART.fullmatch(part) for part in parts)


@dataclass
class StoredTensor:
    """One dataset, checked but not read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    dataset: Any
    where: str

    def read(self) -> np.ndarray:
        """The values; HDF5 checks each chunk's checksum."""
        try:
            return self.dataset[...].reshape(self.shape)
        except OSError:
            raise WeightsError(
                "values that do not match their Fletcher-32 checksum", called=self.where, hint="fetch the file again"
            ) from None


@dataclass
class Content:
    """A file whose structure is sound."""

    called: str
    attributes: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)


@contextmanager
def inspect(path: str | os.PathLike[str], max_bytes: int, kind: str = FORMAT) -> Iterator[Content]:
    """Open a file of ours, check its structure, and give its content; any error of HDF5 becomes a WeightsError.

    `kind` is what its attribute `format` must say.
    """
    try:
        import h5py
    except ImportError:
        raise MissingPackageError("h5py is not installed", called="weights", hint="pip install h5py") from None
    called = os.fspath(path)
    _check_start(called)
    try:
        with open(called, "rb") as raw, h5py.File(called, "r", locking=False) as file:
            content = Content(called, _attributes(file, called, kind))
            _walk(file, raw, content, max_bytes)
            yield content
    except WeightsError:
        raise
    except Exception as error:  # HDF5 reports a damaged file in many ways, and none of them may escape
        text = " ".join(str(error).split())[:200]
        if "truncated file" in text:
            raise WeightsError(
                "the file is cut off (half a download?)",
                called=called,
                seen=f"{os.path.getsize(called):,} bytes; {text}",
                hint="fetch it again",
            ) from None
        raise WeightsError("the file is damaged", called=called, seen=f"{type(error).__name__}: {text}") from None


def _check_start(called: str) -> None:
    """Say what the file is, if it is not HDF5, and how it becomes a file of ours."""
    start = first_bytes(called)
    kind = kind_of(start)
    if kind == "hdf5":
        check_superblock(start, called)
        return
    if kind:
        raise WeightsError(f"this is {IN_WORDS[kind]}", called=called, rule="an HDF5 file", hint=how_to_import(called))
    raise not_weights(start, called, "an HDF5 file", "not an HDF5 file")


def _attributes(file: Any, called: str, expected: str) -> dict[str, str]:
    """Text attributes of the root, of a limited size; format and version are checked."""
    from h5py import h5a, h5t

    texts: dict[str, str] = {}
    if not h5a.exists(file.id, b"format"):
        raise WeightsError(
            f"an HDF5 file, but not {expected.replace('-', ' ')}",
            called=called,
            rule=f"an attribute format={expected!r}",
        )
    count = h5a.get_num_attrs(file.id)
    if count > MOST_ATTRIBUTES:
        raise WeightsError("too many attributes", called=called, seen=f"{count:,}", rule=f"at most {MOST_ATTRIBUTES}")
    for i in range(count):
        attribute = h5a.open(file.id, index=i)
        kind = attribute.get_type()
        name = attribute.name.decode("ascii", "replace")
        fixed = kind.get_class() == h5t.STRING and not kind.is_variable_str()
        if not fixed or attribute.shape != () or attribute.get_storage_size() > LONGEST:
            raise WeightsError(
                f"the attribute {name[:40]!r} is not a short text",
                called=called,
                rule=f"text of at most {LONGEST} bytes",
            )
        value = np.empty((), dtype=attribute.dtype)
        attribute.read(value)
        texts[name] = bytes(value.item()).decode("utf-8")
    if texts.get("format") != expected:
        raise WeightsError(
            f"an HDF5 file, but not {expected.replace('-', ' ')}",
            called=called,
            seen=f"format {texts.get('format')!r}"[:80],
            rule=f"{expected!r}",
        )
    if texts.get("version") != str(VERSION):
        raise WeightsError(
            "another version of the format",
            called=called,
            seen=str(texts.get("version"))[:20],
            rule=str(VERSION),
            hint="update minicnn",
        )
    return texts


def _walk(file: Any, raw: BinaryIO, content: Content, max_bytes: int) -> None:
    """Visit every object once, with a stack; fill in `content.tensors`."""
    from h5py import h5d, h5g, h5l, h5o

    seen: set[int] = set()
    total = chunks = 0
    file_size = os.fstat(raw.fileno()).st_size
    stack: list[tuple[Any, list[str]]] = [(h5g.open(file.id, b"/"), [])]
    seen.add(h5o.get_info(stack[0][0]).addr)
    while stack:
        group, path = stack.pop()
        count = group.get_num_objs()  # before listing, which takes time for each
        if len(seen) + count > MOST_OBJECTS:
            raise WeightsError("too many objects", called=content.called, rule=f"at most {MOST_OBJECTS:,}")
        names: list[bytes] = []
        group.links.iterate(names.append)
        for key in names:
            part = key.decode("ascii", "replace")
            name = ".".join([*path, part])
            where = f"{content.called} at {name[:120]!r}"
            if not _PART.fullmatch(part):
                raise WeightsError("a name that is not one of ours", called=where, rule="letters, digits, underscores")
            if len(path) >= DEEPEST:
                raise WeightsError("groups are nested too deep", called=where, rule=f"at most {DEEPEST}")
            link = group.links.get_info(key)
            if link.type != h5l.TYPE_HARD:
                what = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}.get(
                    link.type, "a user link"
                )
                raise WeightsError(f"{what}, which is never followed", called=where, rule="hard links only")
            if link.u in seen:  # the address of the object
                raise WeightsError("an object that is linked twice (a cycle?)", called=where, rule="each object once")
            seen.add(link.u)
            check_header(raw, link.u, where)
            child = h5o.open(group, key)
            if isinstance(child, h5g.GroupID):
                stack.append((child, [*path, part]))
            elif isinstance(child, h5d.DatasetID):
                tensor = _tensor(child, where, file_size)
                total += tensor.dtype.itemsize * int(np.prod(tensor.shape, dtype=object))
                if total > min(max_bytes, file_size):  # nothing is compressed: a file holds what it declares
                    raise WeightsError(
                        "more values than expected",
                        called=where,
                        seen=f"{total:,} bytes",
                        rule=f"{min(max_bytes, file_size):,} bytes",
                    )
                chunks += _check_chunks(child, tensor, chunks, where)
                content.tensors[name] = tensor
            else:
                raise WeightsError("neither a group nor a dataset", called=where)
    if not content.tensors:
        raise WeightsError("the file holds no weights", called=content.called)


def _tensor(dataset: Any, where: str, file_size: int) -> StoredTensor:
    """Check one dataset's type, shape, layout and filters; nothing is read."""
    import h5py
    from h5py import h5d, h5s, h5t, h5z

    plan = dataset.get_create_plist()  # first: asking a virtual dataset for its shape may open its sources
    if plan.get_layout() == h5d.VIRTUAL:
        raise WeightsError("a virtual dataset, which reads other files", called=where, rule="plain datasets")
    if plan.get_external_count():
        raise WeightsError("values in another file", called=where, rule="plain datasets")
    kind = dataset.get_type()
    if kind.get_class() not in (h5t.FLOAT, h5t.INTEGER):
        raise WeightsError("not an array of numbers", called=where, rule="float16, float32, float64 or int64")
    dtype = dataset.dtype
    if dtype.str not in ("<f2", "<f4", "<f8", "<i8"):
        raise WeightsError(
            "an unexpected dtype", called=where, seen=str(dtype), rule="float16, float32, float64, int64"
        )
    space = dataset.get_space()
    if space.get_simple_extent_type() != h5s.SIMPLE:
        raise WeightsError("a dataset without a shape", called=where)
    shape = tuple(int(n) for n in space.get_simple_extent_dims())
    if not 1 <= len(shape) <= MOST_AXES:
        raise WeightsError("an unexpected number of axes", called=where, seen=str(shape), rule=f"1 to {MOST_AXES}")
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if filters != [h5z.FILTER_FLETCHER32] or plan.get_layout() != h5d.CHUNKED:
        raise WeightsError(
            "unexpected filters", called=where, seen=f"filters {filters}", rule="Fletcher-32, and no other"
        )
    size = dtype.itemsize * int(np.prod(shape, dtype=object))
    chunk = dtype.itemsize * int(np.prod(plan.get_chunk(), dtype=object))
    stored = dataset.get_storage_size()
    if size > stored or size > file_size or chunk > max(size, 1):
        raise WeightsError(
            "the shape declares more values than the file holds",
            called=where,
            seen=f"{shape}: {size:,} bytes, chunks of {chunk:,}; {stored:,} stored, file of {file_size:,}",
        )
    rank = _rank(dataset, where)
    if rank != len(shape) and not (rank == 0 and shape == (1,)):
        raise WeightsError("the attribute 'rank' does not fit the shape", called=where, seen=f"{rank}, {shape}")
    return StoredTensor(shape if rank else (), dtype, h5py.Dataset(dataset), where)


def _rank(dataset: Any, where: str) -> int:
    """The number of axes; 0 for a single number, which HDF5 cannot cut into chunks and which is stored as (1,)."""
    from h5py import h5a, h5t

    attribute = h5a.open(dataset, b"rank") if h5a.exists(dataset, b"rank") else None
    if attribute is None or attribute.get_type().get_class() != h5t.INTEGER or attribute.shape != ():
        raise WeightsError("the attribute 'rank' is missing, or not a number", called=where)
    value = np.empty((), np.int64)
    attribute.read(value)
    return int(value)


def _check_chunks(dataset: Any, tensor: StoredTensor, before: int, where: str) -> int:
    """Raise unless every chunk has its whole size and its checksum; returns how many there are.

    HDF5 believes a chunk that says it is shorter than its shape, and then reads memory behind it.
    """
    chunk = dataset.get_create_plist().get_chunk()
    count = int(np.prod([-(-n // step) for n, step in zip(dataset.shape, chunk, strict=True)], dtype=object))
    if before + count > MOST_CHUNKS:
        raise WeightsError("too many chunks", called=where, seen=f"{before + count:,}", rule=f"at most {MOST_CHUNKS:,}")
    size = tensor.dtype.itemsize * int(np.prod(chunk, dtype=object)) + CHECKSUM_BYTES
    places: set[tuple[int, ...]] = set()

    def unsound(stored: Any) -> Any:
        places.add(stored.chunk_offset)
        return stored if stored.size != size or stored.filter_mask or len(places) > count else None  # None: the next

    wrong = dataset.chunk_iter(unsound)
    if wrong is not None or len(places) != count:
        raise WeightsError(
            "a chunk is missing, has the wrong size, or no checksum",
            called=where,
            seen=f"{len(places)} chunks" if wrong is None else f"{wrong.size:,} bytes at {wrong.chunk_offset}",
            rule=f"{count} chunks of {size:,} bytes",
        )
    return count
