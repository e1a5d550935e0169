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
    adjoint_output_transform,
    adjoint_weight_transform,
    input_transform,
    output_transform,
    weight_transform,
)

SKEW = 16  # numbers between the matrices of two points: without them all 36 would lie in the same sets of the cache
ROWS = {1: 2 * TILE[0], 2: TILE[0]}  # of a register tile of 1 or 2 vectors; 8 or more accumulators
GRAD_ROWS = {1: 8, 2: 4 if TILE[0] % 4 else 8}  # for products that sum over tiles: must divide 16
STEPS = 128  # tiles that such a product takes at once: its operands stay in the first-level cache


@kernel(parallel=False)
def input_tile(A, x, at, row, pixel, square, v, to, step):
    # v[to + (A i + j) step] = (B^T d B)[i, j] with d[i, j] = x[at + i row + j pixel], a vector of channels each
    literally(A)
    wide = lanes(x)
    for j in range(A):
        vstores(input_transform(vloads(A, x, at + j * pixel, row)), square, j * wide, A * wide)
    for i in range(A):
        vstores(input_transform(vloads(A, square, i * A * wide, wide)), v, to + A * i * step, step)


@kernel(parallel=False)
def gradient_tile(m, A, dy, at, row, pixel, square, v, to, step):
    # v[to + (A i + j) step] = (A dy A^T)[i, j] with m x m pixels of dy
    literally(m)
    literally(A)
    wide = lanes(dy)
    for j in range(m):
        vstores(adjoint_output_transform(vloads(m, dy, at + j * pixel, row)), square, j * wide, m * wide)
    for i in range(A):
        vstores(adjoint_output_transform(vloads(m, square, i * m * wide, wide)), v, to + A * i * step, step)


@kernel(parallel=False)
def output_tile(A, m, M, at, step, square, bias, k, residual, activate, y, to, row, pixel, rows, columns):
    # y[to + i row + j pixel] = relu?((A^T M A)[i, j] + bias + residual?), for i < rows, j < columns
    literally(A)
    literally(m)
    wide = lanes(y)
    for j in range(A):
        vstores(output_transform(vloads(A, M, at + j * step, A * step)), square, j * wide, A * wide)
    b = vload(bias, k)
    for i in range(rows):
        values = output_transform(vloads(A, square, i * A * wide, wide))
        for j in range(columns):
            place = to + i * row + j * pixel
            value = values[j] + b
            if residual.size:
                value = value + vload(residual, place)
            if activate:
                value = relu(value)
            vstore(y, place, value)


@kernel(parallel=False)
def product(MR, NV, K, a, ia, lda, b, ib, c, ic, ldc):
    # c[i, v] = sum_k a[i, k] b[k, v] for one register tile
    literally(MR)
    literally(NV)
    acc = tile_zero(MR, NV, c)
    for k in range(K):
        acc = tile_fma(MR, NV, acc, a, ia + k, lda, b, ib + k * NV * lanes(b))
    tile_store(MR, NV, acc, c, ic, ldc)


@kernel(parallel=False)
def outer_product(MR, NV, T, a, ia, lda, b, ib, ldb, c, ic, ldc):
    # c[i, v] += sum_t a[t, i] b[t, v] for one register tile
    literally(MR)
    literally(NV)
    acc = tile_load(MR, NV, c, ic, ldc)
    for t in range(T):
        acc = tile_fma(MR, NV, acc, a, ia + t * lda, 1, b, ib + t * ldb)
    tile_store(MR, NV, acc, c, ic, ldc)


@kernel(parallel=False)
def corner(t, m, TH, TW, row, image, pixel):
    # position of the first output pixel of tile t, and how far the tile is from the image's first row and column
    n, th, tw = t // (TH * TW), t // TW % TH, t % TW
    return n * image + th * m * row + tw * m * pixel, th * m, tw * m


