"""The compiled kernels of grad_weight in Winograd's convolution; names and shapes as in `winograd_kernels`.

With Y the transformed gradient of the outputs::

    Y[xi][t][k]  = (A dy A^T)[i, j]    dy: the m x m gradients of tile t        (gradient_tile)
    dU[xi][c][k] = sum_t V[xi][t][c] Y[xi][t][k]        X matrix products      (outer_products)
    dw           = G^T dU G                                                     (write_taps)

dU is 4 times as large as the weights (37 MB for 512 x 512 channels) and must stay in a cache while it is summed:

- *fused*, for few channels: a thread takes a part of the tiles, transforms a few at a time and adds their products to
  its own dU. The number of parts is fixed, and the sums of the parts are added in order.
- *by blocks*, for many channels: all tiles are transformed first; then a thread computes 64 x 64 channels of dU at all
  points, and their taps.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

from numba import get_thread_id, literally, prange

from minicnn.backends.cpu import TILE
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, vloads, vstores
from minicnn.backends.tiles import tile_fma, tile_load, tile_store, tile_zero
from minicnn.ops.conv2d.winograd_kernels import BLOCK, GROUP, SKEW, corner, input_tile
from minicnn.ops.conv2d.winograd_transforms import added, adjoint_output_transform, adjoint_weight_transform

GRAD_ROWS = {1: 8, 2: 4 if TILE[0] % 4 else 8}  # for products that sum over tiles: must divide 16
STEPS = 64  # tiles that such a product takes at once: its operands stay in the first-level cache


@kernel(parallel=False)
def gradient_tile(m, A, dy, at, row, pixel, many, square, v, to, step):
    """Transform the gradients of one tile of outputs."""
    # v[to + k + (A i + j) step] = (A dy A^T)[i, j] with m x m pixels of dy, for all k < many
    literally(m)
    literally(A)
    wide = lanes(dy)
    for k in range(0, many, wide):
        for j in range(m):
            vstores(adjoint_output_transform(vloads(m, dy, at + k + j * pixel, row)), square, j * wide, m * wide)
        for i in range(A):
            vstores(adjoint_output_transform(vloads(m, square, i * m * wide, wide)), v, to + k + A * i * step, step)


@kernel(parallel=False)
def outer_products(MR, NV, T, a, ia, lda, b, ib, ldb, c, ic, rows, columns, new):
    """Add the products of one point: a^T b."""
    # c[i, k] (+)= sum_t a[t, i] b[t, k], i < rows, k < columns; STEPS rows t at once, which stay in the first cache
    literally(MR)
    literally(NV)
    NR = NV * lanes(b)
    for t0 in range(0, T, STEPS):
        for k in range(0, columns, NR):
            for i in range(0, rows, MR):
                to = ic + i * ldb + k
                acc = tile_zero(MR, NV, c) if new and t0 == 0 else tile_load(MR, NV, c, to, ldb)
                for t in range(t0, min(T, t0 + STEPS)):
                    acc = tile_fma(MR, NV, acc, a, ia + t * lda + i, 1, b, ib + t * ldb + k)
                tile_store(MR, NV, acc, c, to, ldb)


@kernel(parallel=False)
def write_taps(A, dU, at, parts, part, point, c_step, square, grad, to, many, lanes_used, C):
    """Transform some of dU back to taps."""
    # grad[to + (k C + c) 9 + tap] = G^T (sum over parts of dU[at + p part + xi point + c c_step + k]) G
    # for c < many <= GROUP, whose taps lie side by side in grad, and k < lanes_used of one vector
    literally(A)
    wide = lanes(dU)
    rest = 9 * GROUP * wide
    for c in range(many):
        for j in range(A):
            place = at + j * point + c * c_step
            column = vloads(A, dU, place, A * point)
            for p in range(1, parts):
                column = added(column, vloads(A, dU, place + p * part, A * point))
            vstores(adjoint_weight_transform(column), square, rest + j * wide, A * wide)
        for r in range(3):
            taps = adjoint_weight_transform(vloads(A, square, rest + r * A * wide, wide))
            vstores(taps, square, (9 * c + 3 * r) * wide, wide)
    for k in range(lanes_used):
        for tap in range(9 * many):
            grad[to + k * C * 9 + tap] = square[tap * wide + k]


@functools.cache
def kernels(m: int, NV: int) -> SimpleNamespace:
    """The parallel kernels for F(m x m, 3x3) and panels of NV vectors of output channels."""
    A, X, MR = m + 2, (m + 2) ** 2, GRAD_ROWS[NV]

    @kernel
    def grad_fused(x, dy, V, Y, dU, T, TB, parts, TH, TW, CP, KP, xs, ys):
        # dU[part][xi][c][k] = sum over the tiles t of a part of V[xi][t][c] Y[xi][t][k]
        # parallel over parts, whose number is fixed; inside: blocks of TB tiles, which are transformed, then xi
        vstep, ystep, size = TB * CP + SKEW, TB * KP + SKEW, X * CP * KP
        for part in prange(parts):
            v, y = V[get_thread_id()], Y[get_thread_id()]
            square = y[X * ystep :]
            begin, end = part * T // parts, (part + 1) * T // parts
            for first in range(begin, end, TB):
                many = min(TB, end - first)
                for i in range(many):
                    at, _, _ = corner(first + i, m, TH, TW, xs[1], xs[2], CP)
                    input_tile(A, x, at + xs[0] - xs[1] - CP, xs[1], CP, CP, square, v, i * CP, vstep)
                    at, _, _ = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                    gradient_tile(m, A, dy, at + ys[0], ys[1], KP, KP, square, y, i * KP, ystep)
                for xi in range(X):
                    to = part * size + xi * CP * KP
                    outer_products(
                        MR, NV, many, v, xi * vstep, CP, y, xi * ystep, KP, dU, to, CP, KP, first == begin
                    )  # fmt: skip

    @kernel
    def grad_by_blocks(x, dy, V, Y, dU, squares, grad, T, TB, TH, TW, C, K, CP, KP, xs, ys):
        # V[xi][block of c][t][c in block], Y alike, dU[block][xi][c][k]; in parts of TB tiles, parallel over tiles,
        # then over blocks of BLOCK x BLOCK (c, k): each sum stays with one thread, in the order of t. After the last
        # part the block's dU is still in the thread's cache: it gives its taps at once
        wide = lanes(x)
        xblocks, yblocks = (CP + BLOCK - 1) // BLOCK, (KP + BLOCK - 1) // BLOCK
        vstep, ystep = xblocks * BLOCK * TB + SKEW, yblocks * BLOCK * TB + SKEW
        point = BLOCK * BLOCK + SKEW
        for first in range(0, T, TB):
            many = min(TB, T - first)
            for i in prange(many):
                square = squares[get_thread_id()]
                at, _, _ = corner(first + i, m, TH, TW, xs[1], xs[2], CP)
                at += xs[0] - xs[1] - CP
                for c in range(0, CP, BLOCK):
                    to = c * TB + i * BLOCK
                    input_tile(A, x, at + c, xs[1], CP, min(BLOCK, CP - c), square, V, to, vstep)
                at, _, _ = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                for k in range(0, KP, BLOCK):
                    to = k * TB + i * BLOCK
                    gradient_tile(m, A, dy, at + ys[0] + k, ys[1], KP, min(BLOCK, KP - k), square, Y, to, ystep)
            for block in prange(xblocks * yblocks):
                square = squares[get_thread_id()]
                sums = dU[get_thread_id()] if T <= TB else dU[block]
                c, k = block // yblocks * BLOCK, block % yblocks * BLOCK
                rows, columns = min(BLOCK, CP - c), min(BLOCK, KP - k)
                for xi in range(X):
                    outer_products(
                        MR, NV, many, V, xi * vstep + c * TB, BLOCK, Y, xi * ystep + k * TB, BLOCK,
                        sums, xi * point, rows, columns, first == 0,
                    )  # fmt: skip
                if first + TB >= T:
                    for c0 in range(0, min(rows, C - c), GROUP):
                        for k0 in range(0, min(columns, K - k), wide):
                            write_taps(
                                A, sums, c0 * BLOCK + k0, 1, 0, point, BLOCK, square, grad, ((k + k0) * C + c + c0) * 9,
                                min(GROUP, C - c - c0), min(wide, K - k - k0), C,
                            )  # fmt: skip

    @kernel
    def grad_taps(dU, grad, squares, parts, C, K, CP, KP):
        # grad[k][c] = G^T (sum of dU[part][.][c][k] over parts) G; parallel over GROUP channels; inside: vectors of k
        wide = lanes(dU)
        size = X * CP * KP
        for group in prange((C + GROUP - 1) // GROUP):
            square = squares[get_thread_id()]
            c = group * GROUP
            for k in range(0, K, wide):
                write_taps(
                    A, dU, c * KP + k, parts, size, CP * KP, KP, square, grad, (k * C + c) * 9,
                    min(GROUP, C - c), min(wide, K - k), C,
                )  # fmt: skip

    return SimpleNamespace(grad_fused=grad_fused, grad_by_blocks=grad_by_blocks, grad_taps=grad_taps)
