"""Direct convolution in register tiles, channels last: any kernel, stride and padding, without a matrix of columns.

Shapes: x (N, C, H, W), w (K, C, R, S), y and dy (N, K, P, Q). `direct_kernels` says how a tile is computed. The images
are read in place if they have a halo that covers the padding (`Images`), else from a copy with the padding around it;
the copy also serves images of few channels (a photograph has 3), where spare channels would be most of the work.

- forward: y as above.
- grad_input, stride 1: the same convolution of dy, with kernels turned by 180 degrees. Stride s: the pixels of dx whose
  row and column leave the same remainders by s form an image of their own, which is dy convolved with every s-th row
  and column of the kernel: s*s convolutions of stride 1, which write every s-th pixel.
- grad_weight: a product over all pixels; a register tile holds some (r, s, c) times some k.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads as thread_count

from minicnn.backends.arrays import Array
from minicnn.backends.cpu import TILE, VECTOR_BYTES, lanes_of
from minicnn.backends.images import HALO, Images
from minicnn.backends.scratch import Scratch, aligned_zeros
from minicnn.ops.conv2d.direct_kernels import compact, kernels, pack, unpack
from minicnn.ops.conv2d.loops import grad_bias
from minicnn.ops.registry import Problem
from minicnn.ops.windows import Pair, output_size

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]

ROWS = (14, 8, 7, 4, 2, 1) if TILE[0] >= 8 else (6, 4, 2, 1)  # heights of register tiles; each is compiled when needed
GRAD_ROWS = 4 if TILE[0] % 4 else 8
SUMS_BYTES = 2**20, 2**18  # of dw: if a thread's share is more, it is cut into parts of this size
PANEL_BYTES = 28 * 2**10  # of dy, which stays in the first-level cache in grad_weight
BLOCK_BYTES = 2**17  # of the images that one unit of work reads again and again


def supports(problem: Problem) -> str:
    """No groups; for grad_input no dilation with a stride."""
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    if problem.dtype not in (np.float32, np.float64):
        return "dtype must be float32 or float64"
    if problem.pass_name == "grad_bias":
        return ""
    options = problem.options
    if options["groups"] != 1:
        return "groups must be 1"
    if problem.pass_name == "grad_input" and options["stride"] != (1, 1) and options["dilation"] != (1, 1):
        return "stride or dilation must be 1 in grad_input"
    return ""


class Source(NamedTuple):
    """Images as the kernels read them: numbers of `flat` from pixel to pixel, row to row, image to image."""

    flat: np.ndarray
    origin: int  # of the first pixel, padding not included
    pixel: int
    row: int
    image: int


def read(x: Array, stack: ExitStack, before: Pair, after: Pair) -> Source:
    """x with at least `before` and `after` rows and columns of zeros around it: in place, or a compact copy.

    The copy lives in a `Scratch` until the stack is closed.
    """
    n, c, height, width = x.shape
    images = Images.behind(x)
    if images is not None and c == images.channels and max(before) <= HALO:
        covered = height + after[0] <= images.rows - HALO and width + after[1] <= images.columns - HALO
        if covered:
            return Source(images.flat, images.origin, images.channels, images.row, images.image)
    top, left = (max(0, size) for size in before)
    rows, columns = height + top + max(0, after[0]), width + left + max(0, after[1])
    size = n * rows * columns * c
    flat = stack.enter_context(Scratch(size + 64, x.dtype))  # a tile may read past the last run
    compact(x, flat[: size + 64], top, left, rows, columns)
    return Source(flat, (top * columns + left) * c, c, columns * c, rows * columns * c)


def forward(x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """y[n,k,p,q] = b[k] + sum_{r,s,c} x[n, c, p*stride + r*dilation - padding, ...] w[k,c,r,s]"""
    return convolve(x, w, b, None, False, stride=stride, padding=padding, dilation=dilation).array


def convolve(
    x: Array, w: Array, b: Array | None, residual: Images | None, relu: bool, *, stride: Pair, padding: Pair,
    dilation: Pair, kept: dict[Layout, np.ndarray] | None = None,
) -> Images:  # fmt: skip
    """relu?(x * w + b + residual?); packed weights are put into `kept`, and taken from there the next time."""
    out = [output_size(x.shape[2 + a], w.shape[2 + a], stride[a], padding[a], dilation[a]) for a in (0, 1)]
    y = Images((x.shape[0], w.shape[0], *out), x.dtype)
    after = (
        (out[0] - 1) * stride[0] + dilation[0] * (w.shape[2] - 1) - padding[0] + 1 - x.shape[2],
        (out[1] - 1) * stride[1] + dilation[1] * (w.shape[3] - 1) - padding[1] + 1 - x.shape[3],
    )
    window = Window(w.shape[2:], (-padding[0], -padding[1]), stride, dilation)
    place = (y.origin, y.image, y.row, y.channels)
    with ExitStack() as stack:
        source = read(x, stack, padding, after)
        size, layout = packed_layout(w.shape[0], w.shape[1], source.pixel, window, x.dtype)
        packed = None if kept is None else kept.get(layout)
        if packed is None:
            packed = stack.enter_context(Scratch(size, x.dtype)) if kept is None else aligned_zeros(size, x.dtype)
            pack_weights(w, packed, layout, False, (0, 0), (1, 1))
            if kept is not None:
                kept[layout] = packed
        run(source, packed, layout, padded_bias(b, y), residual, relu, y, place, (out[0], out[1]), window)
    return y


class Window(NamedTuple):
    """How windows lie on the images: size of the kernel, place of the first tap for output (0, 0), steps."""

    size: tuple[int, ...]
    first: Pair
    stride: Pair
    dilation: Pair


class Layout(NamedTuple):
    """How weights are packed: vectors in a panel, output channels in whole panels, input channels, and the runs."""

    vectors: int
    outputs: int
    inputs: int
    kernel: tuple[int, int]
    broken: int  # runs in one row of the window: 1, or S where a dilation breaks it
    run: int


def packed_layout(k: int, c: int, pixel: int, window: Window, dtype: Any) -> tuple[int, Layout]:
    """Size and layout of packed weights for images with `pixel` numbers from one pixel to the next."""
    outputs = -(-k // 16) * 16
    vectors = 1 if outputs % (2 * lanes_of(dtype)) else 2
    height, width = window.size
    broken = 1 if window.dilation[1] == 1 else width
    layout = Layout(vectors, outputs, pixel, (height, width), broken, width // broken * pixel)
    return outputs * height * width * pixel, layout


def pack_weights(w: Array, packed: np.ndarray, layout: Layout, adjoint: bool, first: Pair, step: Pair) -> None:
    """Weights in panels; taps first, first + step, ... of each axis; `adjoint`: input and output channels exchanged."""
    w = np.ascontiguousarray(w)
    k, c, height, width = w.shape
    steps = (c * height * width, height * width)
    if adjoint:
        k, c, steps = c, k, steps[::-1]
    taps = (first[0], step[0], layout.kernel[0], first[1], step[1], layout.kernel[1])
    wide = layout.vectors * lanes_of(w.dtype)
    pack(w.reshape(-1), packed, layout.outputs, wide, layout.inputs, *steps, *taps, k, c, width)


def run(
    source: Source, packed: np.ndarray, layout: Layout, bias: np.ndarray, residual: Images | None, relu: bool,
    y: Images, place: tuple[int, int, int, int], out: tuple[int, ...], window: Window,
) -> None:  # fmt: skip
    """Convolve into y; place: (origin, image, row, pixel) of the pixels of y that are written."""
    p, q = out
    rows = tile_rows(q)
    start = source.origin + window.first[0] * source.row + window.first[1] * source.pixel
    xs = (start, source.image, window.stride[0] * source.row, window.stride[1] * source.pixel)
    steps = (window.dilation[0] * source.row, window.dilation[1] * source.pixel)
    n = y.shape[0]
    row_bytes = max(1, window.stride[0] * source.row * source.flat.itemsize)
    block = -(-p // -(-p // max(1, min(p, BLOCK_BYTES // row_bytes))))  # blocks of equal size
    outside = layout.outputs * layout.kernel[0] * layout.kernel[1] * layout.inputs > n * source.image
    rest = y.flat[:0] if residual is None else residual.flat
    kernels(rows, layout.vectors).forward(
        source.flat, packed, bias, rest, y.flat, n, p, q, layout.outputs, layout.kernel[0], layout.broken, layout.run,
        xs, steps, place, block, outside, relu,
    )  # fmt: skip


def tile_rows(q: int) -> int:
    """Height of the register tile that computes rows of q pixels with the least work; below 4 it waits for itself."""
    return min((rows for rows in ROWS if rows <= q), key=lambda rows: -(-q // rows) * max(rows, 4))


def padded_bias(b: Array | None, y: Images) -> np.ndarray:
    """The bias with zeros for spare channels."""
    bias = np.zeros(y.channels, y.flat.dtype)
    if b is not None:
        bias[: len(b)] = b
    return bias


def grad_input(
    dy: Array, w: Array, *, x_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dx[n,c,h,w] = sum_{k,r,s} dy[n,k,p,q] w[k,c,r,s] over p*stride = h + padding - r*dilation, q alike"""
    axes = [[_remainder(a, i, x_shape, w.shape, stride, padding, dilation) for i in range(stride[a])] for a in (0, 1)]
    parts = [(v, h) for v in axes[0] for h in axes[1] if v.many and h.many]
    used = [(v, h) for v, h in parts if v.taps and h.taps]
    before = [max([0, *(-part[a].start for part in used)]) for a in (0, 1)]
    after = [
        max([0, *(p[a].start + p[a].many - 1 + dilation[a] * (p[a].taps - 1) + 1 - dy.shape[2 + a] for p in used)])
        for a in (0, 1)
    ]
    dx = Images(x_shape, dy.dtype)
    bias = np.zeros(dx.channels, dy.dtype)
    if len(used) < len(parts):
        dx.clear()
    with ExitStack() as stack:
        source = read(dy, stack, (before[0], before[1]), (after[0], after[1]))
        for v, h in used:
            window = Window((v.taps, h.taps), (v.start, h.start), (1, 1), dilation)
            size, layout = packed_layout(x_shape[1], w.shape[0], source.pixel, window, dy.dtype)
            place = (
                dx.origin + v.first * dx.row + h.first * dx.channels,
                dx.image,
                stride[0] * dx.row,
                stride[1] * dx.channels,
            )
            with Scratch(size, dy.dtype) as packed:
                pack_weights(w, packed, layout, True, (v.last, h.last), (-stride[0], -stride[1]))
                run(source, packed, layout, bias, None, False, dx, place, (v.many, h.many), window)
    return dx.array


