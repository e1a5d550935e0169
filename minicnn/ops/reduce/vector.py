"""Reductions as vectors, over x as it lies in memory: nothing is turned or copied.

Memory is seen as *runs* of L numbers side by side: neighbouring axes that are all reduced, or all kept. Each result, or
each run of results, is made of R runs, and there are A of them: run r of result a begins at `starts[a] + steps[r]`.
So one kernel does for any axes, any order in memory, and the rows of an image with a border. There are two kinds:

- a run that is reduced becomes one number: y[a] = sum of x[starts[a] + steps[r] + l] over r and l;
- a run that is kept becomes a run of y: y[a, l] = sum of x[starts[a] + steps[r] + l] over r.

Sums are of float64, and many side by side (`partial.py`). Work is cut into pieces of some 2^14 numbers by the shape
alone, and their results are added in order: the number of threads does not change a bit of the result.

Where runs are short (the axes of x alternate in memory, or lie apart), NumPy is as fast, and does it. The gradients are
those of `loops.py`, which one pass over memory limits already.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.backends.scratch import Scratch
from minicnn.ops.axes import Shape
from minicnn.ops.lines import memory_order, supports
from minicnn.ops.reduce import formula
from minicnn.ops.reduce.loops import max_grad_input, mean_grad_input, sum_grad_input
from minicnn.ops.reduce.partial import added, keep, larger, largest, lowest, total, zeros

__all__ = [
    "max_forward",
    "max_grad_input",
    "max_supports",
    "mean_forward",
    "mean_grad_input",
    "mean_supports",
    "sum_forward",
    "sum_grad_input",
    "sum_supports",
]

sum_supports = mean_supports = max_supports = supports

SHORTEST = 16  # numbers of a run; of shorter ones a table of their places would cost more than their sums
PIECE = 1 << 14  # numbers
COLUMNS = 512  # of a piece
SMALL = 1 << 16  # numbers; with fewer, the calling thread does all


def sum_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = sum x"""
    y = _reduce(x, dim, keepdim, maximum=False, divisor=1.0)
    return formula.sum_forward(x, dim=dim, keepdim=keepdim) if y is None else y


def mean_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = 1/B sum x"""
    y = _reduce(x, dim, keepdim, maximum=False, divisor=float(math.prod(x.shape[axis] for axis in dim)))
    return formula.mean_forward(x, dim=dim, keepdim=keepdim) if y is None else y


def max_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = max x; NaN wins"""
    y = _reduce(x, dim, keepdim, maximum=True, divisor=1.0)
    return formula.max_forward(x, dim=dim, keepdim=keepdim) if y is None else y


def _reduce(x: Array, dim: Shape, keepdim: bool, *, maximum: bool, divisor: float) -> Array | None:
    """The reduction of x; None if x does not lie in runs."""
    order = memory_order(x)
    run, inner, reduces = _run(x, order, dim)
    if run < SHORTEST or x.size == 0 or not x.flags.aligned or min(x.strides) < 0:
        return None
    outer = [axis for axis in order if axis not in inner]
    starts = _places(x, [axis for axis in outer if axis not in dim])
    steps = _places(x, [axis for axis in outer if axis in dim])
    kept = [axis for axis in order if axis not in dim]
    y = np.empty([x.shape[axis] for axis in kept], x.dtype)  # lies as x does
    last = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True)) // x.itemsize
    memory = np.lib.stride_tricks.as_strided(x, (last + 1,), (x.itemsize,), writeable=False)
    fold = _rows if reduces else _columns
    fold(memory, starts, steps, run, y.reshape(-1), maximum, divisor)
    y = y.transpose(sorted(range(len(kept)), key=kept.__getitem__))
    return np.expand_dims(y, dim) if keepdim else y


