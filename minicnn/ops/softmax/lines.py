"""Lines: the D entries of one place of an array (A, D, B), next to each other, with their largest, their sums, and exp.

A compiler makes vectors of a loop whose numbers lie side by side and do not wait for one another. A running sum waits;
so there are LANES of them, which take turns and are added up at the end, always in the same order. Sums are float64.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.exponential import exp
from minicnn.backends.jit import kernel

LANES = 64  # sums, or largest entries, that go side by side
LINES = 8  # that a thread takes at a time


@kernel(parallel=False)
def line_of(x, ab, spare):
    """x[a, :, b], where ab = a B + b: as it lies in memory if B = 1, else copied into `spare`"""
    _, D, B = x.shape
    flat = x.reshape(-1)
    if B == 1:
        return flat[ab * D : (ab + 1) * D]
    first = ab // B * D * B + ab % B
    for i in range(D):
        spare[i] = flat[first + i * B]
    return spare


@kernel(parallel=False)
def room_for(y, ab, spare):
    """Where to write y[a, :, b] to: its own memory if B = 1, else `spare`, which `put` then copies"""
    _, D, B = y.shape
    return y.reshape(-1)[ab * D : (ab + 1) * D] if B == 1 else spare


@kernel(parallel=False)
def put(line, y, ab):
    """y[a, :, b] = line, if it is not there already"""
    _, D, B = y.shape
    if B > 1:
        flat, first = y.reshape(-1), ab // B * D * B + ab % B
        for i in range(D):
            flat[first + i * B] = line[i]


@kernel(parallel=False)
def largest(line):
    """max_i line[i]; NaN wins"""
    tops = np.full(LANES, line[0])
    for start in range(0, line.size, LANES):
        part = line[start : start + LANES]
        for j in range(part.size):
            tops[j] = part[j] if part[j] > tops[j] or part[j] != part[j] else tops[j]
    top = tops[0]
    for j in range(1, LANES):
        top = tops[j] if tops[j] > top or tops[j] != tops[j] else top
    return top


@kernel(parallel=False)
def exponentials(line, y, sums):
    """y[i] = exp(line[i] - max_j line[j]); returns that maximum, and the sum of y"""
    top = largest(line)
    for i in range(line.size):
        y[i] = exp(line[i] - top)
    return top, total(y, sums)


@kernel(parallel=False)
def total(line, sums):
    """sum_i line[i]"""
    sums[:] = 0
    for start in range(0, line.size, LANES):
        part = line[start : start + LANES]
        for j in range(part.size):
            sums[j] += part[j]
    return _added(sums)


@kernel(parallel=False)
def dot(a, b, sums):
    """sum_i a[i] b[i]"""
    sums[:] = 0
    for start in range(0, a.size, LANES):
        part, other = a[start : start + LANES], b[start : start + LANES]
        for j in range(part.size):
            sums[j] += np.float64(part[j]) * other[j]
    return _added(sums)


@kernel(parallel=False)
def _added(sums):
    # by halves: 32 + 32, 16 + 16, ...
    many = sums.size // 2
    while many:
        for j in range(many):
            sums[j] += sums[j + many]
        many //= 2
    return sums[0]
