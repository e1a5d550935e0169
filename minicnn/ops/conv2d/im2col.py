"""Convolution as one matrix product: the windows become the columns of a matrix, the kernels the rows of another.

Shapes: x (N, C, H, W), w (K, C/G, R, S), y and dy (N, K, P, Q); columns (C/G*R*S, pixels), where the pixels are all
(n, p, q) in order. With W = w.reshape(K, C/G*R*S)::

    y  = W @ columns        dW = dy @ columns^T        dcolumns = W^T @ dy, and each dx[n,c,h,w] sums its copies

The whole matrix would hold each pixel R*S times (231 MB for one layer of ResNet-18 at batch 32), so it is made and
used in blocks of pixels that stay in the cache. Blocks are cut by the problem, never by the number of threads, and
each image's gradient belongs to one thread: all sums have one order, whatever the threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.conv2d.loops import grad_bias, supports
from minicnn.ops.matmul.blocked import add_product
from minicnn.ops.windows import Pair, output_size, pad

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]

PIXELS = 256  # columns a block: with C*R*S = 576 rows of float32 a block has 590 kB
PARTS = 8  # partial sums of dw, added in order


def forward(x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """y = W @ columns + b"""
    out = [output_size(x.shape[2 + a], w.shape[2 + a], stride[a], padding[a], dilation[a]) for a in (0, 1)]
    y = np.empty((x.shape[0], w.shape[0], *out), x.dtype)
    b = np.zeros(w.shape[0], x.dtype) if b is None else np.ascontiguousarray(b)
    _forward(pad(x, padding), np.ascontiguousarray(w), b, y, *stride, *dilation, groups, PIXELS)
    return y


@kernel(parallel=False)
def _columns(xp, c0, R, S, P, Q, sh, sw, dh, dw, first, columns):
    # columns[(c,r,s), j] = xp[n, c0 + c, p*stride + r*dilation, q*stride + s*dilation] with (n, p, q) = pixel first + j
    # loop order: (c, r, s), then the pixels in runs of one output row, which read one image row
    size = columns.shape[1]
    for row in range(columns.shape[0]):
        c, r, s = c0 + row // (R * S), row // S % R, row % S
        n, p, q = first // (P * Q), first // Q % P, first % Q
        into = columns[row]
        j = 0
        while j < size:
            run = min(Q - q, size - j)
            line = xp[n, c, p * sh + r * dh]
            left = q * sw + s * dw
            if sw == 1:  # a plain copy, which the compiler makes with vectors
                for i in range(run):
                    into[j + i] = line[left + i]
            else:
                for i in range(run):
                    into[j + i] = line[left + i * sw]
            j += run
            n, p, q = _next_row(n, p, P)


@kernel(parallel=False)
def _next_row(n, p, P):
    # the start (n, p, q) of the output row after row p of image n
    if p + 1 < P:
        return n, p + 1, 0
    return n + 1, 0, 0


@kernel(parallel=False)
def _windows(xp, c0, S, P, Q, sh, sw, dh, dw, first, windows):
    # windows[j, (c,r,s)] = columns[(c,r,s), j]: the same matrix transposed; loop order: pixels, then c, r, s
    n, p, q = first // (P * Q), first // Q % P, first % Q
    R = windows.shape[2] // S
    for j in range(windows.shape[0]):
        for c in range(windows.shape[1]):
            for r in range(R):
                line = xp[n, c0 + c, p * sh + r * dh]
                for s in range(S):
                    windows[j, c, r * S + s] = line[q * sw + s * dw]
        q += 1
        if q == Q:
            n, p, q = _next_row(n, p, P)


@kernel(parallel=False)
def _take_pixels(images, k0, first, rows):
    # rows[k, j] = images[n, k0 + k, pq] with (n, pq) = pixel first + j
    # loop order: k, then the pixels in runs of one image
    size, PQ = rows.shape[1], images.shape[2]
    for k in range(rows.shape[0]):
        n, start = first // PQ, first % PQ
        row = rows[k]
        j = 0
        while j < size:
            run = min(PQ - start, size - j)
            image = images[n, k0 + k]
            for i in range(run):
                row[j + i] = image[start + i]
            j += run
            n, start = n + 1, 0


@kernel(parallel=False)
def _put_pixels(rows, images, k0, first):
    # images[n, k0 + k, pq] = rows[k, j]: the way back (a function of its own, since images to read may be read-only)
    size, PQ = rows.shape[1], images.shape[2]
    for k in range(rows.shape[0]):
        n, start = first // PQ, first % PQ
        row = rows[k]
        j = 0
        while j < size:
            run = min(PQ - start, size - j)
            image = images[n, k0 + k]
            for i in range(run):
                image[start + i] = row[j + i]
            j += run
            n, start = n + 1, 0


@kernel
def _forward(xp, w, b, y, sh, sw, dh, dw, groups, pixels):
    # parallel over blocks of pixels; inside: groups, then one product (K/G, C/G*R*S) @ (C/G*R*S, pixels of the block)
    N, K, P, Q = y.shape
    _, C, R, S = w.shape
    KG = K // groups
    total = N * P * Q
    for block in prange((total + pixels - 1) // pixels):
        first = block * pixels
        size = min(pixels, total - first)
        columns = np.empty((C * R * S, size), y.dtype)
        product = np.empty((KG, size), y.dtype)
        for g in range(groups):
            _columns(xp, g * C, R, S, P, Q, sh, sw, dh, dw, first, columns)
            for k in range(KG):
                product[k, :] = b[g * KG + k]
            add_product(w[g * KG : (g + 1) * KG].reshape(KG, C * R * S), columns, product)
            _put_pixels(product, y.reshape(N, K, P * Q), g * KG, first)


def grad_input(
    dy: Array, w: Array, *, x_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dcolumns = W^T @ dy; dx[n,c,h,w] = sum of the entries of dcolumns that are copies of it"""
    dx = np.empty(x_shape, dy.dtype)
    w, dy = np.ascontiguousarray(w), np.ascontiguousarray(dy)
    images = max(1, PIXELS // max(1, dy.shape[2] * dy.shape[3]))
    _grad_input(dy, w, dx, *stride, *padding, *dilation, groups, images)
    return dx


@kernel
def _grad_input(dy, w, dx, sh, sw, ph, pw, dh, dw, groups, images):
    # parallel over blocks of whole images; inside: groups, then the product (C/G*R*S, K/G) @ (K/G, pixels), then the
    # sums
    N, K, P, Q = dy.shape
    _, CG, R, S = w.shape
    KG = K // groups
    for block in prange((N + images - 1) // images):
        n0 = block * images
        count = min(images, N - n0)
        rows = np.empty((KG, count * P * Q), dy.dtype)
        columns = np.empty((CG * R * S, count * P * Q), dy.dtype)
        for g in range(groups):
            _take_pixels(dy.reshape(N, K, P * Q), g * KG, n0 * P * Q, rows)
            transposed = np.ascontiguousarray(w[g * KG : (g + 1) * KG].reshape(KG, CG * R * S).T)
            columns[:] = 0
            add_product(transposed, rows, columns)
            _sum_copies(columns, dx[n0 : n0 + count, g * CG : (g + 1) * CG], R, S, P, Q, sh, sw, ph, pw, dh, dw)


@kernel(parallel=False)
def _sum_copies(columns, dx, R, S, P, Q, sh, sw, ph, pw, dh, dw):
    # dx[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding] += columns[(c,r,s), (n,p,q)]
    # loop order: n, c, then r, s (so each sum runs over the kernel in order), then p, q; only places inside the image
    N, C, H, W = dx.shape
    for n in range(N):
        for c in range(C):
            dx[n, c] = 0
            for r in range(R):
                for s in range(S):
                    left = s * dw - pw
                    q0 = max(0, (sw - 1 - left) // sw)
                    q1 = min(Q, (W - 1 - left) // sw + 1)
                    for p in range(P):
                        h = p * sh + r * dh - ph
                        if 0 <= h < H:
                            line = columns[(c * R + r) * S + s, (n * P + p) * Q : (n * P + p + 1) * Q]
                            for q in range(q0, q1):
                                dx[n, c, h, q * sw + left] += line[q]


def grad_weight(
    dy: Array, x: Array, *, w_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dW = dy @ columns^T, as a fixed number of partial sums over blocks of pixels, added in order"""
    blocks = -(-dy.shape[0] * dy.shape[2] * dy.shape[3] // PIXELS)
    parts = np.zeros((max(1, min(PARTS, blocks)), *w_shape), dy.dtype)
    _grad_weight(np.ascontiguousarray(dy), pad(x, padding), parts, *stride, *dilation, groups, PIXELS)
    grad = parts[0].copy()
    for part in parts[1:]:
        grad += part
    return grad


@kernel
def _grad_weight(dy, xp, parts, sh, sw, dh, dw, groups, pixels):
    # parallel over parts; part i takes the blocks i, i + parts, ...; inside: groups, then (K/G, pixels) @ (pixels,
    # C/G*R*S)
    N, K, P, Q = dy.shape
    many, _, C, R, S = parts.shape
    KG = K // groups
    total = N * P * Q
    for part in prange(many):
        for block in range(part, (total + pixels - 1) // pixels, many):
            first = block * pixels
            size = min(pixels, total - first)
            windows = np.empty((size, C, R * S), dy.dtype)
            rows = np.empty((KG, size), dy.dtype)
            for g in range(groups):
                _windows(xp, g * C, S, P, Q, sh, sw, dh, dw, first, windows)
                _take_pixels(dy.reshape(N, K, P * Q), g * KG, first, rows)
                into = parts[part, g * KG : (g + 1) * KG].reshape(KG, C * R * S)
                add_product(rows, windows.reshape(size, C * R * S), into)
