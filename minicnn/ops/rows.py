"""Rows of images: what the kernels share that stream through `Images` once, at the speed of memory.

A kernel takes the memory `flat` and seven whole numbers, `geometry(images)`. All images of one shape and dtype have the
same ones. A row of W pixels is one run of `W * channels` numbers that begins at `row_start(geometry, nh)`, where nh
counts the rows of all images. Sums over rows are taken in *blocks* of `block_rows(geometry)` rows: few enough numbers
to stay in a core's cache for a second sweep, and fixed by the shape alone, so that the number of threads does not
change a bit of the result.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.images import Images
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, vload, vloads, vstore, vzero
from minicnn.ops.lines import supports as supports_lines
from minicnn.ops.registry import Problem

BLOCK = 1 << 14  # numbers of a block (64 kB of float32), if a row has no more
SMALL = 1 << 17  # numbers; with fewer, the calling thread does all
Geometry = tuple[int, int, int, int, int, int, int]


def supports(problem: Problem) -> str:
    """For algorithms on `Images`: four axes, float32 or float64."""
    shape = problem.shapes[0]
    if shape is not None and len(shape) != 4:
        return "x must have 4 axes"
    return supports_lines(problem)


def geometry(images: Images) -> Geometry:
    """(N, H, W, channels, row, image, origin), see `Images`."""
    n, _, h, w = images.shape
    return n, h, w, images.channels, images.row, images.image, images.origin


def block_rows(place: Geometry) -> int:
    """Rows of a block."""
    return max(1, BLOCK // (place[2] * place[3]))


def block_count(place: Geometry) -> int:
    """Blocks of all images together; the last one may be shorter."""
    return -(-place[0] * place[1] // block_rows(place))


def vector(v: np.ndarray | None, like: np.ndarray, default: float) -> np.ndarray:
    """A (C,) vector, contiguous; where there is none, one like `like` full of `default`."""
    return np.full(like.shape, default, like.dtype) if v is None else np.ascontiguousarray(v)


@kernel(parallel=False)
def is_small(place):
    """Whether the images are too few for threads to help: to wake them takes longer than the work."""
    return place[0] * place[1] * place[2] * place[3] <= SMALL


@kernel(parallel=False)
def row_start(place, nh):
    """Position in `flat` of row nh % H of image nh // H."""
    return nh // place[1] * place[5] + nh % place[1] * place[4] + place[6]


@kernel(parallel=False)
def clear(a, i, many):
    """a[i : i + many] = 0, many in whole vectors."""
    for c in range(i, i + many, lanes(a)):
        vstore(a, c, vzero(a))


@kernel(parallel=False)
def pad(v, channels, a, i, factor):
    """a[i + c] = factor * v[c], and zero for the spare channels."""
    for c in range(channels):
        a[i + c] = factor * v[c] if c < v.size else 0


@kernel(parallel=False)
def add_row(x, at, W, channels, sums, i):
    """sums[i + c] += x[at + w channels + c], summed over w; four pixels at a time, to touch the sums less."""
    for w in range(0, W - W % 4, 4):
        for c in range(0, channels, lanes(x)):
            p, q, r, s = vloads(4, x, at + w * channels + c, channels)
            vstore(sums, i + c, vload(sums, i + c) + ((p + q) + (r + s)))
    for w in range(W - W % 4, W):
        for c in range(0, channels, lanes(x)):
            vstore(sums, i + c, vload(sums, i + c) + vload(x, at + w * channels + c))
