"""Convolution on the GPU as a matrix product (`conv.cuh`): the host's part, the same for all rungs that are one.

A rung is a `.cu` file with a kernel of the file's name, and the tiles that it can be compiled for::

    RUNG = Rung("tiled", (Tile(16, 16, 256),))
    forward, grad_input, grad_weight = RUNG.forward, RUNG.grad_input, RUNG.grad_weight
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.conv2d.cuda_common import (
    HERE,
    PASSES,
    Shape,
    largest_residue,
    parts_of,
    shape_arguments,
    sum_parts,
    supports,
    tiles,
)
from minicnn.ops.registry import Problem

UNIT = 4  # floats that are copied at once


@dataclass(frozen=True)
class Tile:
    """What a block makes: rows x columns of the result, by so many threads; macros that say so to the kernel."""

    rows: int
    columns: int
    threads: int
    macros: tuple[tuple[str, int], ...] = ()

    def blocks(self, rows: int, columns: int) -> int:
        """How many cover a result."""
        return tiles(rows, self.rows) * tiles(columns, self.columns)


@dataclass(frozen=True)
class Work:
    """A pass as a matrix product: out (rows, columns) += a (rows, depth) b (depth, columns), for each remainder."""

    pass_name: str
    rows: int
    columns: int
    depth: int
    remainders: int = 1


Plan = Callable[["Rung", Work], tuple[Tile, int]]


def one_tile(rung: Rung, work: Work) -> tuple[Tile, int]:
    """The rung's one tile; the pixels are split where they are the depth."""
    tile = rung.tiles[0]
    parts = parts_of(work.depth, tile.blocks(work.rows, work.columns)) if work.pass_name == "grad_weight" else 1
    return tile, parts


@dataclass(frozen=True)
class Rung:
    """The three passes by one `.cu` file.

    Attributes
    ----------
    name : str
        Of the file and of its kernel.
    tiles : tuple of Tile
    aligned : bool
        Channels come in multiples of `UNIT`, and w in the order of `filters.cu`; only float.
    extra : int
        How many arrays the kernel wants after `bias`: see `finish` in `fused`.
    plan : callable
        Chooses the tile, and into how many parts the depth is split.
    """

    name: str
    tiles: tuple[Tile, ...]
    aligned: bool = False
    extra: int = 0
    plan: Plan = one_tile

    def forward(self, x: Array, w: Array, b: Array | None, *, groups: int, **options: Any) -> Array:
        """y: (N, K, P, Q)."""
        return self.fused(x, w, b, **options)

    def fused(
        self, x: Array, w: Array, b: Array | None, residual: Array | None = None, relu: bool = False, **options: Any
    ) -> Array:
        """y = x * w + b, then + residual, then max(0, y): (N, K, P, Q). The last two if the rung has an `extra`."""
        k = w.shape[0]
        shape = n, _, _, c, k_full, r, s, p, q, *_ = self._shape(x.shape, w.shape, options)
        y = cuda.empty((n, p, q, k_full), x.dtype)
        work = Work("forward", n * p * q, k_full, r * s * c)
        extra = () if not self.extra else (None if residual is None else self._channels(residual),)
        bias = None if b is None else self._padded(cuda_kernels.contiguous(b))
        self._run(work, y, self._channels(x), self._filters(w, shape, "forward"), bias, extra, relu, shape)
        return cut(y, (n, p, q, k)).transpose(0, 3, 1, 2)

    def grad_input(self, dy: Array, w: Array, *, x_shape: Shape, groups: int, **options: Any) -> Array:
        """dx: (N, C, H, W)."""
        shape = n, h, width, c, k, r, s, *_ = self._shape(x_shape, w.shape, options)
        dx = cuda.empty((n, h, width, c), dy.dtype)
        taps = math.prod(tiles(size, step) for size, step in zip((r, s), options["stride"], strict=True))
        rows, remainders = n * largest_residue(x_shape, options), math.prod(options["stride"])
        work = Work("grad_input", rows, c, taps * k, remainders)
        filters = self._filters(w, shape, "grad_input")
        self._run(work, dx, self._channels(dy), filters, None, (None,) * self.extra, False, shape)
        return cut(dx, (n, h, width, x_shape[1])).transpose(0, 3, 1, 2)

    def grad_weight(self, dy: Array, x: Array, *, w_shape: Shape, groups: int, **options: Any) -> Array:
        """dw: (K, C, R, S)."""
        shape = n, _, _, c, k, r, s, p, q, *_ = self._shape(x.shape, w_shape, options)
        dw = cuda.empty((k, r, s, c), dy.dtype)
        work = Work("grad_weight", k, r * s * c, n * p * q)
        self._run(work, dw, self._channels(dy), self._channels(x), None, (None,) * self.extra, False, shape)
        return cut(dw, (w_shape[0], r, s, w_shape[1])).transpose(0, 3, 1, 2)

    def _run(
        self,
        work: Work,
        result: Array,
        a: Array,
        b: Array,
        bias: Array | None,
        extra: tuple[Array | None, ...],
        relu: bool,
        shape: tuple[int, ...],
    ) -> None:
        """Launch the kernel; where the depth is split, add the parts in their order and finish then."""
        tile, parts = self.plan(self, work)
        macros: dict[str, Any] = {"PASS": PASSES[work.pass_name], **dict(tile.macros)}
        if not self.aligned:
            macros["REAL"] = cuda_kernels.real(a)
        if self.extra:
            macros["RELU"] = int(relu and parts == 1)
        run = cuda_kernels.kernel(HERE / f"{self.name}.cu", self.name, **macros)
        grid = tile.blocks(work.rows, work.columns), 1, work.remainders * parts
        if parts == 1:
            run(grid, (tile.threads,), result, a, b, bias, *extra, *shape)
            return
        sums = cuda.empty((parts, *result.shape), result.dtype)
        run(grid, (tile.threads,), sums, a, b, None, *(None for _ in extra), *shape)
        if work.pass_name == "forward":
            finish = cuda_kernels.kernel(HERE / "conv_sums.cu", "finish_parts", REAL=cuda_kernels.real(result))
            residual = extra[0] if extra else None
            finish.over(result.size, result, sums, bias, residual, relu, work.columns, result.size, parts)
        else:
            sum_parts(sums, result)

    def _shape(self, x_shape: Shape, w_shape: Shape, options: dict[str, Any]) -> tuple[int, ...]:
        """What `CONV_SHAPE` lists, with the channels that the kernel sees."""
        n, h, width, c, k, *rest = shape_arguments(x_shape, w_shape, options)
        return n, h, width, self._full(c), self._full(k), *rest

    def _full(self, channels: int) -> int:
        return full(channels) if self.aligned else channels

    def _channels(self, x: Array) -> Array:
        """Images (N, C, H, W) as the kernel reads them: (N, H, W, C)."""
        return self._padded(cuda_kernels.channels_last(x))

    def _padded(self, x: Array) -> Array:
        return padded(x) if self.aligned else x

    def _filters(self, w: Array, shape: tuple[int, ...], pass_name: str) -> Array:
        """W as the kernel reads it: (K, R, S, C), or in the order of `filters.cu`."""
        last = cuda_kernels.channels_last(w)
        if not self.aligned:
            return last
        _, _, _, c, k, r, s, _, _, sh, sw, *_ = shape
        forward = pass_name == "forward"
        if forward:
            sh = sw = 1
        ordered = cuda.empty((sh * sw * tiles(r, sh) * tiles(s, sw) * k * c,), w.dtype)
        order = cuda_kernels.kernel(HERE / "filters.cu", "order_filters")
        grid = tiles(c, 32), tiles(k, 32), r * s
        order(grid, (256,), ordered, last, forward, w.shape[0], w.shape[1], k, c, r, s, sh, sw)
        return ordered


