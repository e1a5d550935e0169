"""The home format of weights: HDF5, one group a module, one dataset a parameter, attributes at the root.

    /layer1/0/conv1/weight      float32 or float16, with Fletcher-32 checksums
    /  format="minicnn-weights", version=1, sha256=..., architecture, arguments, classes, input_size, mean, std, ...

The file is an archive (`minicnn/weights/archive.py`): with checksums over everything, and not believed before its
structure was looked at. The same state gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError
from minicnn.files import write_atomically
from minicnn.weights import archive
from minicnn.weights.archive import MAX_BYTES
from minicnn.weights.info import WeightsInfo
from minicnn.weights.safety import inspect

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
    archive.check_tree(arrays, called)
    write_atomically(path, archive.image(arrays, _texts(info, called)))


def _stored(name: str, value: Any, storage: str, called: str) -> np.ndarray:
    array = archive.storable(name, value, called)
    if array.dtype.kind == "i":
        return array
    with np.errstate(over="ignore"):
        stored = array.astype(STORAGES[storage])
    if not np.isfinite(stored).all():
        raise ArgumentError(
            f"{name} does not fit into {storage}", called=called, seen=f"{np.abs(array).max():.3g}", hint="use float32"
        )
    return stored


def _texts(info: WeightsInfo, called: str) -> dict[str, str]:
    """The attributes as text. What `read` would refuse is not written: a good file may stand at this place."""
    try:
        texts = info.to_attributes()
        for text in texts.values():
            text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError("the info cannot be written as text", called=called, seen=str(error)[:120]) from None
    archive.check_texts(texts, called)
    WeightsInfo.from_attributes(texts, called)
    return texts


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
        arrays = archive.read_arrays(content, wanted.__contains__)
    for name, array in arrays.items():
        if array.dtype == np.float16:
            arrays[name] = array.astype(np.float32)
    return {name: arrays[name] for name in content.tensors if name in wanted}, info
