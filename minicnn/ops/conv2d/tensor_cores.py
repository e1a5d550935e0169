"""What the tensor-core rungs (`tf32.cu`, `bf16.cu`) share: tiles, chosen by layer; factors in the form they read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.conv2d import cuda_common
from minicnn.ops.conv2d.cuda_common import (
    HERE,
    PASSES,
    PROCESSORS,
    Shape,
    largest_residue,
    shape_arguments,
    tiles,
    y_shape,
)

STAGES = 4  # slabs of depth that a block has room for; three of them are on their way
SLAB = 16  # words of depth, as in tensor_tile.cuh
PITCH = 20  # words from line to line of a deep tile
THREADS = 128
Factor = Callable[[Array], Array]  # from an array with channels last to the form in which a rung reads it


class Tile(NamedTuple):
    """A block's part of the result."""

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int
    rate: float  # products in the same time, the largest tile's being 1: estimated from the instructions they take

    def blocks(self, rows: int, columns: int) -> int:
        """How many cover a result."""
        return tiles(rows, self.rows) * tiles(columns, self.columns)

    def time(self, rows: int, columns: int, layers: int, divisible: bool) -> float:
        """How long a result takes, compared with other tiles; `divisible` work is spread evenly over the processors."""
        blocks = self.blocks(rows, columns) * layers
        each = blocks / PROCESSORS if divisible else tiles(blocks, PROCESSORS)
        return each * self.rows * self.columns / self.rate

    def macros(self) -> dict[str, int]:
        """What says so to the kernel."""
        return {key.upper(): getattr(self, key) for key in ("rows", "columns", "warp_rows", "warp_columns")}

    def shared(self, wide: bool) -> int:
        """Bytes of shared memory."""
        lines = self.rows + self.columns
        return STAGES * 4 * (SLAB * (lines + 16) if wide else lines * PITCH)


TILES = (
    Tile(128, 128, 64, 64, 1.0),
    Tile(128, 64, 64, 32, 0.7),
    Tile(64, 128, 32, 64, 0.7),
    Tile(64, 64, 32, 32, 0.5),
)


def forward(name: str, factor: Factor, x: Array, w: Array, b: Array | None, options: dict[str, Any]) -> Array:
    """y (N, K, P, Q) by `name`.cu, whose factors are in the form of `factor`."""
    shape = shape_arguments(x.shape, w.shape, options)
    n, k, p, q = y_shape(shape)
    y = cuda.empty_images((n, k, p, q), x.dtype)
    images, kernels = (factor(cuda_kernels.channels_last(a)) for a in (x, w))
    shape = (*shape[:3], images.shape[-1], *shape[4:])
    launch(name, "forward", (n * p * q, k, 1), cuda_kernels.channels_last(y), images, kernels, b, shape)
    return y


def grad_input(name: str, factor: Factor, dy: Array, w: Array, x_shape: Shape, options: dict[str, Any]) -> Array:
    """dx (N, C, H, W), likewise."""
    shape = shape_arguments(x_shape, w.shape, options)
    dx = cuda.empty_images(x_shape, dy.dtype)
    images, kernels = factor(cuda_kernels.channels_last(dy)), factor(turned(w))
    shape = (*shape[:4], images.shape[-1], *shape[5:])
    size = x_shape[0] * largest_residue(x_shape, options), x_shape[1], math.prod(options["stride"])
    launch(name, "grad_input", size, cuda_kernels.channels_last(dx), images, kernels, None, shape)
    return dx


def launch(
    name: str,
    pass_name: str,
    size: tuple[int, int, int],
    out: Array,
    a: Array,
    b: Array,
    bias: Array | None,
    shape: tuple[int, ...],
) -> None:
    """Run `name`.cu for a pass whose result has (rows, columns, layers) = `size`, layers being its grid's third axis.

    All arrays have channels last and are contiguous.
    """
    _run(_choose(*size, divisible=False), name, pass_name, size, out, a, b, bias, shape)


def split_over_pixels(name: str, out: Array, dy: Array, x: Array, shape: tuple[int, ...]) -> None:
    """Run `name`.cu for grad_weight: the pixels in parts, which are added in order."""
    rows, columns = out.shape[0], math.prod(out.shape[1:])
    tile = _choose(rows, columns, 1, divisible=True)
    parts = cuda_common.parts_of(math.prod(dy.shape[:3]), tile.blocks(rows, columns))
    sums = out if parts == 1 else cuda.empty((parts, *out.shape), out.dtype)
    _run(tile, name, "grad_weight", (rows, columns, parts), sums, dy, x, None, shape)
    if parts > 1:
        cuda_common.sum_parts(sums, out)


def _choose(rows: int, columns: int, layers: int, divisible: bool) -> Tile:
    return min(TILES, key=lambda tile: tile.time(rows, columns, layers, divisible))


def _run(tile: Tile, name: str, pass_name: str, size: tuple[int, int, int], *arguments: Any) -> None:
    *arrays, shape = arguments
    kernel = cuda_kernels.kernel(HERE / f"{name}.cu", name, PASS=PASSES[pass_name], STAGES=STAGES, **tile.macros())
    rows, columns, layers = size
    grid = tile.blocks(rows, columns), 1, layers
    kernel(grid, (THREADS,), *arrays, *shape, shared=tile.shared(pass_name == "grad_weight"))


def turned(w: Array) -> Array:
    """Filters (K, C, R, S) with k last, padded with zeros to a multiple of 4: (C, R, S, K)."""
    k, c, r, s = w.shape
    y = cuda.empty((c, r, s, tiles(k, 4) * 4), w.dtype)
    turn = cuda_kernels.kernel(HERE / "turned_filters.cu", "turned_filters")
    grid = r * s, tiles(c, 32), tiles(y.shape[-1], 32)
    turn(grid, (128,), y, cuda_kernels.channels_last(w), k, r * s, c, y.shape[-1])
    return y


def bf16_words(x: Array) -> Array:
    """An array with channels last in bf16, channels padded with zeros to a multiple of 8: words of two numbers."""
    channels = x.shape[-1]
    y = cuda.empty((*x.shape[:-1], tiles(channels, 8) * 4), np.uint32)
    convert = cuda_kernels.kernel(HERE / "bf16_words.cu", "bf16_words")
    convert.over(y.size // 4, y, x, y.size // 4, channels, 2 * y.shape[-1])
    return y
