"""Readers of foreign weight files: one format a file, each a function `read_<format>(path) -> Foreign`.

A reader only reads: arrays, in the file's order, under the file's names (`foreign.py`). Names are changed in
`minicnn/weights/names.py`, by tables; axes and conventions in `minicnn/weights/importing.py`.

| format | how it is known | reader |
|---|---|---|
| PyTorch `.pth`, `.pt` since 2020 | zip with `*/data.pkl` | `torch_zip.py` |
| PyTorch, 2017 to 2020 | pickles, the first a magic number | `torch_legacy.py` |
| PyTorch, before 2017 (0.1.9) | tar with `sys_info`, `pickle`, `tensors`, `storages` | `torch_tar.py` |
| safetensors | length of a JSON header, then `{` | `safetensors.py` |
| NumPy `.npz` | zip with `*.npy` | `npz.py` |
| Keras `.h5`, Keras 3 `.weights.h5` | HDF5 with `layer_names`, or `vars/0` | `keras.py` |
| HDF5 | its magic number | `plain_hdf5.py`, over `hdf5_tree.py` |
| ONNX | a message that begins with its version | `onnx.py` |

No reader runs what a file says (`unpickler.py` reads pickles without Python's own), follows it to another file, or
allocates more than the file holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import BFLOAT16, Foreign, as_float32, dtype_name
from minicnn.weights.importers.npz import read_npy, read_npz
from minicnn.weights.importers.onnx import read_onnx
from minicnn.weights.importers.plain_hdf5 import read_hdf5
from minicnn.weights.importers.safetensors import read_safetensors
from minicnn.weights.importers.torch_legacy import read_torch_legacy
from minicnn.weights.importers.torch_tar import read_torch_tar
from minicnn.weights.importers.torch_zip import read_torch_zip
from minicnn.weights.kinds import first_bytes, kind_of, not_weights

__all__ = ["BFLOAT16", "READERS", "Foreign", "as_float32", "dtype_name", "read_foreign"]

Reader = Callable[[str], Foreign]


def read_zip(path: str) -> Foreign:
    """Read a zip file: `.npz` if its first entry is an array, else a PyTorch checkpoint."""
    start = first_bytes(path)
    length = int.from_bytes(start[26:28], "little")
    return read_npz(path) if start[30 : 30 + length].endswith(b".npy") else read_torch_zip(path)


READERS: dict[str, Reader] = {
    "zip": read_zip,
    "tar": read_torch_tar,
    "pickle": read_torch_legacy,
    "safetensors": read_safetensors,
    "npy": read_npy,
    "hdf5": read_hdf5,
    "onnx": read_onnx,
}
"""Reader of each kind of `minicnn.weights.kinds.kind_of`."""

KNOWN = "PyTorch (.pth, .pt), safetensors, .npz, HDF5 (Keras or plain) or ONNX"


def read_foreign(path: str | os.PathLike[str]) -> Foreign:
    """Read a weights file of any known format, which is known by its content.

    Parameters
    ----------
    path : path

    Returns
    -------
    Foreign
        Arrays by name; where the format allows, they are views of the mapped file.

    Raises
    ------
    WeightsError
        Named: what is wrong with the file, or what it is in place of weights.
    """
    called = os.fspath(path)
    start = first_bytes(called)
    reader = READERS.get(kind_of(start))
    if reader is None:
        raise not_weights(start, called, KNOWN, "not a weights file of a known format")
    try:
        return reader(called)
    except OSError as error:
        raise WeightsError("the file cannot be read", called=called, seen=error.strerror or "") from None
