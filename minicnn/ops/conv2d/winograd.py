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
from minicnn.backends.cpu import lanes_of
from minicnn.backends.images import Images
from minicnn.backends.scratch import Scratch, aligned_zeros
from minicnn.ops.conv2d import winograd_gradient
from minicnn.ops.conv2d.cost import by_panels
from minicnn.ops.conv2d.winograd_kernels import BLOCK, ROWS, SKEW, SQUARE, kernels
from minicnn.ops.registry import Problem

FUSED_BYTES = 3 * 2**20  # U up to this size streams past a block of tiles faster than V and M through memory
FUSED_V_BYTES = 640 * 2**10  # of V, for one thread
FUSED_TILES = 32  # in grad_weight
GRADIENT_BYTES = 8 * 2**20, 64 * 2**20  # of V and Y together in grad_weight by blocks: if dU is cached, if not
GRADIENT_CACHED_BYTES = 3 * 2**20
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


def transformed_size(m: int, c: int, k: int, dtype: Any) -> int:
    """Numbers in the transformed weights, spare channels included."""
    kp, cp = -(-k // 16) * 16, -(-c // 16) * 16
    wide = panel_vectors(kp, dtype) * lanes_of(dtype)
    return (m + 2) ** 2 * (kp // wide) * (cp * wide + SKEW)


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


def convolve_once(m: int, x: Images, w: Array, adjoint: bool, b: Array | None) -> Images:
    """`convolve` with weights that are transformed for this call: beforehand, or each panel when it is needed."""
    k, c = w.shape[1::-1] if adjoint else w.shape[:2]
    size, tiles = transformed_size(m, c, k, w.dtype), Tiles(m, x)
    if by_panels(size * w.itemsize, tiles.count, prepared=False):
        return convolve_panels(m, x, w, adjoint, None, k, b, None, False)
    with Scratch(size, w.dtype) as u:
        transform(m, w, adjoint, u[:size])
        return convolve(m, x, u[:size], k, b, None, False)


def pack_taps(m: int, w: Array) -> np.ndarray:
    """The weights as `convolve_panels` takes them fastest."""
    (k, c), dtype = w.shape[:2], w.dtype
    kp, cp = -(-k // 16) * 16, -(-c // 16) * 16
    packed, threads = aligned_zeros(9 * kp * cp, dtype), thread_count()
    squares = np.empty((threads, SQUARE * lanes_of(dtype)), dtype)
    run = kernels(m, panel_vectors(kp, dtype)).pack_taps
    run(np.ascontiguousarray(w).reshape(-1), 9 * c, 9, False, c, k, cp, kp, packed, squares)
    return packed


def convolve_panels(
    m: int, x: Images, w: Array, adjoint: bool, packed: np.ndarray | None, k: int, b: Array | None,
    residual: Images | None, relu: bool,
) -> Images:  # fmt: skip
    """`convolve` with weights w, or from `pack_taps`, that are transformed a panel at a time."""
    tiles, dtype, (n, c, height, width) = Tiles(m, x), x.flat.dtype, x.shape
    y = Images((n, k, height, width), dtype)
    vectors, many = panel_vectors(y.channels, dtype), (m + 2) ** 2
    wide, threads = vectors * lanes_of(dtype), thread_count()
    block = -(-tiles.count // ROWS[vectors]) * ROWS[vectors]
    own = SQUARE * lanes_of(dtype) + many * (BLOCK * wide + SKEW) + many * (block * wide + SKEW) + 9 * BLOCK * wide
    v_size = many * (-(-x.channels // BLOCK) * BLOCK * block + SKEW)
    steps = (9, 9 * w.shape[1]) if adjoint else (9 * c, 9)
    none = x.flat[:0]
    with Scratch(v_size, dtype) as v, Scratch(threads * own, dtype) as work:
        work = work[: threads * own].reshape(threads, -1)
        kernels(m, vectors).by_panels(
            x.flat, np.ascontiguousarray(w).reshape(-1), *steps, adjoint, none if packed is None else packed,
            padded_bias(b, y), none if residual is None else residual.flat, y.flat, v, work,
            tiles.count, block, tiles.rows, tiles.columns, height, width, c, k, x.channels, y.channels,
            (x.origin, x.row, x.image), (y.origin, y.row, y.image), relu,
        )  # fmt: skip
    return y


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
        return convolve_once(m, Images.of(x), w, False, b).array

    def grad_input(dy: Array, w: Array, **_: Any) -> Array:
        """dx = dy convolved with the kernels turned by 180 degrees, input and output channels exchanged"""
        return convolve_once(m, Images.of(dy), w, True, None).array

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
    size = many * x.channels * dy.channels
    grad = np.empty(w_shape, dtype)
    run = winograd_gradient.kernels(m, panel_vectors(dy.channels, dtype))
    cut = tiles.rows, tiles.columns
    places = x.channels, dy.channels, (x.origin, x.row, x.image), (dy.origin, dy.row, dy.image)
    if size * dtype.itemsize <= GRADIENT_FUSED_BYTES and tiles.count >= PARTS * FUSED_TILES:
        v_size, y_size = many * (FUSED_TILES * x.channels + SKEW), many * (FUSED_TILES * dy.channels + SKEW) + square
        with (
            Scratch(threads * v_size, dtype) as v,
            Scratch(threads * y_size, dtype) as y,
            Scratch(PARTS * size, dtype) as du,
            Scratch(threads * square, dtype) as squares,
        ):
            v, y = v[: threads * v_size].reshape(threads, -1), y[: threads * y_size].reshape(threads, -1)
            squares = squares[: threads * square].reshape(threads, -1)
            run.grad_fused(x.flat, dy.flat, v, y, du, tiles.count, FUSED_TILES, PARTS, *cut, *places)
            run.grad_taps(du, grad.reshape(-1), squares, PARTS, c, k, x.channels, dy.channels)
        return grad
    wide = [-(-channels // BLOCK) * BLOCK for channels in (x.channels, dy.channels)]
    blocks = wide[0] * wide[1] // BLOCK**2
    limit = GRADIENT_BYTES[blocks * BLOCK**2 * many * dtype.itemsize > GRADIENT_CACHED_BYTES]
    parts = -(-tiles.count * many * sum(wide) * dtype.itemsize // limit)
    block = -(-tiles.count // parts)
    sums = many * (BLOCK**2 + SKEW)
    held = threads if parts == 1 else blocks
    with (
        Scratch(many * (block * wide[0] + SKEW), dtype) as v,
        Scratch(many * (block * wide[1] + SKEW), dtype) as y,
        Scratch(held * sums, dtype) as du,
        Scratch(threads * square, dtype) as squares,
    ):
        du, squares = du[: held * sums].reshape(held, -1), squares[: threads * square].reshape(threads, -1)
        run.grad_by_blocks(
            x.flat, dy.flat, v, y, du, squares, grad.reshape(-1), tiles.count, block, *cut, c, k, *places
        )
    return grad
