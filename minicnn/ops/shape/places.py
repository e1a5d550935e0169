"""Index arrays on the GPU (`places.cu`): NumPy finds on the host which places an index names, a kernel moves numbers.

The host needs the index before anything can run: the shape of x[mask] depends on what the mask holds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.axes import Shape

FILE = Path(__file__).with_name("places.cu")


def gather(x: Array, index: tuple) -> Array:
    """x[index]"""
    order = cuda.memory_order(x)
    places = _places(x.shape, order, index)
    y = cuda.empty(places.shape, x.dtype)
    word, raw = cuda_kernels.WORDS[x.dtype.itemsize]
    line = cuda_kernels.contiguous(x.transpose(order)).reshape(-1)
    run = cuda_kernels.kernel(FILE, "gather", WORD=word)
    run.over(y.size, y.view(raw), line.view(raw), cuda.to_gpu(places.reshape(-1)), y.size)
    return y


def scatter(dy: Array, dx: Array, index: tuple) -> None:
    """dx[index] += dy, in the order of the index; dx is zero before."""
    order = cuda.memory_order(dx)
    places = _places(dx.shape, order, index).reshape(-1)
    members = np.argsort(places, kind="stable")
    unique, starts = np.unique(places[members], return_index=True)
    tables = (unique, np.append(starts, places.size), members)
    line = dx.transpose(order).reshape(-1)
    run = cuda_kernels.kernel(FILE, "scatter", WORD=cuda_kernels.real(dx))
    arrays = (cuda.to_gpu(table.astype(np.int64)) for table in tables)
    run.over(unique.size, line, cuda_kernels.contiguous(dy).reshape(-1), *arrays, unique.size)


def _places(shape: Shape, order: Shape, index: tuple) -> np.ndarray:
    """For each number that the index names, its place in a line in the order of memory."""
    places = np.arange(int(np.prod(shape)), dtype=np.int64).reshape([shape[axis] for axis in order])
    return np.ascontiguousarray(places.transpose(np.argsort(order))[index])
