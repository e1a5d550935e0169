"""Arrays of any device behind one small door: the array decides where work runs.

A NumPy array runs on the CPU, a CuPy array on the GPU. CuPy is not imported until somebody asks for the GPU: `cuda.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, DeviceError, DTypeError

Array = Any  # numpy.ndarray or cupy.ndarray: one name for both in signatures

FLOATS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16))


def is_array(value: object) -> bool:
    """Whether `value` is an array of a known device."""
    return isinstance(value, np.ndarray) or hasattr(value, "__cuda_array_interface__")


def device(x: Array) -> str:
    """Device of an array: `"cpu"` or `"cuda"`."""
    return "cpu" if isinstance(x, (np.ndarray, np.generic)) else "cuda"


def device_name(where: Any) -> str:
    """`"cpu"` or `"cuda"`; raises for any other name."""
    name = "cuda" if where == "cuda:0" else where
    if name not in ("cpu", "cuda"):
        raise ArgumentError("no such device", called="device", seen=repr(where), rule='"cpu" or "cuda"')
    return name


def check_device(where: Any) -> None:
    """Raise unless the device can be used; where there is no GPU, with the reason."""
    if device_name(where) == "cuda":
        from minicnn.backends import cuda

        cuda.library()


def moved(x: Array, where: str) -> Array:
    """The array on the CPU or the GPU; itself if it is there already."""
    name = device_name(where)
    if device(x) == name:
        return x
    from minicnn.backends import cuda

    return cuda.to_gpu(x) if name == "cuda" else cuda.to_cpu(x)


def check_arrays(called: str, **arrays: Array | None) -> None:
    """Raise unless all arrays (None is skipped) are arrays of one float dtype on one device."""
    first_name, first = "", None
    for name, x in arrays.items():
        if x is None:
            continue
        if not is_array(x):
            raise DTypeError(
                f"{name} is not an array", called=called, seen=type(x).__name__, rule="arrays in, arrays out"
            )
        if x.dtype not in FLOATS:
            raise DTypeError(
                f"{name} has a dtype that is not floating point",
                called=called,
                seen=f"{name} {x.dtype}",
                rule="float32 or float64 (no silent casts)",
                hint=f"convert with {name}.astype('float32')",
            )
        if first is None:
            first_name, first = name, x
        elif x.dtype != first.dtype:
            raise DTypeError(
                f"{first_name} and {name} have different dtypes",
                called=called,
                seen=f"{first_name} {first.dtype}, {name} {x.dtype}",
                rule="one dtype for all arrays of a call (no silent casts)",
                hint=f"convert one with .astype('{first.dtype}')",
            )
        elif device(x) != device(first):
            raise DeviceError(
                f"{first_name} and {name} are on different devices",
                called=called,
                seen=f"{first_name} on {device(first)}, {name} on {device(x)}",
                rule="all arrays of a call on one device",
            )
