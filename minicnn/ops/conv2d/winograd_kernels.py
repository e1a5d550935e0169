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

A product reads V and U and writes M, which are 2 to 4 times larger than the images. Three orders keep them in a cache:

- *fused*: one thread takes a block of tiles through all stages, one panel of output channels after the other; V and M
  of the block stay in its second-level cache, U streams past. For layers with few channels: U is small.
- *by points*: all tiles are transformed, then each thread takes whole points xi; V[xi], U[xi] and M[xi] fit into its
  cache, and U is read once in all. For more channels and many tiles.
- *by panels*: all tiles are transformed, then each thread takes panels of output channels. U is not stored: it would
  be 37 MB for 512 x 512 channels, and to fetch it would take longer than to transform 64 channels of the panel, use
  them at once, and go on. For many channels and few tiles.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

from numba import get_thread_id, literally, prange

from minicnn.backends.cpu import TILE
from minicnn.backends.images import put
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, prefetch, relu, vload, vloads, vstore, vstores
from minicnn.backends.tiles import tile_fma, tile_load, tile_store, tile_zero
from minicnn.ops.conv2d.winograd_transforms import (
    input_transform,
    output_transform,
    weight_transform,
)

SKEW = 16  # numbers after the matrix of each point: without them all 36 would lie in the same sets of the cache
ROWS = {1: 2 * TILE[0], 2: TILE[0]}  # of a register tile of 1 or 2 vectors; 8 or more accumulators
BLOCK = 64  # channels that are taken together where they do not all fit into a core's second-level cache
SQUARE = 64  # vectors of working memory for a transform
GROUP = 4  # input channels whose weights are transformed together


@kernel(parallel=False)
def input_tile(A, x, at, row, pixel, many, square, v, to, step):
    # v[to + c + (A i + j) step] = (B^T d B)[i, j] with d[i, j] = x[at + c + i row + j pixel], for all c < many
    literally(A)
    wide = lanes(x)
    for c in range(0, many, wide):
        for j in range(A):
            vstores(input_transform(vloads(A, x, at + c + j * pixel, row)), square, j * wide, A * wide)
        for i in range(A):
            vstores(input_transform(vloads(A, square, i * A * wide, wide)), v, to + c + A * i * step, step)


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
                put(y, place, value)


@kernel(parallel=False)
def products(MR, NV, K, rows, a, ia, lda, b, ib, more, c, ic, ldc, later, soon, part):
    # c[i, v] = sum_k a[i, k] b[k, v] (added to c with `more`), one register tile of MR rows after the other; meanwhile
    # is asked for: `part` numbers from later[soon] on with each step of k, and the next rows of a (lda = K, no gaps)
    literally(MR)
    literally(NV)
    NR = NV * lanes(b)
    for i in range(0, rows, MR):
        acc = tile_load(MR, NV, c, ic + i * ldc, ldc) if more else tile_zero(MR, NV, c)
        for k in range(K):
            prefetch(later, soon + k * part)
            prefetch(a, ia + (i + MR) * lda + k * MR)
            acc = tile_fma(MR, NV, acc, a, ia + i * lda + k, lda, b, ib + k * NR)
        tile_store(MR, NV, acc, c, ic + i * ldc, ldc)
        soon += K * part


@kernel(parallel=False)
def gather_taps(w, tap, k_step, c_step, flip, channels, many, square):
    # square[c 9 + r][k] = w[tap + k k_step + c c_step + r], or 8 - r with `flip`; zeros beyond `channels` and `many`
    wide = lanes(w)
    for k in range(wide):
        for c in range(GROUP):
            at = tap + k * k_step + c * c_step
            for r in range(9):
                square[(c * 9 + r) * wide + k] = w[at + (8 - r if flip else r)] if k < many and c < channels else 0