def _run(x: Array, order: list[int], dim: Shape) -> tuple[int, list[int], bool]:
    """How many numbers lie side by side along axes of one kind, these axes, and whether they are reduced."""
    run, inner = 1, list[int]()
    for axis in reversed(order):
        if x.shape[axis] == 1:  # takes part in nothing, wherever it stands
            continue
        if x.strides[axis] != run * x.itemsize or (inner and (axis in dim) != (inner[0] in dim)):
            break
        run *= x.shape[axis]
        inner.append(axis)
    return run, inner, bool(inner) and inner[0] in dim


def _places(x: Array, axes: list[int]) -> Array:
    """Where in memory the elements along these axes begin, the last axis fastest."""
    places = np.zeros(1, np.int64)
    for axis in axes:
        places = np.add.outer(places, np.arange(x.shape[axis]) * (x.strides[axis] // x.itemsize)).reshape(-1)
    return places


# ---- runs that become numbers ---------------------------------------------------------------------------------------


def _rows(x: Array, starts: Array, steps: Array, run: int, y: Array, maximum: bool, divisor: float) -> None:
    """y[a] from the runs of x; a piece of work is several runs, or a part of one."""
    runs, numbers = max(1, PIECE // run), min(run, PIECE)
    pieces = -(-steps.size // runs) * -(-run // numbers)
    with Scratch(starts.size * pieces, np.float64) as parts:
        _fold_rows(x, starts, steps, run, runs, numbers, parts, pieces, y, maximum, divisor)


@kernel
def _fold_rows(x, starts, steps, run, runs, numbers, parts, pieces, y, maximum, divisor):
    # parts[a, piece], parallel over (a, piece); then y[a] = sum of parts[a] / divisor, or their maximum, in order
    A = starts.size
    if A * steps.size * run <= SMALL:
        for u in range(A * pieces):
            _piece_of_rows(x, starts, steps, run, runs, numbers, parts, pieces, maximum, u)
    else:
        for u in prange(A * pieces):
            _piece_of_rows(x, starts, steps, run, runs, numbers, parts, pieces, maximum, u)
    for a in range(A):
        result = parts[a * pieces]
        for u in range(a * pieces + 1, a * pieces + pieces):
            if not maximum:
                result += parts[u]
            elif parts[u] > result or parts[u] != parts[u]:
                result = parts[u]
        y[a] = result / divisor


@kernel(parallel=False)
def _piece_of_rows(x, starts, steps, run, runs, numbers, parts, pieces, maximum, u):
    # parts[u], u = a pieces + piece; short rows have one piece, and no time for divisions
    if pieces == 1:
        parts[u] = _row_maximum(x, starts[u], steps, run) if maximum else _row_sum(x, starts[u], steps, run)
        return
    of_a_run = (run + numbers - 1) // numbers
    piece = u % pieces
    start, first = starts[u // pieces] + piece % of_a_run * numbers, piece // of_a_run * runs
    many = min(numbers, run - piece % of_a_run * numbers)
    mine = steps[first : min(steps.size, first + runs)]
    parts[u] = _row_maximum(x, start, mine, many) if maximum else _row_sum(x, start, mine, many)


@kernel(parallel=False)
def _row_sum(x, start, steps, many):
    # the sum of x[start + step + l], l < many, over all steps
    wide, narrow, rest = zeros(32, x), zeros(16, x), 0.0
    for step in steps:
        i, end = start + step, start + step + many
        while i + 32 <= end:
            wide = added(wide, x, i)
            i += 32
        if i + 16 <= end:
            narrow = added(narrow, x, i)
            i += 16
        while i < end:
            rest += x[i]
            i += 1
    return total(wide) + total(narrow) + rest


@kernel(parallel=False)
def _row_maximum(x, start, steps, many):
    # the maximum of x[start + step + l], l < many, over all steps
    wide, narrow, rest = lowest(64, x), lowest(16, x), x.dtype.type(-np.inf)
    for step in steps:
        i, end = start + step, start + step + many
        while i + 64 <= end:
            wide = larger(wide, x, i)
            i += 64
        while i + 16 <= end:
            narrow = larger(narrow, x, i)
            i += 16
        while i < end:
            rest = _larger_of(x[i], rest)
            i += 1
    return np.float64(_larger_of(largest(wide), _larger_of(largest(narrow), rest)))


@kernel(parallel=False)
def _larger_of(value, best):
    # NaN replaces everything, and nothing is larger than NaN
    return value if value > best or value != value else best


# ---- runs that stay runs --------------------------------------------------------------------------------------------


def _columns(x: Array, starts: Array, steps: Array, run: int, y: Array, maximum: bool, divisor: float) -> None:
    """y[a, l] from the runs of x; a piece of work is some columns l of at least 64 runs, if there are so many."""
    runs = max(64, PIECE // run)
    pieces = -(-steps.size // runs)
    if pieces == 1:
        _fold_columns(x, starts, steps, run, runs, y, pieces, maximum, divisor)
        return
    with Scratch(starts.size * pieces * run, np.float64) as parts:
        _fold_columns(x, starts, steps, run, runs, parts, pieces, maximum, 1.0)
        _add_pieces(parts, pieces, run, y, maximum, divisor)


@kernel
def _fold_columns(x, starts, steps, run, runs, to, pieces, maximum, divisor):
    # to[a, piece, l], parallel over (a, piece, some of l)
    A, blocks = starts.size, (run + COLUMNS - 1) // COLUMNS
    if A * steps.size * run <= SMALL:
        for u in range(A * pieces * blocks):
            _piece_of_columns(x, starts, steps, run, runs, to, pieces, maximum, divisor, u)
    else:
        for u in prange(A * pieces * blocks):
            _piece_of_columns(x, starts, steps, run, runs, to, pieces, maximum, divisor, u)


@kernel(parallel=False)
def _piece_of_columns(x, starts, steps, run, runs, to, pieces, maximum, divisor, u):
    # to[a, piece, l] for a block of columns l, u = (a pieces + piece) blocks + block: 64 columns at a time, then 16; of
    # the last 16 some may come a second time, with the same result
    blocks = (run + COLUMNS - 1) // COLUMNS
    piece, left = u // blocks, u % blocks * COLUMNS
    start, first = starts[piece // pieces], piece % pieces * runs
    mine = steps[first : min(steps.size, first + runs)]
    right = min(run, left + COLUMNS)
    while left + 64 <= right:
        if maximum:
            best = lowest(64, x)
            for step in mine:
                best = larger(best, x, start + step + left)
            keep(best, to, piece * run + left, divisor)
        else:
            sums = zeros(64, x)
            for step in mine:
                sums = added(sums, x, start + step + left)
            keep(sums, to, piece * run + left, divisor)
        left += 64
    while left < right:
        left = min(left, run - 16)
        if maximum:
            few = lowest(16, x)
            for step in mine:
                few = larger(few, x, start + step + left)
            keep(few, to, piece * run + left, divisor)
        else:
            some = zeros(16, x)
            for step in mine:
                some = added(some, x, start + step + left)
            keep(some, to, piece * run + left, divisor)
        left += 16


@kernel
def _add_pieces(parts, pieces, run, y, maximum, divisor):
    # y[a, l] = sum of parts[a, piece, l] / divisor, or their maximum, in order; parallel over a; inside: pieces, l
    A = y.size // run
    for a in prange(A):
        first = parts[a * pieces * run : (a * pieces + 1) * run]
        for piece in range(a * pieces + 1, (a + 1) * pieces):
            other = parts[piece * run : (piece + 1) * run]
            for l in range(run):  # noqa: E741 (from 0 on: only such loops become vectors)
                if maximum:
                    first[l] = _larger_of(other[l], first[l])
                else:
                    first[l] += other[l]
        result = y[a * run : (a + 1) * run]
        for l in range(run):  # noqa: E741
            result[l] = first[l] / divisor
