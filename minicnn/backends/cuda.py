"""The GPU: finding it, moving arrays to it and back, and memory on it.

CuPy is imported here and nowhere else, when somebody first asks for a GPU. Where there is none, the error says the true
reason and what to do. From CuPy we take memory, copies between host and GPU, and the loading of kernels
(`cuda_kernels.py`); all arithmetic is ours.

Arrays of four axes, images and kernels of convolutions, lie channels last in the memory of the GPU: (N, H, W, C) and
(K, R, S, C), C running fastest, under the shapes (N, C, H, W) and (K, C, R, S). Neighbouring threads then work on
neighbouring channels, and read memory in whole lines.

A machine without a GPU can run the same kernels in an emulator: `minicnn.study.emulator`.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.errors import DeviceError

OLDEST = (8, 0)  # compute capability: Ampere; asynchronous copies and TF32 came with it
_stand_in: ModuleType | None = None  # the emulator, while `using` is in force


@contextmanager
def using(library: Any) -> Iterator[None]:
    """In this block `library` stands in for CuPy, in all threads: the emulator."""
    global _stand_in
    before, _stand_in = _stand_in, library
    try:
        yield
    finally:
        _stand_in = before


def library() -> Any:
    """CuPy; raises `DeviceError` with the reason where there is no usable GPU."""
    if _stand_in is not None:
        return _stand_in
    found, reason, hint = _look()
    if found is None:
        raise DeviceError("no GPU can be used", called="cuda", seen=reason, hint=hint)
    return found


def is_emulated() -> bool:
    """Whether the emulator stands in for a GPU."""
    return _stand_in is not None


def describe() -> dict[str, Any]:
    """Name, compute capability and memory of the GPU; versions of its driver and of the CUDA runtime."""
    cupy = library()
    if is_emulated():
        return {"name": "the emulator, on this CPU"}
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    driver, runtime = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    return {
        "name": properties["name"].decode(),
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "memory": f"{properties['totalGlobalMem'] / 2**30:.0f} GiB",
        "driver": f"CUDA {driver // 1000}.{driver % 1000 // 10}",
        "runtime": f"CUDA {runtime // 1000}.{runtime % 1000 // 10}",
    }


def is_available() -> bool:
    """Whether there is a GPU that can be used."""
    return _stand_in is not None or _look()[0] is not None


def reason() -> str:
    """`""` where there is a GPU, else why there is none, and what to do."""
    if is_available():
        return ""
    _, reason, hint = _look()
    return f"{reason}; {hint}"


@functools.cache
def _look() -> tuple[Any, str, str]:
    """CuPy, or None with the reason and what to do."""
    try:
        import cupy
    except ImportError as error:
        if getattr(error, "name", None) == "cupy":
            return None, "CuPy is not installed", "pip install 'minicnn[cuda13]', or [cuda12] for an older driver"
        return None, f"CuPy cannot be imported: {error}", "pip install --force-reinstall 'minicnn[cuda13]'"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CUDARuntimeError, which only CuPy knows
        return None, *_why_not(str(error))
    if not count:
        return None, "the driver shows no GPU", f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}"
    number = int(cupy.cuda.Device().compute_capability)  # "90" for 9.0
    if divmod(number, 10) < OLDEST:
        seen = f"the GPU has compute capability {number // 10}.{number % 10}"
        return None, seen, f"{'.'.join(map(str, OLDEST))} or later (Ampere) is needed"
    return cupy, "", ""


def _why_not(error: str) -> tuple[str, str]:
    """Reason and hint for a CUDA runtime that found nothing: the runtime calls a missing driver an old one."""
    if "InsufficientDriver" not in error and "NoDevice" not in error:
        return error, "check that nvidia-smi works"
    try:
        driver = ctypes.CDLL("libcuda.so.1" if os.name == "posix" else "nvcuda.dll")
    except OSError:
        return "no NVIDIA driver is installed", "install one, or run on the CPU; minicnn.study.emulator runs CUDA there"
    version = ctypes.c_int(0)
    if driver.cuDriverGetVersion(ctypes.byref(version)) == 0 and "InsufficientDriver" in error:
        text = f"the NVIDIA driver is too old: it goes up to CUDA {version.value // 1000}.{version.value % 1000 // 10}"
        return text, "update the driver, or pip install 'minicnn[cuda12]' in place of [cuda13]"
    return error, "check that nvidia-smi works"


# ---- memory ----------------------------------------------------------------------------------------------------------


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array on the GPU, C-contiguous; its values are not set."""
    cupy = library()
    try:
        return cupy.empty(shape, dtype)
    except cupy.cuda.memory.OutOfMemoryError:
        raise _out_of_memory(cupy, math.prod(shape) * np.dtype(dtype).itemsize) from None


def empty_images(shape: tuple[int, ...], dtype: Any) -> Array:
    """New images (N, C, H, W) on the GPU, channels last in memory; their values are not set."""
    n, c, h, w = shape
    return empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def empty_like(x: Array) -> Array:
    """A new array with shape, dtype and memory layout of x."""
    order = memory_order(x)
    inverse = tuple(np.argsort(order))
    return empty(tuple(x.shape[axis] for axis in order), x.dtype).transpose(inverse)


def memory_order(x: Array) -> tuple[int, ...]:
    """The axes of x from the one with the largest strides to the one with the smallest."""
    return tuple(sorted(range(x.ndim), key=lambda axis: (-abs(x.strides[axis]) if x.shape[axis] > 1 else 0, axis)))


def to_gpu(x: Array) -> Array:
    """A copy of a NumPy array on the GPU, with four axes channels last; an array that is there already, itself."""
    if not isinstance(x, np.ndarray):
        return x
    cupy = library()
    try:
        if x.ndim == 4:
            return cupy.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
        return cupy.asarray(np.ascontiguousarray(x)).reshape(x.shape)
    except cupy.cuda.memory.OutOfMemoryError:
        raise _out_of_memory(cupy, x.nbytes) from None


def to_cpu(x: Array) -> np.ndarray:
    """A copy of a GPU's array as a C-contiguous NumPy array; a NumPy array itself."""
    if isinstance(x, np.ndarray):
        return x
    order = memory_order(x)
    host = library().asnumpy(x.transpose(order))
    return np.ascontiguousarray(host.transpose(np.argsort(order))).reshape(x.shape)


def synchronize() -> None:
    """Wait until all kernels that were launched have ended; errors of theirs are raised here."""
    library().cuda.Stream.null.synchronize()


def _out_of_memory(cupy: Any, wanted: int) -> DeviceError:
    free, total = cupy.cuda.runtime.memGetInfo()
    return DeviceError(
        "the GPU has not enough memory",
        called="cuda",
        seen=f"{wanted / 2**20:,.0f} MiB wanted, {free / 2**20:,.0f} of {total / 2**20:,.0f} MiB free",
        hint="a smaller batch, or smaller images",
    )
