"""Cross-entropy on the GPU (`cross_entropy.cu`, `labels.cu`): only one number, the check of labels, is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.reduce.folds import THREADS, geometry, split, sum_over, unordered

HERE = Path(__file__).parent
FILE = HERE / "cross_entropy.cu"


def forward(
    x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str, label_smoothing: float
) -> Array:
    """losses = - sum_c q[c] weight[c] log_p[c]; then their weighted mean, their sum, or the losses themselves"""
    order, shape, line, labels = _lines(x, target)
    tx, ty, blocks = geometry(*shape)
    losses = cuda.empty((2, shape[0] * shape[2]), np.float64)
    settings = *shape, tx, ty, ignore_index, label_smoothing
    _kernel("cross_entropy_forward", x, target)((blocks,), (THREADS,), losses, line, labels, _vector(weight), *settings)
    if reduction == "none":
        from minicnn.ops.elementwise.cuda import cast

        return unordered(cast(losses[0], x.dtype), x.shape, order, (1,), keepdim=False)
    y = cuda.empty((), x.dtype)
    _kernel("cross_entropy_reduce", x, target)((1,), (32,), y, sum_over(losses, (1,)), reduction == "mean")
    return y


def grad_input(dy: Array, x: Array, target: Array, weight: Array | None, **options: Any) -> Array:
    """dx[c] = scale (p[c] sum_j q[j] weight[j] - q[c] weight[c])"""
    return _gradient(dy, x, target, weight, of_target=False, **options)


def grad_target(dy: Array, x: Array, target: Array, weight: Array | None, **options: Any) -> Array:
    """dtarget[c] = - scale (1 - label_smoothing) weight[c] log_p[c]"""
    return _gradient(dy, x, target, weight, of_target=True, **options)


def _gradient(
    dy: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    of_target: bool,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    order, shape, line, labels = _lines(x, target)
    tx, ty, blocks = geometry(*shape)
    each = reduction == "none"
    slopes = cuda_kernels.contiguous(dy.transpose(_positions(order)) if each else dy).reshape(-1)
    counts = _counts(labels, target, weight, ignore_index, shape[0] * shape[2], x) if reduction == "mean" else None
    dx = cuda.empty_like(x)
    arrays = dx.transpose(order).reshape(-1), slopes, counts, line, labels, _vector(weight)
    settings = *shape, tx, ty, ignore_index, label_smoothing, each, of_target
    _kernel("cross_entropy_gradient", x, target)((blocks,), (THREADS,), *arrays, *settings)
    return dx


def first_wrong(target: Array, classes: int, ignore_index: int) -> tuple[int, ...] | None:
    """The place of the first label that is out of range, or None."""
    found = cuda.empty((1,), np.int64)
    found.fill(0)
    run = cuda_kernels.kernel(HERE / "labels.cu", "wrong_labels", REAL="float")
    run.over(target.size, found, cuda_kernels.contiguous(target).reshape(-1), ignore_index, classes, target.size)
    number = found.item()
    return tuple(int(i) for i in np.unravel_index(target.size - number, target.shape)) if number else None


def _counts(labels: Array, target: Array, weight: Array | None, ignore_index: int, positions: int, x: Array) -> Array:
    """Two numbers on the GPU: the second is what a mean divides by."""
    counts = cuda.empty((2, positions), np.float64)
    if target.dtype.kind == "i":
        run = cuda_kernels.kernel(HERE / "labels.cu", "label_counts", REAL=cuda_kernels.real(x))
        run.over(positions, counts[1], labels, _vector(weight), ignore_index, positions)
    else:
        counts[1].fill(1)
    return sum_over(counts, (1,))


def _lines(x: Array, target: Array) -> tuple[tuple[int, ...], tuple[int, int, int], Array, Array]:
    """The axes of x in the order of memory, its (A, R, B), and lines of x and of the target in that order."""
    order = cuda.memory_order(x)
    shape = split(x, order, 1)
    line = cuda_kernels.contiguous(x.transpose(order)).reshape(-1)
    axes = _positions(order) if target.dtype.kind == "i" else order
    return order, shape, line, cuda_kernels.contiguous(target.transpose(axes)).reshape(-1)


def _positions(order: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an array without classes, in the same order."""
    return tuple(axis - (axis > 1) for axis in order if axis != 1)


def _vector(weight: Array | None) -> Array | None:
    return None if weight is None else cuda_kernels.contiguous(weight)


def _kernel(name: str, x: Array, target: Array) -> Any:
    labels, kind = int(target.dtype.kind == "i"), cuda_kernels.type_name(target.dtype)
    return cuda_kernels.kernel(FILE, name, REAL=cuda_kernels.real(x), LABELS=labels, TARGET=kind)