@kernel(parallel=False)
def gather_panel(NV, w, k0, c0, many, k_step, c_step, flip, C, K, taps, to, square):
    # taps[to + (c 9 + r) NR + k] = tap r of (k0 + k, c0 + c), c < many; zeros for spare c and k
    literally(NV)
    wide = lanes(w)
    NR = NV * wide
    for k in range(0, NR, wide):
        for c in range(0, many, GROUP):
            tap = (k0 + k) * k_step + (c0 + c) * c_step
            gather_taps(w, tap, k_step, c_step, flip, C - c0 - c, K - k0 - k, square)
            for r in range(9 * GROUP):
                vstore(taps, to + (c * 9 + r) * NR + k, vload(square, r * wide))


@kernel(parallel=False)
def corner(t, m, TH, TW, row, image, pixel):
    # position of the first output pixel of tile t, and how far the tile is from the image's first row and column
    n, th, tw = t // (TH * TW), t // TW % TH, t % TW
    return n * image + th * m * row + tw * m * pixel, th * m, tw * m


@functools.cache
def kernels(m: int, NV: int) -> SimpleNamespace:
    """The parallel kernels for F(m x m, 3x3) and panels of NV vectors of output channels."""
    A, X, MR = m + 2, (m + 2) ** 2, ROWS[NV]

    @kernel
    def weights(w, k_step, c_step, flip, K, C, KP, CP, U, squares):
        # U[panel][xi][c][k in panel] = (G w[k,c] G^T)[xi]; zeros for spare c and k; parallel over vectors of k and
        # GROUP channels, whose taps lie side by side in w: tap r of (k, c) at k k_step + c c_step + r
        # flip: 8 - r, for grad_input turns the kernel round
        wide = lanes(w)
        NR = NV * wide
        groups, ustep = CP // GROUP, CP * NR + SKEW
        for unit in prange(KP // wide * groups):
            vector, c0 = unit // groups, unit % groups * GROUP
            panel, v = vector // NV, vector % NV * wide
            square = squares[get_thread_id()]
            k, rest = vector * wide, 9 * GROUP * wide
            gather_taps(w, k * k_step + c0 * c_step, k_step, c_step, flip, C - c0, K - k, square)
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
            part = NR // ((many + MR - 1) // MR) + 1  # of the next U, a share for each register tile
            for i in range(many):
                at, _, _ = corner(first + i, m, TH, TW, xs[1], xs[2], CP)
                at += xs[0] - xs[1] - CP
                input_tile(A, x, at, xs[1], CP, CP, square, v, i * CP, vstep)
            for panel in range(KP // NR):
                for xi in range(X):
                    u = (panel * X + xi) * ustep
                    products(
                        MR, NV, CP, many, v, xi * vstep, CP, U, u, False, scratch, xi * mstep, NR, U, u + ustep, part
                    )
                for i in range(many):
                    at, h, w = corner(first + i, m, TH, TW, ys[1], ys[2], KP)
                    k = panel * NR
                    output_tile(
                        A, scratch, i * NR, mstep, NR, square, bias, k, residual, activate,
                        y, ys[0] + at + k, ys[1], KP, min(m, H - h), min(m, W - w),
                    )  # fmt: skip

    @kernel
    def by_points(x, U, bias, residual, y, V, M, squares, T, TB, TH, TW, H, W, CP, KP, xs, ys, activate):
        # three parallel loops: over tiles, over xi, over tiles; TB is T in whole register tiles
        wide = lanes(x)
        NR = NV * wide
        ustep, vstep, mstep = CP * NR + SKEW, TB * CP + SKEW, TB * KP + SKEW
        for t in prange(T):
            square = squares[get_thread_id()]
            at, _, _ = corner(t, m, TH, TW, xs[1], xs[2], CP)
            at += xs[0] - xs[1] - CP
            input_tile(A, x, at, xs[1], CP, CP, square, V, t * CP, vstep)
        part = NR // ((T + MR - 1) // MR) + 1  # of the next U, a share for each register tile
        for xi in prange(X):
            for panel in range(KP // NR):
                u, to = (panel * X + xi) * ustep, xi * mstep + panel * NR
                products(MR, NV, CP, T, V, xi * vstep, CP, U, u, False, M, to, KP, U, u + X * ustep, part)
        for t in prange(T):
            square = squares[get_thread_id()]
            at, h, w = corner(t, m, TH, TW, ys[1], ys[2], KP)
            output_tile(
                A, M, t * KP, mstep, KP, square, bias, 0, residual, activate,
                y, ys[0] + at, ys[1], KP, min(m, H - h), min(m, W - w),
            )  # fmt: skip

    @kernel
    def pack_taps(w, k_step, c_step, flip, C, K, CP, KP, packed, squares):
        # packed[panel][c][tap][k in panel], zeros for spare c and k; parallel over panels
        NR = NV * lanes(w)
        for panel in prange(KP // NR):
            square, k = squares[get_thread_id()], panel * NR
            gather_panel(NV, w, k, 0, CP, k_step, c_step, flip, C, K, packed, panel * 9 * CP * NR, square)

    @kernel
    def by_panels(
        x, w, k_step, c_step, flip, packed, bias, residual, y, V, work, T, TB, TH, TW, H, W, C, K, CP, KP, xs, ys,
        activate,
    ):  # fmt: skip
        # V[xi][block of c][t][c in block]; two parallel loops: over tiles; over panels; inside: blocks of c, whose taps
        # (gathered from w, or ready in `packed`) are transformed and used at once, then the output tiles of the panel
        # work of a thread: U[xi][c in block][k in panel], M[xi][t][k in panel], taps[c in block][9][k in panel]
        wide = lanes(x)
        NR = NV * wide
        ustep, mstep = BLOCK * NR + SKEW, TB * NR + SKEW
        vstep = (CP + BLOCK - 1) // BLOCK * BLOCK * TB + SKEW
        share = X * ((T + MR - 1) // MR)  # register tiles for a block of c, which ask for the next block's taps
        part = 9 * NR // share + 1 if packed.size else 0
        for t in prange(T):
            square = work[get_thread_id()]
            at, _, _ = corner(t, m, TH, TW, xs[1], xs[2], CP)
            at += xs[0] - xs[1] - CP
            for c in range(0, CP, BLOCK):
                to = c * TB + t * BLOCK
                input_tile(A, x, at + c, xs[1], CP, min(BLOCK, CP - c), square, V, to, vstep)
        for panel in prange(KP // NR):
            square, k = work[get_thread_id()], panel * NR
            U = square[SQUARE * wide :]
            M = U[X * ustep :]
            for c0 in range(0, CP, BLOCK):
                many = min(BLOCK, CP - c0)
                taps, first = M[X * mstep :], 0
                if packed.size:
                    taps, first = packed, (panel * CP + c0) * 9 * NR
                else:
                    gather_panel(NV, w, k, c0, many, k_step, c_step, flip, C, K, taps, 0, square)
                for c in range(many):
                    for v in range(0, NR, wide):
                        for s in range(3):
                            column = vloads(3, taps, first + (c * 9 + s) * NR + v, 3 * NR)
                            vstores(weight_transform(m, column), square, s * wide, 3 * wide)
                        for i in range(A):
                            row = weight_transform(m, vloads(3, square, 3 * i * wide, wide))
                            vstores(row, U, A * i * ustep + c * NR + v, ustep)
                for xi in range(X):
                    ahead = first + many * 9 * NR + xi * (many * 9 * NR // X)
                    products(
                        MR, NV, many, T, V, xi * vstep + c0 * TB, BLOCK, U, xi * ustep, c0 > 0, M, xi * mstep, NR,
                        packed, ahead, part,
                    )  # fmt: skip
            for t in range(T):
                at, h, left = corner(t, m, TH, TW, ys[1], ys[2], KP)
                output_tile(
                    A, M, t * NR, mstep, NR, square, bias, k, residual, activate,
                    y, ys[0] + at + k, ys[1], KP, min(m, H - h), min(m, W - left),
                )  # fmt: skip

    return SimpleNamespace(
        weights=weights,
        fused=fused,
        by_points=by_points,
        by_panels=by_panels,
        pack_taps=pack_taps,
    )
