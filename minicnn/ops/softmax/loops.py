"""Softmax and its logarithm as plain loops, compiled.

Shapes: x, y and dy (A, D, B), contiguous: D entries along `dim`, A places before that axis and B after it. The D
entries of a place (a, b) are a line; the words for lines are in `lines.py`. Sums are taken in float64.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.exponential import exp
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem
from minicnn.ops.softmax.lines import LANES, LINES, dot, exponentials, line_of, put, room_for, total


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


softmax_supports = log_softmax_supports = supports


def softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = exp(x[i] - m) / sum_j exp(x[j] - m), m = max_j x[j]"""
    y = np.empty(x.shape, x.dtype)
    _softmax_forward(around(x, dim), around(y, dim))
    return y


def softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = y[i] (dy[i] - sum_j dy[j] y[j])"""
    dx = np.empty(y.shape, y.dtype)
    _softmax_grad_input(around(dy, dim), around(y, dim), around(dx, dim))
    return dx


def log_softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = x[i] - m - log sum_j exp(x[j] - m), m = max_j x[j]"""
    y = np.empty(x.shape, x.dtype)
    _log_softmax_forward(around(x, dim), around(y, dim))
    return y


def log_softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = dy[i] - exp(y[i]) sum_j dy[j]"""
    dx = np.empty(y.shape, y.dtype)
    _log_softmax_grad_input(around(dy, dim), around(y, dim), around(dx, dim))
    return dx


@kernel
def _softmax_forward(x, y):
    # parallel over groups of lines (a, b); inside: the largest entry, the exponentials and their sum, the division
    A, D, B = x.shape
    for group in prange(-(-A * B // LINES)):
        spare, sums = np.empty(D, x.dtype), np.empty(LANES)
        for ab in range(group * LINES, min(A * B, (group + 1) * LINES)):
            given, line = line_of(x, ab, spare), room_for(y, ab, spare)
            _, whole = exponentials(given, line, sums)
            whole = line.dtype.type(whole)
            for i in range(D):
                line[i] /= whole
            put(line, y, ab)


@kernel
def _softmax_grad_input(dy, y, dx):
    # parallel over groups of lines (a, b); inside: the sum of dy y, then dx
    A, D, B = y.shape
    for group in prange(-(-A * B // LINES)):
        spare, spare_dy, sums = np.empty(D, y.dtype), np.empty(D, y.dtype), np.empty(LANES)
        for ab in range(group * LINES, min(A * B, (group + 1) * LINES)):
            shares, slopes, line = line_of(y, ab, spare), line_of(dy, ab, spare_dy), room_for(dx, ab, spare)
            pull = dot(slopes, shares, sums)
            for i in range(D):
                line[i] = shares[i] * (slopes[i] - pull)
            put(line, dx, ab)


@kernel
def _log_softmax_forward(x, y):
    # parallel over groups of lines (a, b); inside: the largest entry, the sum of the exponentials, then y
    A, D, B = x.shape
    for group in prange(-(-A * B // LINES)):
        spare, powers, sums = np.empty(D, x.dtype), np.empty(D, x.dtype), np.empty(LANES)
        for ab in range(group * LINES, min(A * B, (group + 1) * LINES)):
            given, line = line_of(x, ab, spare), room_for(y, ab, spare)
            top, whole = exponentials(given, powers, sums)
            log_whole = math.log(whole)
            for i in range(D):
                line[i] = (given[i] - top) - log_whole
            put(line, y, ab)


@kernel
def _log_softmax_grad_input(dy, y, dx):
    # parallel over groups of lines (a, b); inside: the sum of dy, then dx
    A, D, B = y.shape
    for group in prange(-(-A * B // LINES)):
        spare, spare_dy, sums = np.empty(D, y.dtype), np.empty(D, y.dtype), np.empty(LANES)
        for ab in range(group * LINES, min(A * B, (group + 1) * LINES)):
            given, slopes, line = line_of(y, ab, spare), line_of(dy, ab, spare_dy), room_for(dx, ab, spare)
            whole = total(slopes, sums)
            for i in range(D):
                line[i] = slopes[i] - exp(given[i]) * whole
            put(line, dx, ab)


def around(x: Array, dim: int) -> Array:
    """(..., D, ...) -> (A, D, B), contiguous"""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :]))
