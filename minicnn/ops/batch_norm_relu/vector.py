"""Batch normalisation, a sum and ReLU on `Images`: each number is fetched from memory once for all three.

Shapes: x, residual, y, dy, dz, dx: the `flat` of images (N, C, H, W), rows of W pixels of `channels` numbers; weight,
bias, mean, inv_std (C,), padded with zeros.

Backward, one sweep writes dz and sums what dx, dweight and dbias need, block by block as in `batch_norm.vector`; a
second makes dx from dz and x. dz is the gradient of the residual. Where nobody wants that, dz lies in the memory of dx,
which the second sweep overwrites.
"""

from __future__ import annotations

import numpy as np
from numba import literally, prange

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images, put
from minicnn.backends.jit import kernel
from minicnn.backends.scratch import Scratch
from minicnn.backends.simd import lanes, relu, vload, vstore, where_positive
from minicnn.ops.batch_norm import vector as batch_norm
from minicnn.ops.batch_norm.vector import add_blocks, scale_and_shift
from minicnn.ops.rows import block_count, block_rows, clear, geometry, is_small, pad, row_start, supports

__all__ = ["forward", "grad", "supports"]


def forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    residual: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    training: bool,
) -> Array:
    """y = relu(batch_norm(x) + residual)"""
    del training  # says where mean and var come from, which only the gradient has to know
    images = Images.of(x)
    y = images.like()
    table = scale_and_shift(images.channels, weight, bias, mean, var, eps)
    if residual is None:
        _forward(images.flat, geometry(images), table, y.flat)
    else:
        rest = Images.of(residual)  # has a name: the buffer of a copy is free for others once nobody holds it
        _forward_residual(images.flat, rest.flat, geometry(images), table, y.flat)
    return y.array


@kernel
def _forward(x, place, table, y):
    # y = relu((x - mean) * scale + bias); parallel over rows; inside: pixels, channels
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
            put(y, w + c, relu(scaled + vload(table, 2 * channels + c)))


@kernel
def _forward_residual(x, residual, place, table, y):
    # y = relu((x - mean) * scale + bias + residual); parallel over rows; inside: pixels, channels
    N, H = place[0], place[1]
    if is_small(place):
        for nh in range(N * H):
            _forward_residual_row(x, residual, place, table, y, nh)
    else:
        for nh in prange(N * H):
            _forward_residual_row(x, residual, place, table, y, nh)


@kernel(parallel=False)
def _forward_residual_row(x, residual, place, table, y, nh):
    # row nh of `_forward_residual`
    W, channels = place[2], place[3]
    at = row_start(place, nh)
    for w in range(at, at + W * channels, channels):
        for c in range(0, channels, lanes(x)):
            scaled = (vload(x, w + c) - vload(table, c)) * vload(table, channels + c)
            put(y, w + c, relu(scaled + vload(table, 2 * channels + c) + vload(residual, w + c)))


def grad(
    dy: Array,
    y: Array,
    x: Array | None,
    weight: Array | None,
    mean: Array | None,
    inv_std: Array | None,
    *,
    training: bool,
    needs: tuple[bool, bool, bool, bool],
) -> tuple[Array, ...]:
    """The wanted ones of dx, dweight, dbias and dresidual"""
    needs_x, needs_weight, needs_bias, needs_residual = needs
    with_sums = needs_weight or (needs_x and training)  # otherwise x may be missing
    gradient, outputs = Images.of(dy), Images.of(y)
    dz, many = outputs.like(), y.shape[1]
    result: list[Array] = []
    if with_sums:
        sums = _mask_and_sum(gradient, outputs, Images.of(x), mean, dz)
    else:
        _mask(gradient.flat, outputs.flat, geometry(dz), dz.flat)
        sums = None
    dbias = None
    if needs_bias:  # before dx overwrites dz
        dbias = batch_norm.grad_bias(dz.array) if sums is None else sums[0, :many].astype(dy.dtype)
    if needs_x:
        dx = dz.like() if needs_residual else dz
        if training:
            batch_norm.input_gradient(dz, Images.of(x), weight, mean, inv_std, sums, dx)
        else:
            batch_norm.scaled_gradient(dz, weight, inv_std, dx)
        result.append(dx.array)
    if needs_weight:
        result.append((sums[1, :many] * inv_std).astype(dy.dtype))
    if needs_bias:
        result.append(dbias)
    if needs_residual:
        result.append(dz.array)
    return tuple(result)


