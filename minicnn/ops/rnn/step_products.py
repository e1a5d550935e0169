"""The matrix product inside a step, for a few sequences at once: what the kernels of `rnn`, `lstm` and `gru` share.

Sequences of a batch do not know each other, so a thread takes ROWS of them from the first step to the last, and no
thread waits for another between steps. Their states stay in the first cache, and so, if it is not too large, does the
matrix: it lies in panels of NR columns, [panel][k][NR], with zeros beyond the last column.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.backends.cpu import TILE, lanes_of
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes
from minicnn.backends.tiles import tile_fma, tile_store, tile_zero

ROWS = 4  # with NV = 2 vectors, 8 sums side by side: as many as a core's multiply-adds need
NV = TILE[1]


def panels(w: Array) -> tuple[Array, int]:
    """(K, J) as panels, flat, and J with the columns of zeros."""
    wide = NV * lanes_of(w.dtype)
    padded = np.zeros((w.shape[0], -(-w.shape[1] // wide) * wide), w.dtype)
    padded[:, : w.shape[1]] = w
    split = padded.reshape(w.shape[0], -1, wide).transpose(1, 0, 2)
    return np.ascontiguousarray(split).reshape(-1), padded.shape[1]


@kernel(parallel=False)
def product(a, K, w, wide, s):
    """s[r, j] = sum_k a[r, k] w[k, j] for ROWS rows r and `wide` columns j; a and s flat, w in panels"""
    NR = NV * lanes(s)
    for j in range(0, wide, NR):
        acc = tile_zero(ROWS, NV, s)
        for k in range(K):
            acc = tile_fma(ROWS, NV, acc, a, k, K, w, (j // NR * K + k) * NR)
        tile_store(ROWS, NV, acc, s, j, wide)
