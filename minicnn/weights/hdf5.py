"""The home format of weights: HDF5, one group a module, one dataset a parameter, attributes at the root.

    /layer1/0/conv1/weight      float32 or float16, with Fletcher-32 checksums
    /  format="minicnn-weights", version=1, sha256=..., architecture, arguments, classes, input_size, mean, std, ...

`sha256` covers names, shapes, values and attributes: a file is read back as it was written, or refused. Reading looks
at the structure first (`minicnn/weights/safety.py`): nothing is followed out of the file, nothing larger than the file
is allocated, nothing is run. The same state gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, WeightsError
from minicnn.files import write_atomically
from minicnn.weights.info import WeightsInfo
from minicnn.weights.safety import FORMAT, MOST_AXES, MOST_OBJECTS, VERSION, inspect, is_name

MAX_BYTES = 4 * 2**30
CHUNK_BYTES = 2**20
LONGEST = 60_000  # bytes an attribute; HDF5 keeps attributes of up to 64 kB in the header
STORAGES: dict[str, np.dtype] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "float64": np.dtype("<f8")}


def save(
    path: str | os.PathLike[str], state: Mapping[str, np.ndarray], info: WeightsInfo, *, storage: str = "float32"
) -> None:
    """Write a state dict: under a temporary name, synced, then renamed.

    Parameters
    ----------
    path : path
    state : mapping of dotted name to array
        Floating point arrays are stored as `storage`, integers as they are.
    info : WeightsInfo
    storage : "float32", "float16" (half the size, about three digits) or "float64"
    """
    called = os.fspath(path)
    if storage not in STORAGES:
        raise ArgumentError("unknown storage", called=called, seen=f"{storage!r}", rule=", ".join(STORAGES))
    if not state:
        raise ArgumentError("an empty state", called=called, hint="pass model.state_dict()")
    arrays = {name: _stored(name, array, storage, called) for name, array in state.items()}
    _check_tree(arrays, called)
    write_atomically(path, _image(arrays, _texts(info, called)))


def _stored(name: str, value: Any, storage: str, called: str) -> np.ndarray:
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
        raise ArgumentError(
            f"{name} holds NaN or infinity", called=called, hint="training diverged: nothing was written"
        )
    with np.errstate(over="ignore"):
        stored = array.astype(STORAGES[storage])
    if not np.isfinite(stored).all():
        raise ArgumentError(
            f"{name} does not fit into {storage}", called=called, seen=f"{np.abs(array).max():.3g}", hint="use float32"
        )
    return stored


def _check_tree(arrays: dict[str, np.ndarray], called: str) -> None:
    """Raise unless the names make a tree of modules that `read` takes."""
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


def _texts(info: WeightsInfo, called: str) -> dict[str, str]:
    """The attributes as text. What `read` would refuse is not written: a good file may stand at this place."""
    try:
        texts = info.to_attributes()
        sizes = {name: len(text.encode()) for name, text in texts.items()}
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError("the info cannot be written as text", called=called, seen=str(error)[:120]) from None
    for name, size in sizes.items():
        if size > LONGEST:
            raise ArgumentError(f"{name} is too long to store", called=called, rule=f"at most {LONGEST} bytes")
        if "\0" in texts[name]:
            raise ArgumentError(f"{name} holds a zero character", called=called, rule="HDF5 ends a text there")
    WeightsInfo.from_attributes(texts, called)
    return texts


def _image(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> bytes:
    """The bytes of the file, made in memory."""
    import h5py

    attributes = {"format": FORMAT, "version": str(VERSION), **texts}
    attributes["sha256"] = _digest(sorted(arrays.items()), attributes)
    with h5py.File("image", "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
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


def _chunk(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole rows along the first axis, up to a MiB; checksums are kept for each chunk."""
    row = int(np.prod(shape[1:])) * itemsize
    return (max(1, min(shape[0], CHUNK_BYTES // max(1, row))), *shape[1:])


def _digest(arrays: Iterable[tuple[str, np.ndarray]], attributes: Mapping[str, str]) -> str:
    """SHA-256 of attributes and arrays; these come in the order of their names."""
    digest = hashlib.sha256(json.dumps(sorted(attributes.items())).encode())
    for name, value in arrays:
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def describe(path: str | os.PathLike[str]) -> WeightsInfo:
    """The attributes, without reading the weights."""
    with inspect(path, MAX_BYTES) as content:
        return WeightsInfo.from_attributes(content.attributes, content.called)


def shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by dotted name, without reading the weights."""
    with inspect(path, MAX_BYTES) as content:
        return {name: tensor.shape for name, tensor in content.tensors.items()}


def read(
    path: str | os.PathLike[str], *, only: Collection[str] | None = None, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, np.ndarray], WeightsInfo]:
    """Read a whole file and check it against its checksums.

    Parameters
    ----------
    path : path
    only : names, optional
        What to keep. The rest is read for the checksum, one array at a time, and forgotten.
    max_bytes : int
        A file that declares more is refused before anything is allocated.

    Returns
    -------
    (state, info)
        float16 comes back as float32.

    Raises
    ------
    WeightsError
        Named: what is wrong with the file.
    """
    with inspect(path, max_bytes) as content:
        info = WeightsInfo.from_attributes(content.attributes, content.called)
        wanted = content.tensors.keys() if only is None else content.tensors.keys() & set(only)
        arrays: dict[str, np.ndarray] = {}

        def values() -> Iterator[tuple[str, np.ndarray]]:
            for name, tensor in sorted(content.tensors.items()):
                array = tensor.read()
                if name in wanted:
                    arrays[name] = array
                yield name, array

        expected = content.attributes.pop("sha256", "")
        if _digest(values(), content.attributes) != expected:
            raise WeightsError(
                "the contents do not match their SHA-256 checksum", called=content.called, hint="fetch the file again"
            )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WeightsError(f"{name} holds NaN or infinity", called=os.fspath(path))
        if array.dtype == np.float16:
            arrays[name] = array.astype(np.float32)
    return {name: arrays[name] for name in content.tensors if name in wanted}, info
