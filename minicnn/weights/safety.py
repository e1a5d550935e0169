"""Looking at an HDF5 file before believing it.

HDF5 can point to other files, load plug-ins, hold objects and declare arrays larger than any memory. None of that
occurs in a file of ours, so all of it is refused here, by name, before a value is read: only groups and datasets
reached by hard links, each once; only numbers; only Fletcher-32; no dataset that declares more bytes than the file
holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.errors import MissingPackageError, WeightsError

FORMAT, VERSION = "minicnn-weights", 1
MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_OBJECTS, MOST_ATTRIBUTES, DEEPEST, MOST_AXES, LONGEST = 20_000, 100, 12, 8, 64 * 1024
OTHER_FORMATS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the weights themselves", "run `git lfs pull`"),
    (b"<!doctype", "a web page", "the download went wrong"),
    (b"<html", "a web page", "the download went wrong"),
    (b"PK\x03\x04", "a zip file (a PyTorch checkpoint?)", "convert it to HDF5"),
    (b"\x80\x02", "a pickle (an old PyTorch checkpoint?)", "convert it to HDF5"),
)
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

    def read(self) -> np.ndarray:
        """The values; HDF5 checks each chunk's checksum."""
        return self.dataset[...].reshape(self.shape)


@dataclass
class Content:
    """A file whose structure is sound."""

    called: str
    attributes: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)


@contextmanager
def inspect(path: str | os.PathLike[str], max_bytes: int) -> Iterator[Content]:
    """Open a weights file, check its structure, and give its content; any error of HDF5 becomes a WeightsError."""
    try:
        import h5py
    except ImportError:
        raise MissingPackageError("h5py is not installed", called="weights", hint="pip install h5py") from None
    called = os.fspath(path)
    _check_start(called)
    try:
        with h5py.File(called, "r", locking=False) as file:
            content = Content(called, _attributes(file, called))
            _walk(file, content, max_bytes, os.path.getsize(called))
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
    """Say what the file is, if it is not HDF5."""
    if os.path.isdir(called):
        raise WeightsError("a folder, not a weights file", called=called)
    if not os.path.isfile(called):
        exists = os.path.lexists(called)
        raise WeightsError("not a regular file" if exists else "there is no such file", called=called)
    try:
        with open(called, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise WeightsError("the file cannot be read", called=called, seen=error.strerror or "") from None
    if start.startswith(MAGIC):
        return
    if not start:
        raise WeightsError("the file is empty", called=called)
    for magic, what, hint in OTHER_FORMATS:
        if start.lower().lstrip().startswith(magic.lower()):
            raise WeightsError(f"this is {what}", called=called, rule="an HDF5 file", hint=hint)
    raise WeightsError("not an HDF5 file", called=called, seen=f"first bytes {start[:8]!r}", rule=f"{MAGIC!r}")


def _attributes(file: Any, called: str) -> dict[str, str]:
    """Text attributes of the root, of a limited size; format and version are checked."""
    from h5py import h5a, h5t

    texts: dict[str, str] = {}
    for i in range(min(h5a.get_num_attrs(file.id), MOST_ATTRIBUTES)):
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
    if texts.get("format") != FORMAT:
        raise WeightsError(
            "an HDF5 file, but not minicnn weights",
            called=called,
            seen=f"format {texts.get('format')!r}",
            rule=f"{FORMAT!r}",
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


def _walk(file: Any, content: Content, max_bytes: int, file_size: int) -> None:
    """Visit every object once, with a stack; fill in `content.tensors`."""
    from h5py import h5d, h5g, h5l, h5o

    seen: set[int] = set()
    total = 0
    stack: list[tuple[Any, list[str]]] = [(h5g.open(file.id, b"/"), [])]
    seen.add(h5o.get_info(stack[0][0]).addr)
    while stack:
        group, path = stack.pop()
        names = [group.get_objname_by_idx(i) for i in range(min(group.get_num_objs(), MOST_OBJECTS + 1))]
        for raw in names:
            part = raw.decode("ascii", "replace")
            name = ".".join([*path, part])
            where = f"{content.called} at {name[:120]!r}"
            if not _PART.fullmatch(part):
                raise WeightsError("a name that is not one of ours", called=where, rule="letters, digits, underscores")
            if len(path) >= DEEPEST:
                raise WeightsError("groups are nested too deep", called=where, rule=f"at most {DEEPEST}")
            kind = group.links.get_info(raw).type
            if kind != h5l.TYPE_HARD:
                what = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}.get(kind, "a user link")
                raise WeightsError(f"{what}, which is never followed", called=where, rule="hard links only")
            child = h5o.open(group, raw)
            address = h5o.get_info(child).addr
            if address in seen:
                raise WeightsError("an object that is linked twice (a cycle?)", called=where, rule="each object once")
            seen.add(address)
            if len(seen) > MOST_OBJECTS:
                raise WeightsError("too many objects", called=content.called, rule=f"at most {MOST_OBJECTS}")
            if isinstance(child, h5g.GroupID):
                stack.append((child, [*path, part]))
            elif isinstance(child, h5d.DatasetID):
                tensor = _tensor(child, where, file_size)
                total += tensor.dtype.itemsize * int(np.prod(tensor.shape, dtype=object))
                if total > max_bytes:
                    raise WeightsError(
                        "more values than expected", called=where, seen=f"{total:,} bytes", rule=f"{max_bytes:,} bytes"
                    )
                content.tensors[name] = tensor
            else:
                raise WeightsError("neither a group nor a dataset", called=where)
    if not content.tensors:
        raise WeightsError("the file holds no weights", called=content.called)


def _tensor(dataset: Any, where: str, file_size: int) -> StoredTensor:
    """Check one dataset's type, shape, layout and filters; nothing is read."""
    import h5py
    from h5py import h5d, h5s, h5t, h5z

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
    plan = dataset.get_create_plist()
    if plan.get_layout() == h5d.VIRTUAL:
        raise WeightsError("a virtual dataset, which reads other files", called=where, rule="plain datasets")
    if plan.get_external_count():
        raise WeightsError("values in another file", called=where, rule="plain datasets")
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
    node = h5py.Dataset(dataset)
    if int(node.attrs["rank"]) == 0:
        return StoredTensor((), dtype, node)
    return StoredTensor(shape, dtype, node)
