"""Batch normalisation on `Images`, at the speed of memory: vectors over channels, each array read as rarely as can be.

Shapes: x, y, dy, dx: the `flat` of images (N, C, H, W), rows of W pixels of `channels` numbers; weight, bias, mean,
inv_std (C,). Spare channels are zero and stay so, since all vectors are padded with zeros.

Sums run over blocks of rows (`minicnn.ops.rows`): within a block in the arrays' own dtype, the blocks together in
float64 and in order. The mean and the sum of squared differences of a block take two sweeps over it, of which the
second finds it in the cache. Blocks with counts m, n, means a, b and sums of squares s, t become one (Chan)::

    mean = a + (b - a) n / (m + n)        squares = s + t + (b - a)^2 m n / (m + n)
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images, put
from minicnn.backends.jit import kernel
from minicnn.backends.scratch import Scratch
from minicnn.backends.simd import lanes, vload, vloads, vstore
from minicnn.ops.batch_norm.formula import inverse_std
from minicnn.ops.rows import (
    add_row,
    block_count,
    block_rows,
    clear,
    geometry,
    is_small,
    pad,
    row_start,
    supports,
    vector,
)

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "statistics", "supports"]


# ---- statistics -----------------------------------------------------------------------------------------------------


def statistics(x: Array) -> tuple[Array, Array]:
    """mean[c] = mean of x[:,c], var[c] = mean of (x[:,c] - mean[c])^2, in one pass over memory"""
    images = Images.of(x)
    place = geometry(images)
    found = np.zeros((2, images.channels))
    with Scratch(3 * block_count(place) * images.channels, x.dtype) as work:
        _statistics(images.flat, place, block_rows(place), work, found)
    mean, var = found[:, : x.shape[1]].astype(x.dtype)
    return mean, var


@kernel
def _statistics(x, place, rows, work, found):
    # work[3 b + 0, 1, 2]: mean of block b, and the sums of x - mean and of (x - mean)^2 over it. The first of these
    # sums would be zero without rounding; it corrects the mean.
    # parallel over blocks; inside: sweep, row, four pixels, channels
    N, H = place[0], place[1]
    if is_small(place):
        for b in range(-(-N * H // rows)):
            _block_statistics(x, place, rows, work, b)
    else:
        for b in prange(-(-N * H // rows)):
            _block_statistics(x, place, rows, work, b)
    _merge(place, rows, work, found)


@kernel(parallel=False)
def _block_statistics(x, place, rows, work, b):
    # block b of `_statistics`
    N, H, W, channels = place[0], place[1], place[2], place[3]
    first, last, at = b * rows, min((b + 1) * rows, N * H), 3 * b * channels
    clear(work, at, 3 * channels)
    for nh in range(first, last):
        add_row(x, row_start(place, nh), W, channels, work, at)
    pad(work[at : at + channels], channels, work, at, 1 / ((last - first) * W))
    for nh in range(first, last):
        _add_deviations(x, row_start(place, nh), W, channels, work, at)


@kernel(parallel=False)
def _add_deviations(x, at, W, channels, work, i):
    # work[1] += x - work[0] and work[2] += (x - work[0])^2, summed over the pixels of one row
    for w in range(0, W - W % 4, 4):
        for c in range(0, channels, lanes(x)):
            mean, j, k = vload(work, i + c), i + channels + c, i + 2 * channels + c
            p, q, r, s = vloads(4, x, at + w * channels + c, channels)
            p, q, r, s = p - mean, q - mean, r - mean, s - mean
            vstore(work, j, vload(work, j) + ((p + q) + (r + s)))
            vstore(work, k, vload(work, k) + ((p * p + q * q) + (r * r + s * s)))
    for w in range(W - W % 4, W):
        for c in range(0, channels, lanes(x)):
            j, k = i + channels + c, i + 2 * channels + c
            p = vload(x, at + w * channels + c) - vload(work, i + c)
            vstore(work, j, vload(work, j) + p)
            vstore(work, k, vload(work, k) + p * p)


@kernel(parallel=False)
def _merge(place, rows, work, found):
    # found[0] = mean, found[1] = var, from the blocks in order, by Chan's formula; inside: channels
    N, H, W, channels = place[0], place[1], place[2], place[3]
    count = 0
    for b in range(-(-N * H // rows)):
        size = (min((b + 1) * rows, N * H) - b * rows) * W
        share = size / (count + size)
        for c in range(channels):
            at = 3 * b * channels + c
            off = work[at + channels] / size
            step = work[at] + off - found[0, c]
            found[0, c] += step * share
            found[1, c] += work[at + 2 * channels] - off * off * size + step * step * (count * share)
        count += size
    for c in range(channels):
        found[1, c] /= count


# ---- forward --------------------------------------------------------------------------------------------------------


def forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, *, eps: float, training: bool
) -> Array:
    """y = weight * x_hat + bias, x_hat = (x - mean) / sqrt(var + eps); the same in training and evaluation"""
    del training  # says where mean and var come from, which only the gradient has to know
    images = Images.of(x)
    y = images.like()
    table = scale_and_shift(images.channels, weight, bias, mean, var, eps)
    _forward(images.flat, geometry(images), table, y.flat)
    return y.array


def scale_and_shift(
    channels: int, weight: Array | None, bias: Array | None, mean: Array, var: Array, eps: float
) -> Array:
    """Three runs of `channels` numbers, padded with zeros: mean, weight / sqrt(var + eps) and bias."""
    table = np.zeros((3, channels), mean.dtype)
    many = mean.size
    table[0, :many] = mean
    table[1, :many] = inverse_std(var, eps) if weight is None else inverse_std(var, eps) * weight
    if bias is not None:
        table[2, :many] = bias
    return table.reshape(-1)


@kernel
def _forward(x, place, table, y):
    # y = (x - mean) * scale + bias; parallel over rows; inside: pixels, channels
    N, H = place[0], place[1]
    if is_small(place):
        for nh in range(N * H):
            _forward_row(x, place, table, y, nh)
    else:
        for nh in prange(N * H):
            _forward_row(x, place, table, y, nh)


@kernel(parallel=False)
def _forward_row(x, place, table, y, nh):
    # row nh of `_forward`
    W, channels = place[2], place[3]
    at = row_start(place, nh)
    for w in range(at, at + W * channels, channels):
        for c in range(0, channels, lanes(x)):
            scaled = (vload(x, w + c) - vload(table, c)) * vload(table, channels + c)
            put(y, w + c, scaled + vload(table, 2 * channels + c))


# ---- gradients ------------------------------------------------------------------------------------------------------


def grad_input(
    dy: Array, x: Array | None, weight: Array | None, mean: Array | None, inv_std: Array, *, training: bool
) -> Array:
    """dx = inv_std * weight * (dy - mean(dy) - x_hat * mean(dy * x_hat)); in evaluation only the term of dy"""
    images = Images.of(dy)
    dx = images.like()
    if training:
        sums = gradient_sums(images, Images.of(x), mean)
        input_gradient(images, Images.of(x), weight, mean, inv_std, sums, dx)
    else:
        scaled_gradient(images, weight, inv_std, dx)
    return dx.array


def grad_weight(dy: Array, x: Array, mean: Array, inv_std: Array) -> Array:
    """dweight[c] = sum of dy[:,c] * x_hat[:,c]"""
    sums = gradient_sums(Images.of(dy), Images.of(x), mean)
    return (sums[1, : mean.size] * inv_std).astype(dy.dtype)


def grad_bias(dy: Array) -> Array:
    """dbias[c] = sum of dy[:,c]"""
    images = Images.of(dy)
    place = geometry(images)
    sums = np.zeros((1, images.channels))
    with Scratch(block_count(place) * images.channels, dy.dtype) as work:
        _plain_sums(images.flat, place, block_rows(place), work, sums)
    return sums[0, : dy.shape[1]].astype(dy.dtype)


@kernel
def _plain_sums(dy, place, rows, work, sums):
    # sums[0] = sum of dy; parallel over blocks; inside: row, four pixels, channels
    N, H, channels = place[0], place[1], place[3]
    blocks = -(-N * H // rows)
    if is_small(place):
        for b in range(blocks):
            _block_sums(dy, place, rows, work, b)
    else:
        for b in prange(blocks):
            _block_sums(dy, place, rows, work, b)
    add_blocks(work, blocks, channels, sums)


@kernel(parallel=False)
def _block_sums(dy, place, rows, work, b):
    # block b of `_plain_sums`
    N, H, W, channels = place[0], place[1], place[2], place[3]
    clear(work, b * channels, channels)
    for nh in range(b * rows, min((b + 1) * rows, N * H)):
        add_row(dy, row_start(place, nh), W, channels, work, b * channels)


@kernel(parallel=False)
def add_blocks(work, blocks, channels, sums):
    # sums[k, c] = the sum over blocks b, in order, of work[b, k, c]
    many = sums.shape[0]
    for b in range(blocks):
        for k in range(many):
            for c in range(channels):
                sums[k, c] += work[(b * many + k) * channels + c]


def gradient_sums(dy: Images, x: Images, mean: Array) -> Array:
    """The sums of dy and of dy * (x - mean) of each channel: float64 (2, channels)."""
    place = geometry(dy)
    sums = np.zeros((2, dy.channels))
    with Scratch((1 + 2 * block_count(place)) * dy.channels, dy.flat.dtype) as work:
        _gradient_sums(dy.flat, x.flat, np.ascontiguousarray(mean), place, block_rows(place), work, sums)
    return sums


@kernel
def _gradient_sums(dy, x, mean, place, rows, work, sums):
    # work: block b's sums of dy and of dy * (x - mean); after the blocks the mean, padded
    # parallel over blocks; inside: row, pixels, channels
    N, H, channels = place[0], place[1], place[3]
    blocks = -(-N * H // rows)
    middle = 2 * blocks * channels
    pad(mean, channels, work, middle, 1)
    if is_small(place):
        for b in range(blocks):
            _block_products(dy, x, place, rows, work, b)
    else:
        for b in prange(blocks):
            _block_products(dy, x, place, rows, work, b)
    add_blocks(work, blocks, channels, sums)


@kernel(parallel=False)
def _block_products(dy, x, place, rows, work, b):
    # block b of `_gradient_sums`
    N, H, W, channels = place[0], place[1], place[2], place[3]
    blocks = -(-N * H // rows)
    middle = 2 * blocks * channels
    i = 2 * b * channels
    clear(work, i, 2 * channels)
    for nh in range(b * rows, min((b + 1) * rows, N * H)):
        add_products(dy, x, row_start(place, nh), W, channels, work, middle, i)


@kernel(parallel=False)
def add_products(dy, x, at, W, channels, work, middle, i):
    # work[i + c] += dy and work[i + channels + c] += dy * (x - mean), summed over the pixels of one row
    for w in range(0, W - W % 4, 4):
        for c in range(0, channels, lanes(x)):
            mean, j = vload(work, middle + c), i + channels + c
            p, q, r, s = vloads(4, x, at + w * channels + c, channels)
            d, e, f, g = vloads(4, dy, at + w * channels + c, channels)
            vstore(work, i + c, vload(work, i + c) + ((d + e) + (f + g)))
            sums = (d * (p - mean) + e * (q - mean)) + (f * (r - mean) + g * (s - mean))
            vstore(work, j, vload(work, j) + sums)
    for w in range(W - W % 4, W):
        for c in range(0, channels, lanes(x)):
            j, d = i + channels + c, vload(dy, at + w * channels + c)
            vstore(work, i + c, vload(work, i + c) + d)
            vstore(work, j, vload(work, j) + d * (vload(x, at + w * channels + c) - vload(work, middle + c)))


def input_gradient(
    dy: Images, x: Images, weight: Array | None, mean: Array, inv_std: Array, sums: Array, dx: Images
) -> None:
    """Write dx, in training, from the `gradient_sums`; dx may be dy itself."""
    n, c, h, w = dy.shape
    inv_std = np.ascontiguousarray(inv_std)
    table = np.zeros((4, dy.channels), dy.flat.dtype)
    mean_dy, mean_dy_x_hat = sums[:, :c] / max(1, n * h * w)  # the second still without its inv_std
    table[0, :c] = mean
    table[1, :c] = inv_std * vector(weight, inv_std, 1)
    table[2, :c] = mean_dy
    table[3, :c] = inv_std * inv_std * mean_dy_x_hat
    _input_gradient(dy.flat, x.flat, geometry(dy), table.reshape(-1), dx.flat)


@kernel
def _input_gradient(dy, x, place, table, dx):
    # dx = scale * (dy - mean_dy - (x - mean) * (mean_dy_x_hat inv_std)); parallel over rows; inside: pixels, channels
    N, H = place[0], place[1]
    if is_small(place):
        for nh in range(N * H):
            _input_gradient_row(dy, x, place, table, dx, nh)
    else:
        for nh in prange(N * H):
            _input_gradient_row(dy, x, place, table, dx, nh)


@kernel(parallel=False)
def _input_gradient_row(dy, x, place, table, dx, nh):
    # row nh of `_input_gradient`
    W, channels = place[2], place[3]
    at = row_start(place, nh)
    for w in range(at, at + W * channels, channels):
        for c in range(0, channels, lanes(x)):
            centred = vload(dy, w + c) - vload(table, 2 * channels + c)
            along = (vload(x, w + c) - vload(table, c)) * vload(table, 3 * channels + c)
            vstore(dx, w + c, vload(table, channels + c) * (centred - along))


def scaled_gradient(dy: Images, weight: Array | None, inv_std: Array, dx: Images) -> None:
    """Write dx = inv_std * weight * dy, the gradient in evaluation; dx may be dy itself."""
    table = np.zeros(dy.channels, dy.flat.dtype)
    table[: inv_std.size] = inv_std * vector(weight, inv_std, 1)
    _scaled_gradient(dy.flat, geometry(dy), table, dx.flat)


@kernel
def _scaled_gradient(dy, place, scale, dx):
    # dx = scale * dy; parallel over rows; inside: pixels, channels
    N, H = place[0], place[1]
    if is_small(place):
        for nh in range(N * H):
            _scaled_row(dy, place, scale, dx, nh)
    else:
        for nh in prange(N * H):
            _scaled_row(dy, place, scale, dx, nh)


@kernel(parallel=False)
def _scaled_row(dy, place, scale, dx, nh):
    # row nh of `_scaled_gradient`
    W, channels = place[2], place[3]
    at = row_start(place, nh)
    for w in range(at, at + W * channels, channels):
        for c in range(0, channels, lanes(dy)):
            vstore(dx, w + c, vload(scale, c) * vload(dy, w + c))
