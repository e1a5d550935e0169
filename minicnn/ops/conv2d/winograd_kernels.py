"""The compiled kernels of Winograd's convolution: transforms of tiles, the 16 or 36 matrix products, and their order.

Shapes: x (N, C, H, W), w (K, C, 3, 3), y (N, K, H, W), all images channels last with a halo (`Images`). An image is cut
into TH x TW tiles of m x m outputs; all T tiles of the batch are numbered (n, th, tw). With A = m + 2 and X = A*A
points xi = (i, j)::

    V[xi][t][c] = (B^T d B)[i, j]    d: the A x A inputs of tile t          (input_tiles)
    U[xi][c][k] = (G w G^T)[i, j]                                           (weights)
    M[xi][t][k] = sum_c V[xi][t][c] U[xi][c][k]                             X matrix products
    y           = A^T M A                                                   (output_tiles)

Transforms work on vectors of channels. Each goes twice through a small square of vectors in the first-level cache:
columns, then rows.

A product reads V and U and writes M, which are 2 to 4 times larger than the images. Two orders keep them in a cache:

- *fused*: one thread takes a block of tiles through all stages, one panel of output channels after the other; V and M
  of the block stay in its second-level cache, U streams past. For layers with few channels: U is small.
- *by points*: all tiles are transformed, then each thread takes whole points xi; V[xi], U[xi] and M[xi] fit into its
  cache, and U is read once in all. For layers with many channels: U is large (37 MB for 512 x 512), tiles are few.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

from numba import get_thread_id, literally, prange

from minicnn.backends.jit import kernel
from minicnn.backends.simd import (
    TILE,
    lanes,
    prefetch,
    relu,
    tile_fma,
    tile_load,
    tile_store,
    tile_zero,
    vload,
    vloads,
    vstore,
    vstores,
)
from minicnn.ops.conv2d.winograd_transforms import (
    added,
    adjoint_output_transform,
    adjoint_weight_transform,
    input_transform,
    output_transform,
    weight_transform,
)

SKEW = 16  # numbers after the matrix of each point: without them all 36 would lie in the same sets of the cache
ROWS = {1: 2 * TILE[0], 2: TILE[0]}  # of a register tile of 1 or 2 vectors; 8 or more accumulators
GRAD_ROWS = {1: 8, 2: 4 if TILE[0] % 4 else 8}  # for products that sum over tiles: must divide 16
STEPS = 128  # tiles that such a product takes at once: its operands stay in the first-level cache
GROUP = 4  # input channels whose weights are transformed together


@kernel(parallel=False)
def input_tile(A, x, at, row, pixel, square, v, to, step):
    # v[to + c + (A i + j) step] = (B^T d B)[i, j] with d[i, j] = x[at + c + i row + j pixel], for all c < pixel
    literally(A)
    wide = lanes(x)
    for c in range(0, pixel, wide):
        for j in range(A):
            vstores(input_transform(vloads(A, x, at + c + j * pixel, row)), square, j * wide, A * wide)
        for i in range(A):
            vstores(input_transform(vloads(A, square, i * A * wide, wide)), v, to + c + A * i * step, step)


@kernel(parallel=False)
def gradient_tile(m, A, dy, at, row, pixel, square, v, to, step):
    # v[to + k + (A i + j) step] = (A dy A^T)[i, j] with m x m pixels of dy, for all k < pixel
    literally(m)
    literally(A)
    wide = lanes(dy)
    for k in range(0, pixel, wide):
        for j in range(m):
            vstores(adjoint_output_transform(vloads(m, dy, at + k + j * pixel, row)), square, j * wide, m * wide)
        for i in range(A):
            vstores(adjoint_output_transform(vloads(m, square, i * m * wide, wide)), v, to + k + A * i * step, step)


@kernel(parallel=False)
def output_tile(A, M, at, step, many, square, bias, first, residual, activate, y, to, row, pixel, rows, columns):
    # y[to + k + i row + j pixel] = relu?((A^T M A)[i, j] + bias + residual?), for k < many, i < rows, j < columns
    literally(A)
    wide = lanes(y)
    for k in range(0, many, wide):
        for j in range(A):
            column = vloads(A, M, at + k + j * step, A * step)
            vstores(output_transform(column), square, j * wide, A * wide)
        b = vload(bias, first + k)
        for i in range(rows):
            values = output_transform(vloads(A, square, i * A * wide, wide))
            for j in range(columns):
                place = to + k + i * row + j * pixel
                value = values[j] + b
                if residual.size:
                    value = value + vload(residual, place)
                if activate:
                    value = relu(value)
                vstore(y, place, value)


@kernel(parallel=False)
def products(MR, NV, K, rows, a, ia, lda, b, ib, ahead, c, ic, ldc):
    # c[i, v] = sum_k a[i, k] b[k, v], one register tile of MR rows after the other
    # meanwhile the panel of b for the next product, `ahead` numbers on, is asked for, a little with each step of k
    literally(MR)
    literally(NV)
    NR = NV * lanes(b)
    tiles = (rows + MR - 1) // MR
    part = (NR + tiles - 1) // tiles
    soon = ib + ahead
    for i in range(0, rows, MR):
        acc = tile_zero(MR, NV, c)
        for k in range(K):
            prefetch(b, soon + k * part)
            acc = tile_fma(MR, NV, acc, a, ia + i * lda + k, lda, b, ib + k * NR)
        tile_store(MR, NV, acc, c, ic + i * ldc, ldc)
        soon += K * part


@kernel(parallel=False)
def outer_products(MR, NV, T, a, ia, lda, b, ib, ldb, c, ic, new):
    # c[i, k] (+)= sum_t a[t, i] b[t, k] for all i < lda, k < ldb; STEPS rows t at once, which stay in the first cache
    literally(MR)
    literally(NV)
    NR = NV * lanes(b)
    for t0 in range(0, T, STEPS):
        for k in range(0, ldb, NR):
            for i in range(0, lda, MR):
                to = ic + i * ldb + k
                acc = tile_zero(MR, NV, c) if new and t0 == 0 else tile_load(MR, NV, c, to, ldb)
                for t in range(t0, min(T, t0 + STEPS)):
                    acc = tile_fma(MR, NV, acc, a, ia + t * lda + i, 1, b, ib + t * ldb + k)
                tile_store(MR, NV, acc, c, to, ldb)


@kernel(parallel=False)
def corner(t, m, TH, TW, row, image, pixel):
    # position of the first output pixel of tile t, and how far the tile is from the image's first row and column
    n, th, tw = t // (TH * TW), t // TW % TH, t % TW
    return n * image + th * m * row + tw * m * pixel, th * m, tw * m


@functools.cache
def kernels(m: int, NV: int) -> SimpleNamespace:
    """The parallel kernels for F(m x m, 3x3) and panels of NV vectors of output channels."""
    A, X, MR = m + 2, (m + 2) ** 2, ROWS[NV]
    GR = GRAD_ROWS[NV]

    @kernel
    def weights(w, k_step, c_step, flip, K, C, KP, CP, U, squares):
        # U[panel][xi][c][k in panel] = (G w[k,c] G^T)[xi]; zeros for spare c and k; parallel over (panel, c)
        # w is flat: tap r of (k, c) at k k_step + c c_step + r; flip: 8 - r (grad_input turns the kernel round)
        wide = lanes(w)
        NR = NV * wide
        # inside: taps of GROUP channels, which lie side by side in w, are gathered for one vector of k
        wide = lanes(w)
        NR = NV * wide
        groups, ustep = CP // GROUP, CP * NR + SKEW
        for unit in prange(KP // wide * groups):
            vector, c0 = unit // groups, unit % groups * GROUP
            panel, v = vector // NV, vector % NV * wide
            square = squares[get_thread_id()]
            rest = 9 * GROUP * wide
            for lane in range(wide):
                k = vector * wide + lane
                for c in range(c0, c0 + GROUP):
                    for r in range(9):
                        tap = k * k_step + c * c_step + (8 - r if flip else r)
                        square[((c - c0) * 9 + r) * wide + lane] = w[tap] if k < K and c < C else 0
            for c in range(GROUP):
                for s in range(3):
                    column = vloads(3, square, (c * 9 + s) * wide, 3 * wide)
                    vstores(weight_transform(m, column), square, rest + s * wide, 3 * wide)
                for i in range(A):
                    row = weight_transform(m, vloads(3, square, rest + 3 * i * wide, wide))
                    vstores(row, U, (panel * X + A * i) * ustep + (c0 + c) * NR + v, ustep)

    @kernel
    def fused(x, U, bias, residual, y, V, M, T, TB, blocks, TH, TW, H, W, CP, KP, xs, ys, activate):
        # xs, ys: (origin, row, image) of x and y; parallel over blocks of at most TB tiles, in whole register tiles;
        # inside: input tiles, then for each panel: xi, rows of tiles, c; then the output tiles of the panel
        wide = lanes(x)
        NR = NV * wide
        ustep, vstep, mstep = CP * NR + SKEW, TB * CP + SKEW, TB * NR + SKEW
        whole = (T + MR - 1) // MR
        for block in prange(blocks):
            v, scratch = V[get_thread_id()], M[get_thread_id()]
            square = scratch[X * mstep :]
            first = block * whole // blocks * MR
            many = min(T, (block + 1) * whole // blocks * MR) - first
            for i in range(many):
                at, _, _ = corner(first + i, m, TH, TW, xs[1], xs[2], CP)
                at += xs[0] - xs[1] - CP
                input_tile(A, x, at, xs[1], CP, square, v, i * CP, vstep)
            for panel in range(KP // NR):
                for xi in range(X):
                    u = (panel * X + xi) * ustep
                    products(MR, NV, CP, many, v, xi * vstep, CP, U, u, ustep, scratch, xi * mstep, NR)
                for i in range(many):
                    at, h, w = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                    k = panel * NR
                    output_tile(
                        A, scratch, i * NR, mstep, NR, square, bias, k, residual, activate,
                        y, ys[0] + at + k, ys[1], KP, min(m, H - h), min(m, W - w),
                    )  # fmt: skip

    @kernel
    def by_points(x, U, bias, residual, y, V, M, squares, T, TB, TH, TW, H, W, CP, KP, xs, ys, activate):
        # three parallel loops: over tiles, over (xi, chunk of panels), over tiles; TB is T in whole register tiles
        wide = lanes(x)
        NR = NV * wide
        ustep, vstep, mstep = CP * NR + SKEW, TB * CP + SKEW, TB * KP + SKEW
        for t in prange(T):
            square = squares[get_thread_id()]
            at, _, _ = corner(t, m, TH, TW, xs[1], xs[2], CP)
            at += xs[0] - xs[1] - CP
            input_tile(A, x, at, xs[1], CP, square, V, t * CP, vstep)
        for xi in prange(X):
            for panel in range(KP // NR):
                u = (panel * X + xi) * ustep
                products(MR, NV, CP, T, V, xi * vstep, CP, U, u, X * ustep, M, xi * mstep + panel * NR, KP)
        for t in prange(T):
            square = squares[get_thread_id()]
            at, h, w = corner(t, m, TH, TW, ys[1], ys[2], KP)
            output_tile(
                A, M, t * KP, mstep, KP, square, bias, 0, residual, activate,
                y, ys[0] + at, ys[1], KP, min(m, H - h), min(m, W - w),
            )  # fmt: skip

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
                    input_tile(A, x, at + xs[0] - xs[1] - CP, xs[1], CP, square, v, i * CP, vstep)
                    at, _, _ = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                    gradient_tile(m, A, dy, at + ys[0], ys[1], KP, square, y, i * KP, ystep)
                for xi in range(X):
                    to = part * size + xi * CP * KP
                    outer_products(GR, NV, many, v, xi * vstep, CP, y, xi * ystep, KP, dU, to, first == begin)

    @kernel
    def grad_by_points(x, dy, V, Y, dU, squares, T, TB, TH, TW, CP, KP, xs, ys):
        # the same with one part: in blocks of TB tiles, parallel over tiles, then over xi: each sum stays with one
        # thread, in the order of t
        vstep, ystep = TB * CP + SKEW, TB * KP + SKEW
        for first in range(0, T, TB):
            many = min(TB, T - first)
            for i in prange(many):
                square = squares[get_thread_id()]
                at, _, _ = corner(first + i, m, TH, TW, xs[1], xs[2], CP)
                input_tile(A, x, at + xs[0] - xs[1] - CP, xs[1], CP, square, V, i * CP, vstep)
                at, _, _ = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                gradient_tile(m, A, dy, at + ys[0], ys[1], KP, square, Y, i * KP, ystep)
            for xi in prange(X):
                outer_products(
                    GR, NV, many, V, xi * vstep, CP, Y, xi * ystep, KP, dU, xi * CP * KP, first == 0
                )  # fmt: skip

    @kernel
    def grad_taps(dU, grad, squares, parts, C, K, CP, KP):
        # grad[k][c] = G^T (sum of dU[part][.][c][k] over parts) G; parallel over GROUP channels, whose taps lie side by
        # side in grad; inside: vectors of k
        wide = lanes(dU)
        size = X * CP * KP
        rest = 9 * GROUP * wide
        for group in prange((C + GROUP - 1) // GROUP):
            square = squares[get_thread_id()]
            c0 = group * GROUP
            many = min(GROUP, C - c0)
            for k in range(0, KP, wide):
                for c in range(many):
                    for j in range(A):
                        at = (j * CP + c0 + c) * KP + k
                        column = vloads(A, dU, at, A * CP * KP)
                        for part in range(1, parts):
                            column = added(column, vloads(A, dU, part * size + at, A * CP * KP))
                        vstores(adjoint_weight_transform(column), square, rest + j * wide, A * wide)
                    for r in range(3):
                        taps = adjoint_weight_transform(vloads(A, square, rest + r * A * wide, wide))
                        vstores(taps, square, (9 * c + 3 * r) * wide, wide)
                for lane in range(min(wide, K - k)):
                    to = ((k + lane) * C + c0) * 9
                    for tap in range(9 * many):
                        grad[to + tap] = square[tap * wide + lane]

    return SimpleNamespace(
        weights=weights,
        fused=fused,
        by_points=by_points,
        grad_fused=grad_fused,
        grad_by_points=grad_by_points,
        grad_taps=grad_taps,
    )