@kernel
def _mask(dy, y, place, dz):
    # dz = dy where y > 0, else 0; parallel over rows; inside: pixels and channels as one run
    N, H, W, channels = place[0], place[1], place[2], place[3]
    if is_small(place):
        for nh in range(N * H):
            _mask_row(dy, y, row_start(place, nh), W * channels, dz)
    else:
        for nh in prange(N * H):
            _mask_row(dy, y, row_start(place, nh), W * channels, dz)


@kernel(parallel=False)
def _mask_row(dy, y, at, many, dz):
    # dz = dy where y > 0 (or NaN), else 0, for the numbers of one row
    for i in range(at, at + many, lanes(y)):
        vstore(dz, i, where_positive(vload(y, i), vload(dy, i)))


def _mask_and_sum(dy: Images, y: Images, x: Images, mean: Array, dz: Images) -> Array:
    """Write dz, and return the sums of dz and of dz * (x - mean) of each channel: float64 (2, channels)."""
    place = geometry(dy)
    sums = np.zeros((2, dy.channels))
    with Scratch((1 + 2 * block_count(place)) * dy.channels, dy.flat.dtype) as work:
        rows = block_rows(place)
        _masked_sums(dy.flat, y.flat, x.flat, np.ascontiguousarray(mean), place, rows, work, dz.flat, sums)
    return sums


@kernel
def _masked_sums(dy, y, x, mean, place, rows, work, dz, sums):
    # dz = dy where y > 0, else 0; sums[0] = sum of dz, sums[1] = sum of dz * (x - mean)
    # parallel over blocks; inside: row (which stays in the cache between its two steps), pixels, channels
    N, H, channels = place[0], place[1], place[3]
    blocks = -(-N * H // rows)
    middle = 2 * blocks * channels
    pad(mean, channels, work, middle, 1)
    if is_small(place):
        for b in range(blocks):
            _block_sums(dy, y, x, place, rows, work, dz, b)
    else:
        for b in prange(blocks):
            _block_sums(dy, y, x, place, rows, work, dz, b)
    add_blocks(work, blocks, channels, sums)


@kernel(parallel=False)
def _block_sums(dy, y, x, place, rows, work, dz, b):
    # block b of `_masked_sums`
    N, H, W, channels = place[0], place[1], place[2], place[3]
    blocks = -(-N * H // rows)
    middle = 2 * blocks * channels
    i = 2 * b * channels
    clear(work, i, 2 * channels)
    for nh in range(b * rows, min((b + 1) * rows, N * H)):
        at = row_start(place, nh)
        for w in range(0, W - W % 4, 4):
            _mask_and_add(4, dy, y, x, at + w * channels, channels, dz, work, middle, i)
        for w in range(W - W % 4, W):
            _mask_and_add(1, dy, y, x, at + w * channels, channels, dz, work, middle, i)


@kernel(parallel=False)
def _mask_and_add(many, dy, y, x, at, channels, dz, work, middle, i):
    # for `many` pixels: dz = dy where y > 0, else 0; work[i + c] += dz, work[i + channels + c] += dz * (x - mean)
    literally(many)
    for c in range(0, channels, lanes(x)):
        mean, j = vload(work, middle + c), i + channels + c
        total, along = vload(work, i + c), vload(work, j)
        for pixel in range(many):
            place = at + pixel * channels + c
            d = where_positive(vload(y, place), vload(dy, place))
            put(dz, place, d)
            total = total + d
            along = along + d * (vload(x, place) - mean)
        vstore(work, i + c, total)
        vstore(work, j, along)
