"""Convolution on the GPU: the ladder of kernels, and what they share.

| rung | adds |
|---|---|
| cuda_naive | one thread a number of the result: the formula |
| cuda_tiled | tiles in shared memory: an implicit matrix product; grad_input by remainders of the stride |

`RUNGS` says what each rung has. A rung is a function that runs one pass; here are the shapes it is told, the splitting of
grad_weight over the pixels, and the sums in fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.registry import Problem

HERE = Path(__file__).parent
PASSES = {"forward": 0, "grad_input": 1, "grad_weight": 2}
BLOCKS = 4 * 132  # so many blocks keep a large GPU busy; a constant, since results must not depend on the GPU
TILE = 16
Shape = tuple[int, ...]


def shape_arguments(x_shape: Shape, w_shape: Shape, options: dict[str, Any]) -> tuple[int, ...]:
    """N, H, W, C, K, R, S, P, Q, strides, paddings, dilations: what `CONV_SHAPE` in conv.cuh lists."""
    n, c, h, w = x_shape
    k, _, r, s = w_shape
    (sh, sw), (ph, pw), (dh, dw) = options["stride"], options["padding"], options["dilation"]
    p, q = (h + 2 * ph - dh * (r - 1) - 1) // sh + 1, (w + 2 * pw - dw * (s - 1) - 1) // sw + 1
    return n, h, w, c, k, r, s, p, q, sh, sw, ph, pw, dh, dw


def y_shape(shape: tuple[int, ...]) -> Shape:
    """(N, K, P, Q), from `shape_arguments`."""
    n, _, _, _, k, _, _, p, q, *_ = shape
    return n, k, p, q


def parts_of(pixels: int, blocks: int, most: int = 64) -> int:
    """Into how many parts grad_weight splits its pixels, so that all of a GPU works where the result is small."""
    return max(1, min(most, -(-BLOCKS // max(1, blocks)), pixels // 256))


def sum_parts(parts: Array, result: Array) -> None:
    """result = the parts, (Z, ...), added in order."""
    add = cuda_kernels.kernel(HERE / "conv_sums.cu", "sum_parts", REAL=cuda_kernels.real(parts))
    add.over(result.size, result, parts, result.size, parts.shape[0])


# ---- cuda_naive ------------------------------------------------------------------------------------------------------


def _naive(pass_name: str, x_like: Array) -> cuda_kernels.Kernel:
    return cuda_kernels.kernel(HERE / "naive.cu", f"naive_{pass_name}", REAL=cuda_kernels.real(x_like))


def naive_forward(x: Array, w: Array, b: Array | None, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    shape = shape_arguments(x.shape, w.shape, options)
    y = cuda.empty_images(y_shape(shape), x.dtype)
    images, kernels = cuda_kernels.channels_last(x), cuda_kernels.channels_last(w)
    arrays = cuda_kernels.channels_last(y), images, kernels, b
    _naive("forward", x).over(y.size, *arrays, options["groups"], *shape)
    return y


def naive_grad_input(dy: Array, w: Array, *, x_shape: Shape, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    shape = shape_arguments(x_shape, w.shape, options)
    dx = cuda.empty_images(x_shape, dy.dtype)
    arrays = (cuda_kernels.channels_last(a) for a in (dx, dy, w))
    _naive("grad_input", dy).over(dx.size, *arrays, options["groups"], *shape)
    return dx


def naive_grad_weight(dy: Array, x: Array, *, w_shape: Shape, **options: Any) -> Array:
    """dw: (K, C / groups, R, S)."""
    shape = shape_arguments(x.shape, w_shape, options)
    dw = cuda.empty_images(w_shape, dy.dtype)
    arrays = (cuda_kernels.channels_last(a) for a in (dw, dy, x))
    _naive("grad_weight", dy).over(dw.size, *arrays, options["groups"], *shape)
    return dw


# ---- cuda_tiled ------------------------------------------------------------------------------------------------------


def _tiled(pass_name: str, like: Array) -> cuda_kernels.Kernel:
    macros = {"REAL": cuda_kernels.real(like), "PASS": PASSES[pass_name], "TILE": TILE}
    return cuda_kernels.kernel(HERE / "tiled.cu", "tiled", **macros)


def tiled_forward(x: Array, w: Array, b: Array | None, *, groups: int, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    shape = shape_arguments(x.shape, w.shape, options)
    n, k, p, q = y_shape(shape)
    y = cuda.empty_images((n, k, p, q), x.dtype)
    grid = tiles(n * p * q, TILE), tiles(k, TILE)
    _tiled("forward", x)(grid, (TILE * TILE,), *(cuda_kernels.channels_last(a) for a in (y, x, w)), b, *shape)
    return y


def tiled_grad_input(dy: Array, w: Array, *, x_shape: Shape, groups: int, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    shape = shape_arguments(x_shape, w.shape, options)
    n, c, *_ = x_shape
    dx = cuda.empty_images(x_shape, dy.dtype)
    grid = tiles(n * largest_residue(x_shape, options), TILE), tiles(c, TILE), math.prod(options["stride"])
    _tiled("grad_input", dy)(grid, (TILE * TILE,), *(cuda_kernels.channels_last(a) for a in (dx, dy, w)), None, *shape)
    return dx


def tiled_grad_weight(dy: Array, x: Array, *, w_shape: Shape, groups: int, **options: Any) -> Array:
    """dw: (K, C, R, S)."""
    shape = shape_arguments(x.shape, w_shape, options)
    k, c, r, s = w_shape
    grid = tiles(k, TILE), tiles(c * r * s, TILE)
    return split_over_pixels(_tiled("grad_weight", dy), grid, TILE * TILE, dy, x, w_shape, shape)


def tiles(size: int, tile: int) -> int:
    """How many tiles cover `size`."""
    return -(-size // tile)


def largest_residue(x_shape: Shape, options: dict[str, Any]) -> int:
    """Pixels of an image that share a remainder of the stride: the most that any remainder has."""
    return math.prod(-(-size // step) for size, step in zip(x_shape[2:], options["stride"], strict=True))


def split_over_pixels(
    run: cuda_kernels.Kernel,
    grid: tuple[int, int],
    threads: int,
    dy: Array,
    x: Array,
    w_shape: Shape,
    shape: tuple[int, ...],
) -> Array:
    """dw by a kernel `(sums, dy, x, bias, *shape)` whose grid's third axis is parts of the pixels."""
    k, c, r, s = w_shape
    parts = parts_of(dy.size // k, math.prod(grid))
    dw = cuda.empty_images(w_shape, dy.dtype)
    result = cuda_kernels.channels_last(dw)
    sums = result if parts == 1 else cuda.empty((parts, k, r, s, c), dy.dtype)
    run((*grid, parts), (threads,), sums, cuda_kernels.channels_last(dy), cuda_kernels.channels_last(x), None, *shape)
    if parts > 1:
        sum_parts(sums, result)
    return dw


# ---- all rungs -------------------------------------------------------------------------------------------------------


def grad_bias(dy: Array) -> Array:
    """db: (K,), in two steps: parts of the pixels, then the parts."""
    n, k, p, q = dy.shape
    pixels = n * p * q
    parts = parts_of(pixels, tiles(k, 32), most=256)
    db, sums = cuda.empty((k,), dy.dtype), cuda.empty((parts, k), dy.dtype)
    add = cuda_kernels.kernel(HERE / "conv_sums.cu", "column_sums", REAL=cuda_kernels.real(dy))
    add((parts, tiles(k, 32)), (256,), sums, cuda_kernels.channels_last(dy), pixels, k)
    sum_parts(sums, db)
    return db


def naive_supports(problem: Problem) -> str:
    """All problems."""
    return ""


def dense_supports(problem: Problem) -> str:
    """What the rungs take that are matrix products."""
    options = problem.options
    if options.get("groups", 1) != 1:
        return "groups must be 1"
    if problem.pass_name == "grad_input" and any(
        s > 1 and d > 1 for s, d in zip(options["stride"], options["dilation"], strict=True)
    ):
        return "the gradient with respect to x needs stride 1 or dilation 1"
    shapes = [shape for shape in (*problem.shapes, options.get("x_shape"), options.get("w_shape")) if shape]
    return "" if all(math.prod(shape) < 2**31 for shape in shapes) else "arrays must have fewer than 2^31 numbers"


RUNGS: dict[str, tuple[dict[str, Callable[..., Any]], Callable[[Problem], str]]] = {
    "cuda_naive": (
        {"forward": naive_forward, "grad_input": naive_grad_input, "grad_weight": naive_grad_weight},
        naive_supports,
    ),
    "cuda_tiled": (
        {"forward": tiled_forward, "grad_input": tiled_grad_input, "grad_weight": tiled_grad_weight},
        dense_supports,
    ),
}


def rung(name: str) -> tuple[dict[str, Callable[..., Any]], Callable[[Problem], str]]:
    """The passes of a rung, and what it supports (`registry.py`)."""
    passes, supports = RUNGS[name]
    return {**passes, "grad_bias": grad_bias}, supports
