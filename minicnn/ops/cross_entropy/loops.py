"""Cross-entropy as plain loops, compiled.

Shapes: x (N, C, L); target (N, L) class indices or (N, C, L) probabilities; weight (C,); losses and scale (N, L)
float64; all contiguous. L counts all places of an image, 1 where x is (N, C). Each position (n, i) has one thread; the
losses are added up in order. All sums are taken in float64.
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
from minicnn.ops.softmax.loops import around, largest


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


@kernel(parallel=False)
def _log_total(x, n, i):
    # log sum_c exp(x[n,c,i]), as its two parts: the largest entry, and the logarithm of the sum of exp(x - largest)
    top = largest(x, n, i)
    total = 0.0
    for c in range(x.shape[1]):
        total += math.exp(x[n, c, i] - top)
    return top, math.log(total)


@kernel
def _losses(x, target, weight, ignore_index, smoothing, losses):
    # parallel over (n, i); inside: the sum of the exponentials over c, and with smoothing the sum over all classes
    N, C, L = x.shape
    for ni in prange(N * L):
        n, i = ni // L, ni % L
        t = target[n, i]
        loss = 0.0
        if t != ignore_index:
            top, log_total = _log_total(x, n, i)
            loss -= (1 - smoothing) * weight[t] * (x[n, t, i] - top - log_total)
            if smoothing > 0:
                for c in range(C):
                    loss -= smoothing / C * weight[c] * (x[n, c, i] - top - log_total)
        losses[n, i] = loss


@kernel
def _losses_of_probabilities(x, target, weight, smoothing, losses):
    # parallel over (n, i); inside: the sum of the exponentials over c, then the sum over all classes
    N, C, L = x.shape
    for ni in prange(N * L):
        n, i = ni // L, ni % L
        top, log_total = _log_total(x, n, i)
        loss = 0.0
        for c in range(C):
            q = (1 - smoothing) * target[n, c, i] + smoothing / C
            loss -= q * weight[c] * (x[n, c, i] - top - log_total)
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
    # parallel over (n, i); inside: the sums over c, then dx over c
    N, C, L = x.shape
    for ni in prange(N * L):
        n, i = ni // L, ni % L
        t = target[n, i]
        if t == ignore_index:
            for c in range(C):
                dx[n, c, i] = 0
        else:
            top, log_total = _log_total(x, n, i)
            pulls = (1 - smoothing) * weight[t]
            for c in range(C):
                pulls += smoothing / C * weight[c]
            for c in range(C):
                pull = smoothing / C * weight[c]
                if c == t:
                    pull += (1 - smoothing) * weight[t]
                dx[n, c, i] = scale[n, i] * (math.exp(x[n, c, i] - top - log_total) * pulls - pull)


@kernel
def _grad_input_of_probabilities(x, target, weight, smoothing, scale, dx):
    # parallel over (n, i); inside: the sums over c, then dx over c
    N, C, L = x.shape
    for ni in prange(N * L):
        n, i = ni // L, ni % L
        top, log_total = _log_total(x, n, i)
        pulls = 0.0
        for c in range(C):
            pulls += ((1 - smoothing) * target[n, c, i] + smoothing / C) * weight[c]
        for c in range(C):
            pull = ((1 - smoothing) * target[n, c, i] + smoothing / C) * weight[c]
            dx[n, c, i] = scale[n, i] * (math.exp(x[n, c, i] - top - log_total) * pulls - pull)


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
    # parallel over (n, i); inside: the sum over c, then dtarget over c
    N, C, L = x.shape
    for ni in prange(N * L):
        n, i = ni // L, ni % L
        top, log_total = _log_total(x, n, i)
        for c in range(C):
            dtarget[n, c, i] = -scale[n, i] * (1 - smoothing) * weight[c] * (x[n, c, i] - top - log_total)


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