class Remainder(NamedTuple):
    """Along one axis: the pixels `first`, first + stride, ... (`many` of them) of dx, and what they are made of."""

    first: int
    many: int
    taps: int
    last: int  # the last tap of the kernel that takes part; then every stride-th before it
    start: int  # pixel of dy under that tap, for the first pixel


def _remainder(
    axis: int, i: int, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair
) -> Remainder:
    """dx[first + s j] = sum_t w[last - s t] dy[start + j + t]; with a dilation (then s = 1) steps of t are longer."""
    size, kernel, s, pad, d = (v[axis] for v in (x_shape[2:], w_shape[2:], stride, padding, dilation))
    first = (i - pad) % s  # pixels h with (h + padding) % s == i
    taps = len(range(i, kernel, s))
    last = i + s * (taps - 1)
    return Remainder(first, len(range(first, size, s)), taps, last, (first + pad - last * d) // s)


def grad_weight(
    dy: Array, x: Array, *, w_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dw[k,c,r,s] = sum_{n,p,q} dy[n,k,p,q] x[n, c, p*stride + r*dilation - padding, ...]"""
    out = dy.shape[2:]
    after = [
        max(0, (out[a] - 1) * stride[a] + dilation[a] * (w_shape[2 + a] - 1) - padding[a] + 1 - x.shape[2 + a])
        for a in (0, 1)
    ]
    k, c, height, width = w_shape
    with ExitStack() as stack:
        source, gradient = read(x, stack, padding, (after[0], after[1])), Images.of(dy)
        window = Window((height, width), (-padding[0], -padding[1]), stride, dilation)
        _, layout = packed_layout(k, c, source.pixel, window, x.dtype)
        outputs, whole = layout.outputs, -(-layout.run // GRAD_ROWS) * GRAD_ROWS
        rows = height * layout.broken * whole
        with Scratch(rows * outputs, x.dtype) as sums:
            start = source.origin - padding[0] * source.row - padding[1] * source.pixel
            xs = (start, source.image, stride[0] * source.row, stride[1] * source.pixel)
            steps = (dilation[0] * source.row, dilation[1] * source.pixel)
            ys = (gradient.origin, gradient.image, gradient.row, gradient.channels)
            parts, mine = thread_count(), rows * outputs * x.dtype.itemsize // thread_count()
            if mine > SUMS_BYTES[0]:
                parts *= -(-mine // SUMS_BYTES[1])
            pixels = PANEL_BYTES // (layout.vectors * VECTOR_BYTES)
            block = max(1, min(out[0], BLOCK_BYTES // (xs[2] * x.dtype.itemsize), pixels // max(1, out[1])))
            kernels(GRAD_ROWS, layout.vectors).grad_weight(
                source.flat, gradient.flat, sums, x.shape[0], *out, outputs, height, layout.broken, whole,
                xs, steps, ys, block, parts,
            )  # fmt: skip
            grad = np.empty(w_shape, x.dtype)
            unpack(sums, grad, height, width, layout.run, whole, source.pixel, outputs)
            return grad
