"""What the rungs on the GPU share: the shapes that kernels are told, splitting over pixels, sums in fixed order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.registry import Problem

HERE = Path(__file__).parent
PASSES = {"forward": 0, "grad_input": 1, "grad_weight": 2}  # as in conv.cuh
PROCESSORS = 132  # of an H100 or H200; a constant, since results must not depend on the GPU
BLOCKS = 4 * PROCESSORS  # so many keep a large GPU busy
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


def tiles(size: int, tile: int) -> int:
    """How many tiles cover `size`."""
    return -(-size // tile)


def largest_residue(x_shape: Shape, options: dict[str, Any]) -> int:
    """Pixels of an image that share a remainder of the stride: the most that any remainder has."""
    return math.prod(-(-size // step) for size, step in zip(x_shape[2:], options["stride"], strict=True))


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


def supports(problem: Problem) -> str:
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
