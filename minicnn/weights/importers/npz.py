"""NumPy's `.npz`: a zip file with one `.npy` file an array (`numpy.savez`, `savez_compressed`).

    "\\x93NUMPY", version, length of the header, {'descr': '<f4', 'fortran_order': False, 'shape': (8, 3)}, values

An array of objects is a pickle, and is refused. Stored entries become views of the mapped file; packed ones are
unpacked. Every entry has a CRC-32, which is checked.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers import zip_container
from minicnn.weights.importers.foreign import Foreign, check_count, check_name, count_of, map_file, shown
from minicnn.weights.importers.zip_container import STORED, Entry, NoDirectoryError

FORMAT = "NumPy .npz"
MAGIC, SUFFIX = b"\x93NUMPY", ".npy"
LONGEST_HEADER, LARGEST = 10_000, 2**31  # bytes of a header, and of what is unpacked
KEYS = {"descr", "fortran_order", "shape"}
_NUMBERS = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")


def read_npz(path: str) -> Foreign:
    """Read a NumPy archive; see `read_foreign`."""
    data = map_file(path)
    try:
        found = zip_container.entries(data, path)
    except NoDirectoryError:
        raise WeightsError(
            "an .npz file that is cut off (half a download?)",
            called=path,
            seen=f"{len(data):,} bytes",
            hint="fetch it again",
        ) from None
    zip_container.check_sizes(found, path)
    check_count(len(found), path)
    arrays: dict[str, np.ndarray] = {}
    for entry in found.values():
        where = f"{path} at {entry.name[:120]!r}"
        if not entry.name.endswith(SUFFIX):
            raise WeightsError("not an array", called=where, rule=f"entries *{SUFFIX}")
        if entry.size > LARGEST and entry.method != STORED:
            raise WeightsError("too much to unpack", called=where, seen=f"{entry.size:,} bytes", rule=f"{LARGEST:,}")
        name = entry.name.removesuffix(SUFFIX).replace("/", ".")
        check_name(name, path)
        if name in arrays:
            raise WeightsError("two arrays of one name", called=path, seen=name)
        arrays[name] = _array(data, entry, path, where)
    if not arrays:
        raise WeightsError("an .npz file without an array", called=path)
    return Foreign(FORMAT, arrays, checksum=zip_container.CHECKSUM)


def read_npy(path: str) -> Foreign:
    """Always raises: a single array has no name."""
    raise WeightsError(
        "a single array (.npy), without a name", called=path, rule="an archive", hint="numpy.savez(path, **state)"
    )


def _array(data: Any, entry: Entry, path: str, where: str) -> np.ndarray:
    if entry.method == STORED:
        zip_container.check_sum(path, entry)
        buffer, begin = data, entry.place
    else:
        buffer, begin = zip_container.unpack(data, entry, path), 0
    dtype, shape, fortran, length = _header(bytes(buffer[begin : begin + min(entry.size, LONGEST_HEADER + 12)]), where)
    size = count_of(shape, where) * dtype.itemsize
    if length + size != entry.size:
        raise WeightsError(
            "the shape declares another number of values than the file holds",
            called=where,
            seen=f"{shape} {dtype}: {size:,} bytes"[:200],
            rule=f"{entry.size - length:,} bytes",
        )
    order: Any = "F" if fortran else "C"
    array: np.ndarray = np.ndarray(shape, dtype, buffer, begin + length if size else 0, order=order)
    return array


def _header(start: bytes, where: str) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """(dtype, shape, whether columns come first, length of the header) of an .npy file."""
    width = {1: 2, 2: 4, 3: 4}.get(start[6]) if len(start) > 6 and start.startswith(MAGIC) else None
    if width is None:
        raise WeightsError("not a .npy file", called=where, seen=f"first bytes {start[:8]!r}")
    length = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    if length > len(start):
        raise WeightsError(
            "a header too large", called=where, seen=f"{length:,}", rule=f"at most {LONGEST_HEADER:,} bytes"
        )
    try:
        header = ast.literal_eval(start[8 + width : length].decode("latin-1").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        header = None
    if not isinstance(header, dict) or set(header) != KEYS or not isinstance(header["shape"], tuple):
        raise WeightsError("a header that is not NumPy's", called=where, rule=", ".join(sorted(KEYS)))
    descr = header["descr"]
    if isinstance(descr, str) and "O" in descr:
        raise WeightsError("an array of objects, which is a pickle: it is not run", called=where, rule="numbers")
    if not isinstance(descr, str) or not _NUMBERS.fullmatch(descr):
        raise WeightsError("an array that holds no numbers", called=where, seen=shown(descr), rule="floats, integers")
    return np.dtype(descr), header["shape"], header["fortran_order"] is True, length
