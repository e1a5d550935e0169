"""The compiled kernels of the tiled matrix product.

Shapes: a (A, M, K), b (B, K, N), c (G, M, N), each as one row of numbers. Both operands are cut along their long side:
a into tiles of MR rows, b into panels of NR = NV vectors of columns::

                 panel p: K x NR                 c[tile, p] = sum_k a[tile, k] * b[k, p]
                 +------+
                 |      |                        MR x NR sums stay in registers for the whole sum over k;
      tile of a  |      |                        a panel of b stays in the cache for many tiles of a.
      MR x K     +------+
    +---------+  +------+
    +---------+  +------+  tile of c: MR x NR

Tiles and panels that do not lie so in memory, and those at the edges, are copied with zeros around them: [k][MR] and
[k][NR]. Tiles of c at an edge are computed in a buffer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numba import prange

from minicnn.backends.cpu import TILE
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, vload, vstore
from minicnn.backends.tiles import tile_add, tile_fma, tile_load, tile_store, tile_zero

NV = TILE[1]
HEIGHTS = (14, 8, 4) if TILE[0] >= 8 else (6, 4)  # of tiles; each is compiled when needed


def tile_height(rows: int) -> int:
    """Height of the tiles that compute so many rows with the least work; low tiles load more for each product."""
    return min(HEIGHTS, key=lambda height: -(-rows // height) * (height + 0.6))


@functools.cache
def products_of(MR: int) -> Callable[..., None]:
    """The parallel kernel for tiles of MR rows."""

    @kernel
    def products(
        a, a_row, a_panels, whole_rows, b, b_row, b_panels, whole_panels, a_at, b_at, c, c_row, c_column, bias, M, N,
        K, part, block,
    ):  # fmt: skip
        # c[g, i, j] = sum over t, k of a[a_at[g, t], i, k] b[b_at[g, t], k, j] + bias of the column (of the row, if
        # c is turned: c_column > 1). Parallel over g x blocks of tiles x panels; inside: t, parts of k, tiles, k.
        # The first whole_rows tiles of a are read from a itself, the others from a_panels; b alike
        NR = NV * lanes(c)
        G, T = a_at.shape
        tiles, panels = (M + MR - 1) // MR, (N + NR - 1) // NR
        blocks = (tiles + block - 1) // block
        for unit in prange(G * blocks * panels):
            g, place = unit // (blocks * panels), unit % (blocks * panels)
            first, p = place // panels * block, place % panels
            width = min(NR, N - p * NR)
            edge = np.empty(MR * NR, c.dtype)
            for t in range(T):
                for k0 in range(0, K, part):
                    more, last = t > 0 or k0 > 0, t == T - 1 and k0 + part >= K
                    long = min(part, K - k0)
                    if p < whole_panels:
                        right, ib0, b_step = b, (b_at[g, t] * K + k0) * b_row + p * NR, b_row
                    else:
                        panel = b_at[g, t] * (panels - whole_panels) + p - whole_panels
                        right, ib0, b_step = b_panels, (panel * K + k0) * NR, NR
                    for tile in range(first, min(tiles, first + block)):
                        height = min(MR, M - tile * MR)
                        at = g * M * N + tile * MR * c_row + p * NR * c_column
                        inside = height == MR and width == NR and c_column == 1
                        into, to, row = (c, at, c_row) if inside else (edge, 0, NR)
                        if more and not inside:
                            for i in range(height):
                                for j in range(width):
                                    edge[i * NR + j] = c[at + i * c_row + j * c_column]
                        acc = tile_zero(MR, NV, c)
                        if more:
                            acc = tile_load(MR, NV, into, to, row)
                        ib = ib0
                        if tile < whole_rows:
                            ia = (a_at[g, t] * M + tile * MR) * a_row + k0
                            for k in range(long):
                                acc = tile_fma(MR, NV, acc, a, ia + k, a_row, right, ib)
                                ib += b_step
                        else:
                            ia = ((a_at[g, t] * (tiles - whole_rows) + tile - whole_rows) * K + k0) * MR
                            for _ in range(long):
                                acc = tile_fma(MR, NV, acc, a_panels, ia, 1, right, ib)
                                ia += MR
                                ib += b_step
                        if last and bias.size and c_column == 1:
                            acc = tile_add(MR, NV, acc, bias, p * NR, 0)
                        tile_store(MR, NV, acc, into, to, row)
                        if not inside:
                            for i in range(height):
                                added = bias[tile * MR + i] if last and bias.size and c_column > 1 else 0
                                for j in range(width):
                                    c[at + i * c_row + j * c_column] = edge[i * NR + j] + added

    return products


@kernel
def pack(x, row_step, k_step, rows, K, wide, whole, many, matrices, steps, out):
    """Copy matrices into panels."""
    # out[matrix][panel][k][i] = x[matrix, (whole + panel) * wide + i, k], zeros beyond the last row
    # parallel over matrices x panels x parts of k; inside: along what is contiguous in x
    parts = (K + steps - 1) // steps
    for unit in prange(matrices * many * parts):
        if row_step == 1:  # neighbours of a panel lie side by side in x, else the parts of a panel
            panel, first = unit % (matrices * many), unit // (matrices * many) * steps
        else:
            panel, first = unit // parts, unit % parts * steps
        matrix, row = panel // many, (whole + panel % many) * wide
        there, long = min(wide, rows - row), min(steps, K - first)
        at = matrix * rows * K + row * row_step + first * k_step
        to = (panel * K + first) * wide
        into = out[to : to + long * wide].reshape(long, wide)
        if there < wide:
            into[:] = 0
        if row_step > 1:
            for i in range(there):
                line = x[at + i * row_step : at + i * row_step + long]
                for k in range(long):
                    into[k, i] = line[k]
        elif there < wide or wide % lanes(x):
            for k in range(long):
                line = x[at + k * k_step : at + k * k_step + there]
                for i in range(there):
                    into[k, i] = line[i]
        else:
            for k in range(long):
                for i in range(0, wide, lanes(x)):
                    vstore(out, to + k * wide + i, vload(x, at + k * k_step + i))