@functools.cache
def kernels(m: int, NV: int) -> SimpleNamespace:  # noqa: N803
    """The parallel kernels for F(m x m, 3x3) and panels of NV vectors of output channels."""
    A, X, MR = m + 2, (m + 2) ** 2, ROWS[NV]  # noqa: N806
    GR = GRAD_ROWS[NV]  # noqa: N806

    @kernel
    def weights(w, k_step, c_step, flip, K, C, KP, CP, U, squares):
        # U[panel][xi][c][k in panel] = (G w[k,c] G^T)[xi]; zeros for spare c and k; parallel over (panel, c)
        # w is flat: tap r of (k, c) at k k_step + c c_step + r; flip: 8 - r (grad_input turns the kernel round)
        wide = lanes(w)
        NR = NV * wide
        for pc in prange(KP // NR * CP):
            panel, c = pc // CP, pc % CP
            square = squares[get_thread_id()]
            for v in range(NV):
                k0 = panel * NR + v * wide
                for r in range(9):
                    tap = 8 - r if flip else r
                    for lane in range(wide):
                        k = k0 + lane
                        square[r * wide + lane] = w[k * k_step + c * c_step + tap] if k < K and c < C else 0
                rest = 9 * wide
                for s in range(3):
                    vstores(
                        weight_transform(m, vloads(3, square, s * wide, 3 * wide)), square, rest + s * wide, 3 * wide
                    )
                for i in range(A):
                    row = weight_transform(m, vloads(3, square, rest + 3 * i * wide, wide))
                    vstores(row, U, ((panel * X + A * i) * CP + c) * NR + v * wide, CP * NR)

    @kernel
    def fused(x, U, bias, residual, y, V, M, T, TB, TH, TW, H, W, CP, KP, xs, ys, activate):
        # xs, ys: (origin, row, image) of x and y; parallel over blocks of TB tiles;
        # inside: input tiles, then for each panel: xi, rows of tiles, c; then the output tiles of the panel
        wide = lanes(x)
        NR = NV * wide
        vstep, mstep = TB * CP + SKEW, TB * NR + SKEW
        for block in prange((T + TB - 1) // TB):
            v, scratch = V[get_thread_id()], M[get_thread_id()]
            square = scratch[X * mstep :]
            first = block * TB
            many = min(TB, T - first)
            for i in range(many):
                at, _, _ = corner(first + i, m, TH, TW, xs[1], xs[2], CP)
                at += xs[0] - xs[1] - CP
                for c in range(0, CP, wide):
                    input_tile(A, x, at + c, xs[1], CP, square, v, i * CP + c, vstep)
            for panel in range(KP // NR):
                for xi in range(X):
                    for i in range(0, many, MR):
                        at = xi * vstep + i * CP
                        u = (panel * X + xi) * CP * NR
                        product(MR, NV, CP, v, at, CP, U, u, scratch, xi * mstep + i * NR, NR)
                for i in range(many):
                    at, h, w = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                    for part in range(NV):
                        k = panel * NR + part * wide
                        to = ys[0] + at + k
                        output_tile(
                            A, m, scratch, i * NR + part * wide, mstep, square, bias, k, residual, activate,
                            y, to, ys[1], KP, min(m, H - h), min(m, W - w),
                        )  # fmt: skip

    @kernel
    def by_points(x, U, bias, residual, y, V, M, squares, T, TB, TH, TW, H, W, CP, KP, xs, ys, activate):
        # three parallel loops: over tiles, over (xi, chunk of panels), over tiles; TB is T in whole register tiles
        wide = lanes(x)
        NR = NV * wide
        vstep, mstep = TB * CP + SKEW, TB * KP + SKEW
        for t in prange(T):
            square = squares[get_thread_id()]
            at, _, _ = corner(t, m, TH, TW, xs[1], xs[2], CP)
            at += xs[0] - xs[1] - CP
            for c in range(0, CP, wide):
                input_tile(A, x, at + c, xs[1], CP, square, V, t * CP + c, vstep)
        for xi in prange(X):
            for panel in range(KP // NR):
                for i in range(0, T, MR):
                    u = (panel * X + xi) * CP * NR
                    at = xi * vstep + i * CP
                    product(MR, NV, CP, V, at, CP, U, u, M, xi * mstep + i * KP + panel * NR, KP)
        for t in prange(T):
            square = squares[get_thread_id()]
            at, h, w = corner(t, m, TH, TW, ys[1], ys[2], KP)
            for k in range(0, KP, wide):
                output_tile(
                    A, m, M, t * KP + k, mstep, square, bias, k, residual, activate,
                    y, ys[0] + at + k, ys[1], KP, min(m, H - h), min(m, W - w),
                )  # fmt: skip

    @kernel
    def grad_weight(x, dy, V, Y, dU, grad, squares, T, TB, TH, TW, C, K, CP, KP, xs, ys):
        # dU[xi][c][k] = sum_t V[xi][t][c] Y[xi][t][k], in blocks of TB tiles; then grad[k][c] = G^T dU G
        # parallel over tiles, then over xi (each sum stays with one thread, in the order of t), then over c
        wide = lanes(x)
        NR = NV * wide
        vstep, ystep = TB * CP + SKEW, TB * KP + SKEW
        for xi in prange(X):
            dU[xi * CP * KP : (xi + 1) * CP * KP] = 0
        for first in range(0, T, TB):
            many = min(TB, T - first)
            for i in prange(many):
                square = squares[get_thread_id()]
                at, _, _ = corner(first + i, m, TH, TW, xs[1], xs[2], CP)
                at += xs[0] - xs[1] - CP
                for c in range(0, CP, wide):
                    input_tile(A, x, at + c, xs[1], CP, square, V, i * CP + c, vstep)
                at, _, _ = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                for k in range(0, KP, wide):
                    gradient_tile(m, A, dy, ys[0] + at + k, ys[1], KP, square, Y, i * KP + k, ystep)
            for xi in prange(X):
                for t in range(0, many, STEPS):
                    steps = min(STEPS, many - t)
                    for k in range(0, KP, NR):
                        for c in range(0, CP, GR):
                            to = (xi * CP + c) * KP + k
                            a, b = xi * vstep + t * CP + c, xi * ystep + t * KP + k
                            outer_product(GR, NV, steps, V, a, CP, Y, b, KP, dU, to, KP)
        for c in prange(C):
            square = squares[get_thread_id()]
            for k in range(0, KP, wide):
                for j in range(A):
                    column = vloads(A, dU, (j * CP + c) * KP + k, A * CP * KP)
                    vstores(adjoint_weight_transform(column), square, j * wide, A * wide)
                rest = 3 * A * wide
                for r in range(3):
                    taps = adjoint_weight_transform(vloads(A, square, r * A * wide, wide))
                    vstores(taps, square, rest + 3 * r * wide, wide)
                for lane in range(min(wide, K - k)):
                    for tap in range(9):
                        grad[((k + lane) * C + c) * 9 + tap] = square[rest + tap * wide + lane]

    return SimpleNamespace(weights=weights, fused=fused, by_points=by_points, grad_weight=grad_weight)
