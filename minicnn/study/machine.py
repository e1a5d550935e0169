"""What a machine has: versions, CPU, threads, cache, GPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import tempfile

PACKAGES = ("numpy", "numba", "llvmlite", "h5py", "scikit-learn", "pillow", "matplotlib", "torch")
VECTORS = ("avx512f", "avx2", "avx", "sse4.2", "sve", "neon")


def describe() -> dict[str, dict[str, str]]:
    """Sections of names and values, ready to print."""
    return {"versions": _versions(), "cpu": _cpu(), "kernels": _kernels(), "gpu": _gpu()}


def _versions() -> dict[str, str]:
    import minicnn

    found = {"minicnn": minicnn.__version__, "python": platform.python_version(), "system": platform.system()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed" + (" (only tests compare with it)" if name == "torch" else "")
    return found


def _cpu() -> dict[str, str]:
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    widest = [name for name in VECTORS if features.get(name)]
    return {
        "model": llvm.get_host_cpu_name(),
        "architecture": platform.machine(),
        "cores": str(os.cpu_count()),
        "vectors": ", ".join(widest) or "none that are known",
    }


def _kernels() -> dict[str, str]:
    import numba

    from minicnn.backends.jit import cache_folder

    @numba.njit(parallel=True)
    def touch(n: int) -> int:
        total = 0
        for i in numba.prange(n):
            total += i
        return total

    touch(8)  # Numba chooses its threading layer when a parallel kernel first runs
    folder = cache_folder()
    home = "temporary: the cache folder cannot be written, kernels compile anew in each process"
    return {
        "threads": str(numba.get_num_threads()),
        "threading layer": numba.threading_layer(),
        "cache": home if str(folder).startswith(tempfile.gettempdir()) else str(folder),
        "cached kernels": str(sum(1 for _ in folder.rglob("*.nbi"))),
    }


def _gpu() -> dict[str, str]:
    if importlib.util.find_spec("cupy") is None:
        return {"gpu": "not used: CuPy is not installed (minicnn's kernels for GPUs are not part of this version)"}
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        names = [cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]
        return {"gpu": ", ".join(names) + " (minicnn's kernels for GPUs are not part of this version)"}
    except Exception as error:  # a missing driver, library or device: CuPy says which, in its own ways
        return {"gpu": f"none: {' '.join(str(error).split())[:120]}"}
