"""What a machine has: versions, CPU, threads, cache, GPU."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import sys
from typing import Any

import numpy as np

PACKAGES = ("numpy", "numba", "llvmlite", "h5py", "scikit-learn", "pillow", "matplotlib")
OPTIONAL = {"cupy": ("cupy", "cupy-cuda12x", "cupy-cuda13x"), "torch": ("torch",)}  # the names that they come under
VECTORS = ("avx512f", "avx2", "avx", "sse4.2", "sve", "neon")


def describe() -> dict[str, dict[str, Any]]:
    """Sections of names and values, ready for JSON; None for what is not there."""
    return {"versions": _versions(), "cpu": _cpu(), "kernels": _kernels(), "gpu": _gpu()}


def _versions() -> dict[str, str | None]:
    import minicnn

    found: dict[str, str | None] = {"minicnn": minicnn.__version__, "python": platform.python_version()}
    found["system"] = platform.system()
    found |= {name: _version(name) for name in PACKAGES}
    for name, distributions in OPTIONAL.items():
        found[name] = next(filter(None, map(_version, distributions)), None)
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    return {
        "model": llvm.get_host_cpu_name(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "vectors": [name for name in VECTORS if features.get(name)],
    }


def _kernels() -> dict[str, Any]:
    import numba

    from minicnn.backends.jit import cache_folder
    from minicnn.ops import relu
    from minicnn.ops.registry import algorithm

    with algorithm(relu="loops"):
        relu.forward(np.zeros(8, np.float32))  # Numba chooses its threading layer when a parallel kernel first runs
    folder = cache_folder()
    return {
        "threads": numba.get_num_threads(),
        "threading layer": numba.threading_layer(),
        "cache": str(folder),
        # where it cannot be written, there is a new temporary one for each process, and kernels compile anew
        "cache is kept": folder.parent.name == "kernels",
        "cached kernels": sum(1 for _ in folder.rglob("*.nbi")),
    }


def _gpu() -> dict[str, Any]:
    """Whether a GPU can be used, and which, or why not; CuPy is imported only where the driver sees a device."""
    from minicnn.backends import cuda

    if cuda.is_emulated():
        return {"devices": 1, "used": True, **cuda.describe()}
    devices, problem = _nvidia_devices()
    problem = problem or cuda.reason()
    if problem:
        return {"devices": devices, "used": False, "why not": problem}
    return {"devices": devices, "used": True, **cuda.describe()}


def _nvidia_devices() -> tuple[int, str]:
    """How many devices the driver sees, and the problem if there are none; asks the driver itself."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0, "no NVIDIA driver is installed"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        return 0, f"the NVIDIA driver sees no device{f' (CUDA error {status})' if status else ''}"
    return count.value, ""
