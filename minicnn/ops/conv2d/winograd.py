"""Winograd's convolution F(m x m, 3x3): what its two algorithms, `winograd2` and `winograd4`, share.

For kernels 3x3 with stride 1 and padding 1. `winograd_transforms` says why it works, `winograd_kernels` how it runs.
The price is rounding: a difference of transformed numbers loses more bits than a sum of products (README of this
folder), and one NaN or infinity in the input spreads over all outputs of its tile.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import get_num_threads as thread_count

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images
from minicnn.backends.scratch import Scratch
from minicnn.backends.simd import lanes_of
from minicnn.ops.conv2d.winograd_kernels import ROWS, SKEW, kernels
from minicnn.ops.registry import Problem

SQUARE = 64  # vectors of working memory for a transform
FUSED_BYTES = 3 * 2**20  # U up to this size streams past a block of tiles faster than V and M through memory
FUSED_V_BYTES = 640 * 2**10  # of V, for one thread
FUSED_TILES = 32  # in grad_weight
GRADIENT_BYTES = 8 * 2**20  # of V and Y together in grad_weight by points
GRADIENT_FUSED_BYTES = 2**20  # dU up to this size stays in the second-level cache beside a block of tiles
PARTS = 8  # sums of dU that are made side by side, then added in order


def supports(problem: Problem) -> str:
    """3x3, stride 1, padding 1, no dilation, no groups."""
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    if problem.dtype not in (np.float32, np.float64):
        return "dtype must be float32 or float64"
    if problem.pass_name == "grad_bias":
        return ""
    options = problem.options
    kernel = options["w_shape"] if problem.pass_name == "grad_weight" else problem.shapes[1]
    if kernel is None or kernel[2:] != (3, 3):
        return "the kernel must be 3x3"
    for name, value in (("stride", (1, 1)), ("padding", (1, 1)), ("dilation", (1, 1)), ("groups", 1)):
        if options[name] != value:
            return f"{name} must be {value}"
    return ""


class Tiles:
    """How a batch of images is cut into tiles of m x m outputs."""

    def __init__(self, m: int, images: Images) -> None:
        n, _, self.height, self.width = images.shape
        self.rows, self.columns = -(-self.height // m), -(-self.width // m)
        self.count = n * self.rows * self.columns


def convolve(m: int, x: Images, u: np.ndarray, k: int, b: Array | None, residual: Images | None, relu: bool) -> Images:
    """y = relu?(x * w + b + residual?) with weights that `transformed` has transformed.

    Parameters
    ----------
    m : int
    x : Images (N, C, H, W)
    u : 1-D array
        From `transformed`.
    k : int
        Output channels.
    b : array (K,), optional
    residual : Images (N, K, H, W), optional
    relu : bool
    """
    n, _, height, width = x.shape
    y = Images((n, k, height, width), x.flat.dtype)
    run(m, x, u, padded_bias(b, y), residual, relu, y)
    return y


def run(m: int, x: Images, u: np.ndarray, bias: np.ndarray, residual: Images | None, relu: bool, y: Images) -> None:
    """`convolve` into y, with a bias in whole vectors."""
    dtype = x.flat.dtype
    tiles, wide = Tiles(m, x), lanes_of(dtype)
    if not tiles.count:  # the kernels compute at least one register tile
        return
    vectors = panel_vectors(y.channels, dtype)
    many, square, rows = (m + 2) ** 2, SQUARE * wide, ROWS[vectors]
    rest = x.flat[:0] if residual is None else residual.flat
    shape = (tiles.rows, tiles.columns, tiles.height, tiles.width, x.channels, y.channels)
    places = (x.origin, x.row, x.image), (y.origin, y.row, y.image)
    threads = thread_count()
    if u.nbytes <= FUSED_BYTES and tiles.count > rows:
        block, blocks = block_tiles(tiles.count, rows, threads, many * x.channels * dtype.itemsize)
        v_size = many * (block * x.channels + SKEW)
        m_size = many * (block * vectors * wide + SKEW) + square
        with Scratch(threads * v_size, dtype) as v, Scratch(threads * m_size, dtype) as products:
            v, products = v[: threads * v_size].reshape(threads, -1), products[: threads * m_size].reshape(threads, -1)
            kernel = kernels(m, vectors).fused
            kernel(x.flat, u, bias, rest, y.flat, v, products, tiles.count, block, blocks, *shape, *places, relu)
        return
    block = -(-tiles.count // rows) * rows
    v_size, m_size = many * (block * x.channels + SKEW), many * (block * y.channels + SKEW)
    with Scratch(v_size, dtype) as v, Scratch(m_size, dtype) as products, Scratch(threads * square, dtype) as squares:
        squares = squares[: threads * square].reshape(threads, -1)
        kernel = kernels(m, vectors).by_points
        kernel(x.flat, u, bias, rest, y.flat, v, products, squares, tiles.count, block, *shape, *places, relu)


def block_tiles(count: int, rows: int, threads: int, tile_bytes: int) -> tuple[int, int]:
    """Most tiles in a block, so that its V fits into the cache, and the number of blocks: equally many for each thread.

    Blocks are whole register tiles of `rows`. How the tiles are cut changes no sum.
    """
    whole = -(-count // rows)
    largest = max(2, FUSED_V_BYTES // (tile_bytes * rows))
    blocks = threads * -(-whole // (threads * largest))
    return -(-whole // blocks) * rows, blocks


def transformed_size(m: int, c: int, k: int) -> int:
    """Numbers in the transformed weights, spare channels included."""
    panels = -(-k // 16)  # at most: they have 16 output channels or more
    return (m + 2) ** 2 * panels * (-(-c // 16) * 256 + SKEW)


def transform(m: int, w: Array, adjoint: bool, u: np.ndarray) -> None:
    """U = G w G^T in panels of output channels; `adjoint`: of the weights that grad_input convolves with."""
    w = np.ascontiguousarray(w)
    k, c = w.shape[:2]
    steps = (9 * c, 9)
    if adjoint:
        k, c, steps = c, k, steps[::-1]
    kp, cp = -(-k // 16) * 16, -(-c // 16) * 16
    threads, square = thread_count(), SQUARE * lanes_of(w.dtype)
    with Scratch(threads * square, w.dtype) as squares:
        squares = squares[: threads * square].reshape(threads, -1)
        weights = kernels(m, panel_vectors(kp, w.dtype)).weights
        weights(w.reshape(-1), *steps, adjoint, k, c, kp, cp, u, squares)


def panel_vectors(channels: int, dtype: Any) -> int:
    """Vectors of output channels that a register tile holds: 2, or 1 where 2 do not divide the channels."""
    return 1 if channels % (2 * lanes_of(dtype)) else 2


def padded_bias(b: Array | None, y: Images) -> np.ndarray:
    """The bias with zeros for spare channels."""
    bias = np.zeros(y.channels, y.flat.dtype)
    if b is not None:
        bias[: len(b)] = b
    return bias


def passes(m: int) -> SimpleNamespace:
    """forward, grad_input and grad_weight of F(m x m, 3x3)."""

    def forward(x: Array, w: Array, b: Array | None, **_: Any) -> Array:
        """y = A^T [(G w G^T) * (B^T x B)] A + b, summed over input channels, tile by tile"""
        size = transformed_size(m, w.shape[1], w.shape[0])
        with Scratch(size, x.dtype) as u:
            transform(m, w, False, u[:size])
            return convolve(m, Images.of(x), u[:size], w.shape[0], b, None, False).array

    def grad_input(dy: Array, w: Array, **_: Any) -> Array:
        """dx = dy convolved with the kernels turned by 180 degrees, input and output channels exchanged"""
        size = transformed_size(m, w.shape[0], w.shape[1])
        with Scratch(size, dy.dtype) as u:
            transform(m, w, True, u[:size])
            return convolve(m, Images.of(dy), u[:size], w.shape[1], None, None, False).array

    def grad_weight(dy: Array, x: Array, *, w_shape: tuple[int, ...], **_: Any) -> Array:
        """dw = G^T [sum over tiles of (B^T x B) * (A dy A^T)] G"""
        return _grad_weight(m, Images.of(dy), Images.of(x), w_shape)

    return SimpleNamespace(forward=forward, grad_input=grad_input, grad_weight=grad_weight)


def _grad_weight(m: int, dy: Images, x: Images, w_shape: tuple[int, ...]) -> Array:
    dtype = x.flat.dtype
    tiles, (k, c) = Tiles(m, x), w_shape[:2]
    if not tiles.count:
        return np.zeros(w_shape, dtype)
    many, threads, square = (m + 2) ** 2, thread_count(), SQUARE * lanes_of(dtype)
    tile, size = many * (x.channels + dy.channels) * dtype.itemsize, many * x.channels * dy.channels
    fused = size * dtype.itemsize <= GRADIENT_FUSED_BYTES
    parts = PARTS if fused and tiles.count >= PARTS * FUSED_TILES else 1
    block = min(tiles.count, FUSED_TILES if parts > 1 else max(FUSED_TILES, GRADIENT_BYTES // tile))
    v_size, y_size = many * (block * x.channels + SKEW), many * (block * dy.channels + SKEW) + square
    each = threads if parts > 1 else 1
    grad = np.empty(w_shape, dtype)
    run = kernels(m, panel_vectors(dy.channels, dtype))
    cut = tiles.rows, tiles.columns
    places = x.channels, dy.channels, (x.origin, x.row, x.image), (dy.origin, dy.row, dy.image)
    with (
        Scratch(each * v_size, dtype) as v,
        Scratch(each * y_size, dtype) as y,
        Scratch(parts * size, dtype) as du,
        Scratch(threads * square, dtype) as squares,
    ):
        squares = squares[: threads * square].reshape(threads, -1)
        if parts > 1:
            v, y = v[: each * v_size].reshape(each, -1), y[: each * y_size].reshape(each, -1)
            run.grad_fused(x.flat, dy.flat, v, y, du, tiles.count, block, parts, *cut, *places)
        else:
            run.grad_by_points(x.flat, dy.flat, v, y, du, squares, tiles.count, block, *cut, *places)
        run.grad_taps(du, grad.reshape(-1), squares, parts, c, k, x.channels, dy.channels)
    return grad