def full(channels: int) -> int:
    """The next multiple of `UNIT`."""
    return tiles(channels, UNIT) * UNIT


def padded(x: Array) -> Array:
    """x (..., C), with zeros to a multiple of `UNIT`; x itself if it is one."""
    c = x.shape[-1]
    if full(c) == c:
        return x
    y = cuda.empty((*x.shape[:-1], full(c)), x.dtype)
    pad = cuda_kernels.kernel(HERE / "filters.cu", "pad_channels")
    pad.over(y.size // UNIT, y, x, y.size // UNIT, c)
    return y


def cut(result: Array, shape: Shape) -> Array:
    """The first numbers of each axis, without the channels that were added."""
    return cuda_kernels.contiguous(result[tuple(slice(size) for size in shape)])


MOST_PIXELS = 2**15  # a side of an image with its padding: places are kept in 16 bits (conv_loads.cuh)


def supports_aligned(problem: Problem) -> str:
    """What the rungs take that fetch 16 bytes at a time."""
    rule = supports(problem)
    if rule:
        return rule
    if np.dtype(problem.dtype) != np.float32:
        return "numbers must be float32"
    shapes = [s for s in (*problem.shapes, problem.options.get("x_shape"), problem.options.get("w_shape")) if s]
    padding = problem.options.get("padding", (0, 0))
    if any(
        size + 2 * pad >= MOST_PIXELS for s in shapes if len(s) == 4 for size, pad in zip(s[2:], padding, strict=True)
    ):
        return f"a side of an image with its padding must have fewer than {MOST_PIXELS} pixels"
    sizes = [math.prod(s) // s[1] * (s[1] + UNIT) for s in shapes if len(s) == 4]
    return "" if all(size < 2**31 for size in sizes) else "arrays, padded, must have fewer than 2^31 numbers"
