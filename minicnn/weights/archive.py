"""A safe file of named arrays and texts: what weights and checkpoints of a training are both made of.

    /layer1/0/conv1/weight      one dataset an array, one group a part of its name, Fletcher-32 checksums
    /  format="...", version="1", sha256=..., and further attributes: texts

`sha256` covers names, shapes, values and attributes: a file is read back as it was written, or refused. Reading looks
at the structure first (`minicnn/weights/safety.py`): nothing is followed out of the file, nothing larger than the file
is allocated, nothing is run. The same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from minicnn.errors import ArgumentError, WeightsError
from minicnn.files import write_atomically
from minicnn.weights.safety import FORMAT, MOST_AXES, MOST_OBJECTS, VERSION, Content, inspect, is_name

MAX_BYTES = 4 * 2**30
CHUNK_BYTES = 2**20
LONGEST = 60_000  # bytes an attribute; HDF5 keeps attributes of up to 64 kB in the header


class NotFiniteError(ArgumentError):
    """An array with NaN or infinity, which is never stored."""


def write(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], texts: Mapping[str, str], kind: str = FORMAT
) -> None:
    """Write arrays and texts: under a temporary name, synced, then renamed.

    Parameters
    ----------
    path : path
    arrays : mapping of dotted name to array
        float16, float32, float64 are stored as they are, integers as int64; all finite.
    texts : mapping of name to str
        At most 60,000 bytes each.
    kind : str
        The attribute `format`.

    Raises
    ------
    ArgumentError
        For what could not be read back. A file that is at this place stays.
    """
    called = os.fspath(path)
    checked = {name: storable(name, array, called) for name, array in arrays.items()}
    check_tree(checked, called)
    check_texts(texts, called)
    write_atomically(path, image(checked, texts, kind))


def read(
    path: str | os.PathLike[str], kind: str = FORMAT, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and texts of a whole file, checked against its checksums.

    Raises
    ------
    WeightsError
        Named: what is wrong with the file.
    """
    with inspect(path, max_bytes, kind) as content:
        arrays = read_arrays(content)
    texts = {name: text for name, text in content.attributes.items() if name not in ("format", "version")}
    return {name: arrays[name] for name in content.tensors}, texts


def storable(name: str, value: np.ndarray, called: str) -> np.ndarray:
    """The array as it is stored; raises for what cannot be."""
    array = np.asarray(value)
    if not is_name(name):
        raise ArgumentError("a name that is not a dotted path", called=called, seen=repr(name)[:60])
    if not array.size or array.ndim > MOST_AXES:
        raise ArgumentError(
            f"{name} has a shape that cannot be stored",
            called=called,
            seen=str(array.shape),
            rule=f"1 or more values, at most {MOST_AXES} axes",
        )
    if array.dtype.kind == "i":
        return array.astype("<i8")
    if array.dtype.kind != "f":
        raise ArgumentError(f"{name} is not an array of numbers", called=called, seen=str(array.dtype))
    if not np.isfinite(array).all():
        raise NotFiniteError(
            f"{name} holds NaN or infinity", called=called, hint="training diverged: nothing was written"
        )
    return array


def check_tree(arrays: Mapping[str, np.ndarray], called: str) -> None:
    """Raise unless the names make a tree that `read` takes."""
    modules = {name[:i] for name in arrays for i, letter in enumerate(name) if letter == "."}
    for name in arrays:
        if name in modules:
            raise ArgumentError(f"{name} is a parameter and a module as well", called=called, rule="one of the two")
    objects, size = 1 + len(modules) + len(arrays), sum(array.nbytes for array in arrays.values())
    if objects > MOST_OBJECTS or size > MAX_BYTES:
        raise ArgumentError(
            "too large for one file",
            called=called,
            seen=f"{objects:,} modules and parameters, {size:,} bytes",
            rule=f"at most {MOST_OBJECTS:,}, and {MAX_BYTES:,} bytes",
        )


def check_texts(texts: Mapping[str, str], called: str) -> None:
    """Raise for a text that `read` would not give back."""
    for name, text in texts.items():
        if len(text.encode()) > LONGEST:
            raise ArgumentError(f"{name} is too long to store", called=called, rule=f"at most {LONGEST} bytes")
        if "\0" in text:
            raise ArgumentError(f"{name} holds a zero character", called=called, rule="HDF5 ends a text there")


def image(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str], kind: str = FORMAT) -> bytes:
    """The bytes of the file, made in memory."""
    import h5py

    attributes = {"format": kind, "version": str(VERSION), **texts}
    attributes["sha256"] = _digest(sorted(arrays.items()), attributes)
    # Memory grows in steps of `block_size`: a few steps for a large file, whose copies would take longer than the rest.
    step = 2**16 + sum(array.nbytes for array in arrays.values()) // 4
    options = {"driver": "core", "backing_store": False, "block_size": step, "libver": ("v110", "v110")}
    with h5py.File("image", "w", **options) as file:
        for name, text in attributes.items():
            file.attrs.create(name, np.bytes_(text.encode()))
        for name, array in arrays.items():
            file.create_dataset(
                name.replace(".", "/"),
                data=array.reshape(array.shape or (1,)),
                chunks=_chunk(array.shape or (1,), array.itemsize),
                fletcher32=True,
                track_times=False,
            ).attrs["rank"] = array.ndim
        file.flush()
        return file.id.get_file_image()


def read_arrays(content: Content, keep: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """Arrays of an open file, one after the other; raises unless the whole file is as it was written.

    Parameters
    ----------
    content : Content
        The attribute `sha256` is taken out of it.
    keep : callable
        Of which names the arrays are wanted. The others are read for the checksum, and forgotten.
    """
    arrays: dict[str, np.ndarray] = {}

    def values() -> Iterator[tuple[str, np.ndarray]]:
        for name, tensor in sorted(content.tensors.items()):
            array = tensor.read()
            if keep(name):
                arrays[name] = array
            yield name, array

    expected = content.attributes.pop("sha256", "")
    if _digest(values(), content.attributes) != expected:
        raise WeightsError(
            "the contents do not match their SHA-256 checksum", called=content.called, hint="fetch the file again"
        )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WeightsError(f"{name} holds NaN or infinity", called=content.called)
    return arrays


def _chunk(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole rows along the first axis, up to a MiB, in equal parts: all chunks take their whole size in the file.

    Checksums are kept for each chunk.
    """
    row = int(np.prod(shape[1:])) * itemsize
    most = max(1, CHUNK_BYTES // max(1, row))
    chunks = math.ceil(shape[0] / most) or 1
    return (max(1, math.ceil(shape[0] / chunks)), *shape[1:])


def _digest(arrays: Iterable[tuple[str, np.ndarray]], attributes: Mapping[str, str]) -> str:
    """SHA-256 of attributes and arrays; these come in the order of their names."""
    digest = hashlib.sha256(json.dumps(sorted(attributes.items())).encode())
    for name, value in arrays:
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
