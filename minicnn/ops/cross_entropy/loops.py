"""Cross-entropy as plain loops, compiled.

Shapes: x (N, C, L); target (N, L) class indices or (N, C, L) probabilities; weight (C,); losses and scale (N, L)
float64; all contiguous. L counts all places of an image, 1 where x is (N, C). The classes of a position (n, i) are a
line (`softmax/lines.py`), which one thread computes; the losses are added up in order. All sums are taken in float64.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.cross_entropy import formula
from minicnn.ops.cross_entropy.formula import indices, normaliser
from minicnn.ops.registry import Problem
from minicnn.ops.softmax.lines import LANES, LINES, exponentials, line_of, put, room_for, total
from minicnn.ops.softmax.loops import around


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def forward(
    x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str, label_smoothing: float
) -> Array:
    """losses = - sum_c q[c] weight[c] log_p[c]; then their weighted mean, their sum, or the losses themselves"""
    images = around(x, 1)
    losses = np.empty((images.shape[0], images.shape[2]))
    if indices(target):
        _losses(images, _labels(target, losses), _weight(weight, x), ignore_index, label_smoothing, losses)
    else:
        _losses_of_probabilities(images, around(target, 1), _weight(weight, x), label_smoothing, losses)
    if reduction == "none":
        return losses.astype(x.dtype).reshape(x.shape[:1] + x.shape[2:])
    total = losses.sum()
    if reduction == "mean":
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: the mean of no losses is NaN
            total = total / normaliser(target, weight, ignore_index, x.shape[1])
    return np.asarray(total, x.dtype)


@kernel
def _losses(x, target, weight, ignore_index, smoothing, losses):
    # parallel over groups of lines (n, i); inside: the sum of the exponentials, that over all classes
    N, C, L = x.shape
    for group in prange(-(-N * L // LINES)):
        spare, powers, sums = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(LANES)
        for ni in range(group * LINES, min(N * L, (group + 1) * LINES)):
            n, i = ni // L, ni % L
            t = target[n, i]
            loss = 0.0
            if t != ignore_index:
                line = line_of(x, ni, spare)
                top, whole = exponentials(line, powers, sums)
                log_whole = math.log(whole)
                loss -= (1 - smoothing) * weight[t] * (line[t] - top - log_whole)
                if smoothing > 0:
                    for c in range(C):
                        loss -= smoothing / C * weight[c] * (line[c] - top - log_whole)
            losses[n, i] = loss


@kernel
def _losses_of_probabilities(x, target, weight, smoothing, losses):
    # parallel over groups of lines (n, i); inside: the sum of the exponentials, then that over all classes
    N, C, L = x.shape
    for group in prange(-(-N * L // LINES)):
        spare, powers, sums = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(LANES)
        for ni in range(group * LINES, min(N * L, (group + 1) * LINES)):
            n, i = ni // L, ni % L
            line = line_of(x, ni, spare)
            top, whole = exponentials(line, powers, sums)
            log_whole = math.log(whole)
            loss = 0.0
            for c in range(C):
                q = (1 - smoothing) * target[n, c, i] + smoothing / C
                loss -= q * weight[c] * (line[c] - top - log_whole)
            losses[n, i] = loss


def grad_input(
    dy: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """dx[c] = scale (p[c] sum_j q[j] weight[j] - q[c] weight[c])"""
    dx = np.empty(x.shape, x.dtype)
    images, into, w = around(x, 1), around(dx, 1), _weight(weight, x)
    scale = _scale(dy, x, target, weight, ignore_index, reduction)
    if indices(target):
        _grad_input(images, _labels(target, scale), w, ignore_index, label_smoothing, scale, into)
    else:
        _grad_input_of_probabilities(images, around(target, 1), w, label_smoothing, scale, into)
    return dx


@kernel
def _grad_input(x, target, weight, ignore_index, smoothing, scale, dx):
    # parallel over groups of lines (n, i); inside: the sums over c, then dx over c
    N, C, L = x.shape
    share = smoothing / C
    weights = total(weight, np.empty(LANES))
    for group in prange(-(-N * L // LINES)):
        spare, spare_dx, sums = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(LANES)
        for ni in range(group * LINES, min(N * L, (group + 1) * LINES)):
            t, s = target[ni // L, ni % L], scale[ni // L, ni % L]
            line = room_for(dx, ni, spare_dx)
            if t == ignore_index:
                line[:] = 0
            else:
                _, whole = exponentials(line_of(x, ni, spare), line, sums)
                own = (1 - smoothing) * weight[t]
                pulls = (own + share * weights) / whole
                at_target = s * (line[t] * pulls - share * weight[t] - own)
                for c in range(C):
                    line[c] = s * (line[c] * pulls - share * weight[c])
                line[t] = at_target
            put(line, dx, ni)


@kernel
def _grad_input_of_probabilities(x, target, weight, smoothing, scale, dx):
    # parallel over groups of lines (n, i); inside: the sums over c, then dx over c
    N, C, L = x.shape
    for group in prange(-(-N * L // LINES)):
        spare, spare_q, spare_dx = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
        sums = np.empty(LANES)
        for ni in range(group * LINES, min(N * L, (group + 1) * LINES)):
            s, line, q = scale[ni // L, ni % L], room_for(dx, ni, spare_dx), line_of(target, ni, spare_q)
            _, whole = exponentials(line_of(x, ni, spare), line, sums)
            pulls = 0.0
            for c in range(C):
                pulls += ((1 - smoothing) * q[c] + smoothing / C) * weight[c]
            for c in range(C):
                pull = ((1 - smoothing) * q[c] + smoothing / C) * weight[c]
                line[c] = s * (line[c] * (pulls / whole) - pull)
            put(line, dx, ni)


def grad_target(
    dy: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """dtarget[c] = - scale (1 - label_smoothing) weight[c] log_p[c], for targets that are probabilities"""
    dtarget = np.empty(x.shape, x.dtype)
    scale = _scale(dy, x, target, weight, ignore_index, reduction)
    _grad_target(around(x, 1), _weight(weight, x), label_smoothing, scale, around(dtarget, 1))
    return dtarget


@kernel
def _grad_target(x, weight, smoothing, scale, dtarget):
    # parallel over groups of lines (n, i); inside: the sum over c, then dtarget over c
    N, C, L = x.shape
    for group in prange(-(-N * L // LINES)):
        spare, powers, sums = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(LANES)
        for ni in range(group * LINES, min(N * L, (group + 1) * LINES)):
            given, line = line_of(x, ni, spare), room_for(dtarget, ni, spare)
            top, whole = exponentials(given, powers, sums)
            log_whole, s = math.log(whole), -scale[ni // L, ni % L] * (1 - smoothing)
            for c in range(C):
                line[c] = s * weight[c] * (given[c] - top - log_whole)
            put(line, dtarget, ni)


def _weight(weight: Array | None, x: Array) -> Array:
    """The class weights, contiguous; ones where there are none."""
    return np.ones(x.shape[1], x.dtype) if weight is None else np.ascontiguousarray(weight)


def _labels(target: Array, like: Array) -> Array:
    """(N, ...) -> (N, L), contiguous"""
    return np.ascontiguousarray(target).reshape(like.shape)


def _scale(dy: Array, x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str) -> Array:
    """dL/dlosses: (N, L) float64"""
    scale = np.empty((x.shape[0], math.prod(x.shape[2:])))
    each = formula.scale(dy, target, weight, ignore_index, reduction, x.shape[1])
    scale[:] = each.reshape(scale.shape) if reduction == "none" else each
    return scale
