"""Matrix products on the GPU (`product.cu`): in register tiles, of operands with any steps, so none is transposed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.errors import DeviceError
from minicnn.ops.elementwise.cuda import sum_repeated
from minicnn.ops.reduce.folds import sum_over

FILE = Path(__file__).with_name("product.cu")
THREADS = 256
BATCH_AXES = 4
ENOUGH = 256  # tiles, to fill any GPU: fixed, so that sums do not depend on which GPU it is
LEAST_PART = 256  # of K, for one split
MOST_BLOCKS = 65535


def forward(a: Array, b: Array) -> Array:
    """y[...,m,n] = sum_k a[...,m,k] b[...,k,n]"""
    return product(a, b)


def grad_a(dy: Array, b: Array, *, a_shape: tuple[int, ...]) -> Array:
    """da = dy @ b^T, summed over the leading axes along which a was repeated"""
    return sum_repeated(product(dy, transposed(b)), a_shape)


def grad_b(dy: Array, a: Array, *, b_shape: tuple[int, ...]) -> Array:
    """db = a^T @ dy, summed over the leading axes along which b was repeated"""
    return sum_repeated(product(transposed(a), dy), b_shape)


def transposed(x: Array) -> Array:
    """The last two axes exchanged, as a view."""
    return x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def product(a: Array, b: Array, bias: Array | None = None) -> Array:
    """a @ b + bias, C-contiguous: a (..., M, K), b (..., K, N), bias (N,); leading axes as in NumPy."""
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (m, k), n = a.shape[-2:], b.shape[-1]
    batches = math.prod(leading)
    a_steps, b_steps = (cuda_kernels.steps(x, (*leading, *x.shape[-2:])) for x in (a, b))
    sizes, outer = cuda_kernels.merged_steps(leading, [a_steps[:-2], b_steps[:-2]])
    if len(sizes) > BATCH_AXES:
        raise DeviceError(
            "too many leading axes for the GPU", called="matmul", seen=str(leading), rule=f"{BATCH_AXES} that differ"
        )
    sizes = (1,) * (BATCH_AXES - len(sizes)) + sizes
    outer = [(0,) * (BATCH_AXES - len(steps)) + steps for steps in outer]
    tile = tile_size(m, n, batches, a.itemsize)
    tiles = -(-m // tile) * -(-n // tile)
    depth = 1024 // tile
    splits = max(1, min(ENOUGH // max(1, tiles * batches), k // LEAST_PART))
    part = max(1, -(-k // (splits * depth))) * depth
    splits = max(1, -(-k // part))
    y = cuda.empty((splits, *leading, m, n), a.dtype)
    run = cuda_kernels.kernel(
        FILE,
        "product",
        REAL=cuda_kernels.real(a),
        TILE=tile,
        A_ALONG_K=int(_shorter(a_steps[-1], a_steps[-2], k)),
        B_ALONG_K=int(_shorter(b_steps[-2], b_steps[-1], k)),
    )
    operands = (
        y,
        cuda_kernels.Strided(a),
        cuda_kernels.Strided(b),
        None if bias is None else cuda_kernels.contiguous(bias),
    )
    steps = *a_steps[-2:], *b_steps[-2:]
    grid = tiles, min(batches * splits, MOST_BLOCKS)
    run(grid, (THREADS,), *operands, m, n, k, *steps, part, batches, splits, *sizes[1:], *outer[0], *outer[1])
    return sum_over(y, (0,)) if splits > 1 else y.reshape((*leading, m, n))


def tile_size(m: int, n: int, batches: int, itemsize: int) -> int:
    """128 where tiles of that size are enough to fill a GPU, and not mostly empty; else 64."""
    large = -(-m // 128) * -(-n // 128) * batches
    return 128 if itemsize == 4 and large >= ENOUGH // 2 and min(m, n) > 64 else 64


def _shorter(along_k: int, across: int, k: int) -> bool:
    """Whether neighbours along K are nearer in memory than those along the other axis."""
    return (k > 1 and abs(along_k) <= abs(across)) or across == 0
