"""The compiled kernels of direct convolution.

Shapes: x (N, C, H, W), w (K, C, R, S), y (N, K, P, Q), images channels last. Under one row r of the window lie S pixels
of C channels: a *run* of S*C numbers without a gap. So a row of MR output pixels is a small matrix product, whose left
operand is the image itself, read with a step of stride pixels from row to row: no columns are ever made::

    y[q, k] = sum_r sum_{j in run} x[(p stride + r dilation) row + q stride pixel + j] * w[r, j, k]

Weights are packed in panels of NR = NV vectors of output channels, [panel][r][run][NR]. With a horizontal dilation the
run is broken into S runs of C numbers. An output row whose length is no multiple of MR ends with a tile that overlaps
the one before: the same numbers are computed twice and written twice, by the same thread.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

from numba import literally, prange

from minicnn.backends.images import is_many
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, prefetch
from minicnn.backends.tiles import tile_add, tile_fma, tile_load, tile_relu, tile_store, tile_stream, tile_zero


@kernel(parallel=False)
def output_tile(
    MR, NV, x, at, x_step, w, iw, R, S, run, down, right, soon, part, bias, k, residual, y, to, y_step, activate
):  # fmt: skip
    # y[to + i y_step] = relu?(sum over r, s, j of x[at + i x_step + r down + s right + j] w[...] + bias + residual?)
    # meanwhile weights from w[soon] on, which will be needed next, are asked for, `part` numbers with each step
    literally(MR)
    literally(NV)
    NR = NV * lanes(x)
    acc = tile_zero(MR, NV, y)
    for r in range(R):
        for s in range(S):
            start = at + r * down + s * right
            for j in range(run):
                prefetch(w, soon + j * part)
                acc = tile_fma(MR, NV, acc, x, start + j, x_step, w, iw + j * NR)
            iw += run * NR
            soon += run * part
    acc = tile_add(MR, NV, acc, bias, k, 0)
    if residual.size:
        acc = tile_add(MR, NV, acc, residual, to, y_step)
    if activate:
        acc = tile_relu(acc)
    if is_many(y):
        tile_stream(MR, NV, acc, y, to, y_step)
    else:
        tile_store(MR, NV, acc, y, to, y_step)


@kernel(parallel=False)
def gradient_tile(MR, NV, x, at, x_row, x_step, dy, iy, y_row, y_step, rows, columns, grad, to, ld):
    # grad[to + i ld] += sum over pixels (p, q) of x[at + p x_row + q x_step + i] dy[iy + p y_row + q y_step : + NR]
    literally(MR)
    literally(NV)
    acc = tile_load(MR, NV, grad, to, ld)
    for p in range(rows):
        for q in range(columns):
            acc = tile_fma(MR, NV, acc, x, at + p * x_row + q * x_step, 1, dy, iy + p * y_row + q * y_step)
    tile_store(MR, NV, acc, grad, to, ld)


@functools.cache
def kernels(MR: int, NV: int) -> SimpleNamespace:
    """The parallel kernels for register tiles of MR x NV vectors."""

    @kernel
    def forward(
        x, w, bias, residual, y, N, P, Q, KP, R, S, run, xs, steps, ys, block, panels_outside, activate
    ):  # fmt: skip
        # xs: (origin of the first window, image, output row, output pixel) in x; steps: (down, right) in a window
        # ys: (origin, image, row, pixel) in y; parallel over panels x images x blocks of rows; inside: rows, tiles
        # with few images the panels are the outer loop: each panel's tiles ask for the next panel, a share each
        NR = NV * lanes(x)
        panels, blocks = KP // NR, (P + block - 1) // block
        many = N * blocks
        size = R * S * run * NR
        columns = (Q + MR - 1) // MR
        share = NR // (N * P * columns) + 1 if panels_outside else 0
        for unit in prange(panels * many):
            panel, part = (unit // many, unit % many) if panels_outside else (unit % panels, unit // panels)
            n, first = part // blocks, part % blocks * block
            for p in range(first, min(P, first + block)):
                for q0 in range(0, Q, MR):
                    q = min(q0, Q - MR)
                    at = xs[0] + n * xs[1] + p * xs[2] + q * xs[3]
                    to = ys[0] + n * ys[1] + p * ys[2] + q * ys[3] + panel * NR
                    soon = (panel + 1) * size + ((n * P + p) * columns + q0 // MR) * R * S * run * share
                    output_tile(
                        MR, NV, x, at, xs[3], w, panel * size, R, S, run, steps[0], steps[1], soon, share,
                        bias, panel * NR, residual, y, to, ys[3], activate,
                    )  # fmt: skip

    @kernel
    def grad_weight(x, dy, grad, N, P, Q, KP, R, S, run, xs, steps, ys, block, parts):
        # grad[r, s, j, k] += sum over n, p, q; run in whole tiles. Parallel over parts of the rows (r, s, j) of grad:
        # each row's sum has one order, whatever the parts; inside: images, blocks of rows, panels of k, rows of grad
        NR = NV * lanes(x)
        tiles = R * S * (run // MR)
        for part in prange(parts):
            first, last = part * tiles // parts, (part + 1) * tiles // parts
            grad[first * MR * KP : last * MR * KP] = 0
            for n in range(N):
                for p in range(0, P, block):
                    rows = min(block, P - p)
                    for k in range(0, KP, NR):
                        iy = ys[0] + n * ys[1] + p * ys[2] + k
                        for tile in range(first, last):
                            rs, j = tile // (run // MR), tile % (run // MR) * MR
                            at = xs[0] + n * xs[1] + p * xs[2] + rs // S * steps[0] + rs % S * steps[1] + j
                            gradient_tile(
                                MR, NV, x, at, xs[2], xs[3], dy, iy, ys[2], ys[3], rows, Q, grad, tile * MR * KP + k,
                                KP,
                            )  # fmt: skip

    return SimpleNamespace(forward=forward, grad_weight=grad_weight)


@kernel
def compact(x, out, top, left, rows, columns):
    # out[n, h + top, w + left, c] = x[n, c, h, w] in images of rows x columns, zeros elsewhere and after the last image
    # parallel over the rows of all images; inside: c, w
    N, C, H, W = x.shape
    out[N * rows * columns * C :] = 0
    for nr in prange(N * rows):
        n, h = nr // rows, nr % rows - top
        line = out[nr * columns * C : (nr + 1) * columns * C].reshape(columns, C)
        if h < 0 or h >= H:
            line[:] = 0
        else:
            line[:left] = 0
            line[left + W :] = 0
            for c in range(C):
                for w in range(W):
                    line[left + w, c] = x[n, c, h, w]


@kernel
def pack(w, out, KP, wide, CX, k_step, c_step, r0, r_step, R, s0, s_step, S, K, C, width):
    # out[panel][r][s][c][k in panel] = w[k k_step + c c_step + (r0 + r r_step) width + s0 + s s_step]; zeros for spares
    # parallel over panels and r; inside: s, c, k
    for pr in prange(KP // wide * R):
        panel, r = pr // R, pr % R
        at = pr * S * CX * wide
        for s in range(S):
            for c in range(CX):
                tap = (r0 + r * r_step) * width + s0 + s * s_step
                for i in range(wide):
                    k = panel * wide + i
                    out[at] = w[k * k_step + c * c_step + tap] if k < K and c < C else 0
                    at += 1


@kernel
def unpack(sums, grad, R, S, run, whole, pixel, KP):
    # grad[k, c, r, s] = sums[r][s, c in runs of `run` numbers, `whole` apart][k]; parallel over blocks of 16 k
    # inside: r, s, c; then 16 numbers side by side in sums, which go to 16 places
    K, C = grad.shape[0], grad.shape[1]
    broken = S * pixel // run
    for block in prange((K + 15) // 16):
        first, last = block * 16, min(K, block * 16 + 16)
        for c in range(C):
            for r in range(R):
                for s in range(S):
                    j = s * pixel + c
                    at = ((r * broken + j // run) * whole + j % run) * KP
                    for k in range(first, last):
                        grad[k, c, r, s] = sums[at + k]
