"""Batch normalisation on the GPU: threads over channels, each array read as rarely as can be.

`statistics.cu` takes mean and variance in one pass over memory, `forward.cu` normalises, `sums.cu` and `grad_input.cu`
are the two sweeps of the backward pass, `vectors.cu` has the arrays of a number a channel. Batch normalisation with
ReLU uses the same kernels, with the macro RELU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minicnn.backends import cuda, cuda_channels, cuda_kernels
from minicnn.backends.arrays import Array

HERE = Path(__file__).parent
COLUMNS = 8  # that a block of the second kernels takes
FINAL = (COLUMNS, 64)


def statistics(x: Array) -> tuple[Array, Array]:
    """mean[c] = mean of x[:,c], var[c] = mean of (x[:,c] - mean[c])^2, in one pass over memory"""
    table = cuda_channels.rows(x)
    (many, channels), macros = table.shape, _macros(table)
    grid, block, per_block = cuda_channels.split(many, channels, macros["V"])
    sums, squares = (cuda.empty((grid[1], channels), x.dtype) for _ in range(2))
    mean, var = (cuda.empty((channels,), x.dtype) for _ in range(2))
    first = cuda_kernels.kernel(HERE / "statistics.cu", "statistics_of_blocks", **macros)
    first(grid, block, sums, squares, table, many, channels, per_block)
    second = cuda_kernels.kernel(HERE / "statistics.cu", "statistics_of_all", **macros)
    second(_columns(channels), FINAL, mean, var, sums, squares, table, many, channels, grid[1], per_block)
    return mean, var


def forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, *, eps: float, training: bool
) -> Array:
    """y = weight * x_hat + bias, x_hat = (x - mean) / sqrt(var + eps); the same in training and evaluation"""
    del training  # says where mean and var come from, which only the gradient has to know
    return normalise(x, weight, bias, None, mean, var, eps, relu=False)


def normalise(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    residual: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    *,
    relu: bool,
) -> Array:
    """y = weight * x_hat + bias; with `relu`, max(that + residual, 0)"""
    table, rest = cuda_channels.rows(x), _rows(residual)
    y = cuda_channels.empty(x.shape, x.dtype)
    (many, channels), macros = table.shape, _macros(table, rest)
    grid, block, per_block = cuda_channels.split(many, channels, macros["V"])
    run = cuda_kernels.kernel(HERE / "forward.cu", "batch_norm_forward", **macros, RELU=int(relu))
    vectors = [_vector(v) for v in (weight, bias, mean, var)]
    run(grid, block, cuda_channels.rows(y), table, rest, *vectors, eps, many, channels, per_block)
    return y


def grad_input(
    dy: Array, x: Array | None, weight: Array | None, mean: Array | None, inv_std: Array, *, training: bool
) -> Array:
    """dx = inv_std * weight * (dy - mean(dy) - x_hat * mean(dy * x_hat)); in evaluation only the term of dy"""
    sums = gradient_sums(dy, x, mean, inv_std) if training else (None, None)
    return input_gradient(dy, x if training else None, weight, mean, inv_std, *sums)


def grad_weight(dy: Array, x: Array, mean: Array, inv_std: Array) -> Array:
    """dweight[c] = sum of dy[:,c] * x_hat[:,c]"""
    return gradient_sums(dy, x, mean, inv_std)[1]


def grad_bias(dy: Array) -> Array:
    """dbias[c] = sum of dy[:,c]"""
    return gradient_sums(dy, None, None, None)[0]


def gradient_sums(
    dy: Array,
    x: Array | None,
    mean: Array | None,
    inv_std: Array | None,
    y: Array | None = None,
    dz: Array | None = None,
) -> tuple[Array, Array | None]:
    """dbias and, with x, dweight. With y, of dz = dy where y > 0, which is written to `dz` if that is given."""
    table = cuda_channels.rows(dy)
    tables = [_rows(dz), table, _rows(y), _rows(x)]
    (many, channels), macros = table.shape, _macros(*tables)
    grid, block, per_block = cuda_channels.split(many, channels, macros["V"])
    kinds = 1 if x is None else 2
    parts = cuda.empty((grid[1], kinds * channels), dy.dtype)
    dbias = cuda.empty((channels,), dy.dtype)
    dweight = None if x is None else cuda.empty((channels,), dy.dtype)
    first = cuda_kernels.kernel(HERE / "sums.cu", "sums_of_blocks", **macros, RELU=int(y is not None))
    vectors = [None if x is None else _vector(v) for v in (mean, inv_std)]
    first(grid, block, parts, *tables, *vectors, many, channels, per_block)
    second = cuda_kernels.kernel(HERE / "sums.cu", "sums_of_all", **macros, RELU=int(y is not None))
    second(_columns(kinds * channels), FINAL, dbias, dweight, parts, channels, kinds * channels, grid[1])
    return dbias, dweight


def input_gradient(
    dy: Array,
    x: Array | None,
    weight: Array | None,
    mean: Array | None,
    inv_std: Array,
    dbias: Array | None,
    dweight: Array | None,
    y: Array | None = None,
) -> Array:
    """dx, from the sums in training, without x in evaluation. With y, of dz = dy where y > 0."""
    table = cuda_channels.rows(dy)
    tables = [table, _rows(y), _rows(x)]
    dx = cuda_channels.empty(dy.shape, dy.dtype)
    (many, channels), macros = table.shape, _macros(*tables)
    grid, block, per_block = cuda_channels.split(many, channels, macros["V"])
    run = cuda_kernels.kernel(HERE / "grad_input.cu", "batch_norm_grad_input", **macros, RELU=int(y is not None))
    vectors = [_vector(v) for v in (weight, mean, inv_std, dbias, dweight)]
    run(grid, block, cuda_channels.rows(dx), *tables, *vectors, many, channels, per_block)
    return dx


# ---- arrays of a number a channel -----------------------------------------------------------------------------------


def inverse_std(var: Array, eps: float) -> Array:
    """1 / sqrt(var + eps)"""
    found = cuda.empty(var.shape, var.dtype)
    run = cuda_kernels.kernel(HERE / "vectors.cu", "inverse_std", REAL=cuda_kernels.real(var))
    run.over(var.size, found, _vector(var), eps, var.size)
    return found


def update_running(
    old: tuple[Array, Array],
    batch: tuple[Array, Array],
    momentum: float,
    unbiased: float,
    into: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """(1 - momentum) * old + momentum * batch, for mean and variance, in new arrays or in `into`, which may be `old`"""
    new = into or (cuda.empty(old[0].shape, old[0].dtype), cuda.empty(old[0].shape, old[0].dtype))
    run = cuda_kernels.kernel(HERE / "vectors.cu", "update_running", REAL=cuda_kernels.real(new[0]))
    run.over(new[0].size, *new, *map(_vector, (*old, *batch)), momentum, unbiased, new[0].size)
    return new


# ---- launching ------------------------------------------------------------------------------------------------------


def _macros(*tables: Array | None) -> dict[str, Any]:
    there = [x for x in tables if x is not None]
    return {"REAL": cuda_kernels.real(there[0]), "V": cuda_channels.lanes(*there)}


def _columns(many: int) -> tuple[int]:
    return (-(-many // COLUMNS),)


def _rows(x: Array | None) -> Array | None:
    return None if x is None else cuda_channels.rows(x)


def _vector(v: Array | None) -> Array | None:
    return None if v is None else cuda_kernels.contiguous(v)
