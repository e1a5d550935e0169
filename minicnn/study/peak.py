"""What this machine can do at most, measured by kernels of our own: multiply-adds a second, and bytes a second.

The peak is a register tile (see `backends/simd.py`) that multiplies and adds numbers which stay in the first cache, on
all threads. The bandwidth is the better of two streams through arrays that no cache holds: reading one, and
`a = b + s c` (STREAM's *triad*). Each is run several times and the fastest counts: this is about what is possible.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads, prange

from minicnn.backends.cpu import TILE, lanes_of
from minicnn.backends.jit import kernel
from minicnn.backends.scratch import aligned_zeros
from minicnn.backends.simd import lanes, vload, vstore, vzero
from minicnn.backends.tiles import tile_fma, tile_store, tile_zero

MR, NV = TILE
DEPTH = 64  # steps along k: MR*DEPTH numbers of a and NV vectors times DEPTH of b are at most 12 kB
STEPS = 2000  # times through them in one part
PARTS_A_THREAD = 4
STREAM = 2**25  # numbers in each array of a stream: 128 MiB of float32
BLOCK = 2**12  # numbers of a stream that one step of the parallel loop takes
TRIES = 7


@dataclass(frozen=True)
class Peak:
    """Floating point operations and bytes a second, with all threads of Numba."""

    flops: float
    bandwidth: float
    threads: int


def measure(dtype: Any = np.float32, steps: int = STEPS, stream: int = STREAM) -> Peak:
    """Measure the machine, once a process for each set of arguments."""
    return _measure(np.dtype(dtype).char, steps, stream, get_num_threads())


@functools.cache
def _measure(dtype: str, steps: int, stream: int, threads: int) -> Peak:
    return Peak(_flops(dtype, steps, threads), _bandwidth(dtype, stream), threads)


def _flops(dtype: str, steps: int, threads: int) -> float:
    width, parts = NV * lanes_of(dtype), PARTS_A_THREAD * threads
    rng = np.random.Generator(np.random.PCG64(0))
    a, b = (aligned_zeros(DEPTH * size, dtype) for size in (MR, width))
    a[:], b[:] = rng.random(a.size), rng.random(b.size)
    c = aligned_zeros(parts * MR * width, dtype)
    seconds = _fastest(lambda: _multiply_adds(a, b, c, parts, steps))
    return 2.0 * parts * steps * DEPTH * MR * width / seconds


def _bandwidth(dtype: str, stream: int) -> float:
    size = max(stream // BLOCK, 1) * BLOCK
    a, b, c = (aligned_zeros(size, dtype) for _ in range(3))
    sums = aligned_zeros(size // BLOCK * lanes_of(dtype), dtype)
    for array in (a, b, c):
        array.fill(1)  # memory that was never written has no pages of its own
    read = a.nbytes / _fastest(lambda: _read(a, sums))
    triad = 3 * a.nbytes / _fastest(lambda: _triad(a, b, c, a.dtype.type(0.5)))
    return max(read, triad)


def _fastest(call: Callable[[], Any]) -> float:
    call()
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@kernel
def _multiply_adds(a, b, c, parts, steps):
    # a (DEPTH, MR), b (DEPTH, NV vectors), c (parts, MR, NV vectors): tile[i][v] += a[k, i] * b[k, v], again and again
    # parallel over parts; inside: steps, k
    width = NV * lanes(c)
    for part in prange(parts):
        tile = tile_zero(MR, NV, c)
        for _ in range(steps):
            for k in range(DEPTH):
                tile = tile_fma(MR, NV, tile, a, k * MR, 1, b, k * width)
        tile_store(MR, NV, tile, c, part * MR * width, width)


@kernel
def _read(a, sums):
    # sums[block] = sum of the vectors of a's block; parallel over blocks; inside: vectors in fours
    L = lanes(a)
    for block in prange(a.size // BLOCK):
        at = block * BLOCK
        s0, s1, s2, s3 = vzero(a), vzero(a), vzero(a), vzero(a)
        for i in range(at, at + BLOCK, 4 * L):
            s0 = s0 + vload(a, i)
            s1 = s1 + vload(a, i + L)
            s2 = s2 + vload(a, i + 2 * L)
            s3 = s3 + vload(a, i + 3 * L)
        vstore(sums, block * L, (s0 + s1) + (s2 + s3))


@kernel
def _triad(a, b, c, s):
    # a = b + s c; parallel over blocks; inside: along the block
    for block in prange(a.size // BLOCK):
        for i in range(block * BLOCK, (block + 1) * BLOCK):
            a[i] = b[i] + s * c[i]
