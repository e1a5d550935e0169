"""Sums, maxima and places of maxima on the GPU (`fold.cu`, `argmax.cu`), for the reductions and for other operations.

An array is taken as it lies in memory. Neighbouring axes of which all are reduced, or none, count as one; each group
of reduced axes is the R of an array (A, R, B), so a sum of images over (N, H, W) is one launch, or two.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array

HERE = Path(__file__).parent
THREADS = 256
BLOCKS = 2048  # wanted, to fill any GPU: fixed, so that sums do not depend on which GPU it is
LEAST = 64  # numbers of a thread before an axis is cut into chunks

Shape = tuple[int, ...]


def sum_over(x: Array, axes: Shape, *, keepdim: bool = False, mean: bool = False) -> Array:
    """The sum, or mean, of x over some axes; of whole numbers and booleans an int64, as in NumPy."""
    floats = x.dtype.kind == "f"
    count = math.prod(x.shape[axis] for axis in axes) if mean else 1
    accumulator, result = ("double", x.dtype) if floats else ("long long", np.dtype(np.int64))
    return _over(x, axes, keepdim, accumulator, result, divisor=count)


def max_over(x: Array, axes: Shape, *, keepdim: bool = False) -> Array:
    """The largest number of x over some axes; NaN where there is one."""
    return _over(x, axes, keepdim, cuda_kernels.type_name(x.dtype), x.dtype, maximum=True)


def argmax(x: Array, axis: int, *, keepdim: bool = False) -> Array:
    """The index, int64, of the first maximum along one axis; of the first NaN if there is one."""
    order = cuda.memory_order(x)
    a, r, b = split(x, order, axis)
    places = cuda.empty((a * b,), np.int64)
    tx, ty, grid = geometry(a, r, b)
    name = cuda_kernels.type_name(x.dtype)
    run = cuda_kernels.kernel(HERE / "argmax.cu", "argmax", NUMBER=name)
    run((grid,), (THREADS,), places, _line(x, order), a, r, b, tx, ty)
    return unordered(places, x.shape, order, (axis,), keepdim)


def to_first(dy: Array, x: Array, axis: int) -> Array:
    """dx: dy (length 1 along `axis`) where x has its first maximum along `axis`, 0 elsewhere."""
    order = cuda.memory_order(x)
    _, r, b = split(x, order, axis)
    places = argmax(x, axis, keepdim=True)
    dx = cuda.empty_like(x)
    values, indices = (cuda_kernels.contiguous(each.transpose(order)).reshape(-1) for each in (dy, places))
    name = cuda_kernels.real(x)
    run = cuda_kernels.kernel(HERE / "argmax.cu", "to_places", NUMBER=name)
    run.over(x.size, dx.transpose(order).reshape(-1), values, indices, r, b, x.size)
    return dx


def split(x: Array, order: Shape, axis: int) -> tuple[int, int, int]:
    """(A, R, B): numbers before, along and after one axis, in this order of the axes."""
    at = order.index(axis)
    sizes = [x.shape[each] for each in order]
    return math.prod(sizes[:at]), sizes[at], math.prod(sizes[at + 1 :])


def geometry(a: int, r: int, b: int) -> tuple[int, int, int]:
    """(TX, TY, blocks) of `fold.cu`: columns and parts of R of a block of 256 threads, and how many blocks."""
    tx = min(32, _power(b))
    ty = min(THREADS // tx, _power(r))
    tz = THREADS // (tx * ty)
    return tx, ty, -(-a // tz) * -(-b // tx)


def _power(count: int) -> int:
    """The smallest power of two >= count."""
    return 1 << max(0, count - 1).bit_length()


def _line(x: Array, order: Shape) -> Array:
    return cuda_kernels.contiguous(x.transpose(order)).reshape(-1)


def _over(
    x: Array, axes: Shape, keepdim: bool, accumulator: str, result: Any, *, divisor: int = 1, maximum: bool = False
) -> Array:
    """Fold the groups of neighbouring axes that are reduced, the last in memory first."""
    order = cuda.memory_order(x)
    groups: list[list[Any]] = []  # [reduced, size]
    for axis in order:
        if x.shape[axis] == 1:
            continue
        if groups and groups[-1][0] == (axis in axes):
            groups[-1][1] *= x.shape[axis]
        else:
            groups.append([axis in axes, x.shape[axis]])
    if not any(reduced for reduced, _ in groups):
        groups.append([True, 1])  # of one number each
    values, kind = _line(x, order), cuda_kernels.type_name(x.dtype)
    left = [number for number, (reduced, _) in enumerate(groups) if reduced]
    for number in reversed(left):
        sizes = [size for _, size in groups]
        shape = math.prod(sizes[:number]), sizes[number], math.prod(sizes[number + 1 :])
        last = number == left[0]
        out = cuda_kernels.type_name(result) if last else accumulator
        values = _fold(values, shape, (kind, accumulator, out), divisor if last else 1, maximum)
        groups[number][1], kind = 1, out
    return unordered(values, x.shape, order, axes, keepdim)


def _fold(values: Array, shape: Shape, kinds: tuple[str, str, str], divisor: int, maximum: bool) -> Array:
    """(A, R, B) -> (A, B), both as lines: in two launches where there are too few A and B to fill a GPU."""
    a, r, b = shape
    kind, accumulator, _ = kinds
    _, ty, blocks = geometry(a, r, b)
    chunks = min(BLOCKS // max(1, blocks), r // (LEAST * ty))
    if chunks > 1:
        chunk = -(-r // chunks)
        values = _launch(values, shape, chunk, (kind, accumulator, accumulator), 1, maximum)
        shape, kinds = (a, -(-r // chunk), b), (accumulator, *kinds[1:])
    return _launch(values, shape, shape[1], kinds, divisor, maximum)


def _launch(values: Array, shape: Shape, chunk: int, kinds: tuple[str, str, str], divisor: int, maximum: bool) -> Array:
    """(A, R, B) -> (A, chunks, B), as lines."""
    a, r, b = shape
    tx, ty, blocks = geometry(a, chunk, b)
    chunks = -(-r // chunk) if r else 1
    y = cuda.empty((a * chunks * b,), cuda_kernels.DTYPES[kinds[2]])
    macros = dict(zip(("IN", "ACC", "OUT"), kinds, strict=True))
    run = cuda_kernels.kernel(HERE / "fold.cu", "fold", MAXIMUM=int(maximum), **macros)
    run((blocks, chunks), (THREADS,), y, values, a, r, b, chunk, tx, ty, divisor)
    return y


def unordered(values: Array, shape: Shape, order: Shape, axes: Shape, keepdim: bool) -> Array:
    """A line of results, in the order of memory, as an array without `axes`, or with length 1 there."""
    kept = values.reshape(tuple(1 if axis in axes else shape[axis] for axis in order))
    full = kept.transpose(tuple(order.index(axis) for axis in range(len(order))))
    if keepdim:
        return full
    return full[tuple(0 if axis in axes else slice(None) for axis in range(len(order)))]
