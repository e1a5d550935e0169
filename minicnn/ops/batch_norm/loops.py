"""Batch normalisation as plain loops, compiled.

Shapes: x, y and dy (N, C, L), where L counts all places of an image; weight, bias, mean, inv_std (C,); all contiguous.

Sums over a channel are taken in float64 in LANES partial sums (place l adds to lane l % LANES), which are added in
order at the end: lanes become vectors, rounding errors stay small, and the order is fixed. A channel belongs to one
thread.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.batch_norm.formula import inverse_std
from minicnn.ops.registry import Problem

LANES = 64


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def statistics(x: Array) -> tuple[Array, Array]:
    """mean[c] = mean of x[:,c,:], var[c] = mean of (x[:,c,:] - mean[c])^2, in two passes"""
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    _statistics(_planes(x), mean, var)
    return mean, var


@kernel
def _statistics(x, mean, var):
    # parallel over c; inside: n, then the places in steps of LANES
    N, C, L = x.shape
    for c in prange(C):
        lanes = np.zeros(LANES)
        for n in range(N):
            for start in range(0, L, LANES):
                for j in range(min(LANES, L - start)):
                    lanes[j] += x[n, c, start + j]
        middle = _total(lanes) / (N * L)
        lanes[:] = 0
        for n in range(N):
            for start in range(0, L, LANES):
                for j in range(min(LANES, L - start)):
                    lanes[j] += (x[n, c, start + j] - middle) ** 2
        mean[c] = middle
        var[c] = _total(lanes) / (N * L)


@kernel(parallel=False)
def _total(lanes):
    # the sum of the lanes, in order
    total = 0.0
    for lane in lanes:
        total += lane
    return total


def forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, *, eps: float, training: bool
) -> Array:
    """y = weight * x_hat + bias, x_hat = (x - mean) / sqrt(var + eps); the same in training and evaluation"""
    del training  # says where mean and var come from, which only the gradient has to know
    y = np.empty(x.shape, x.dtype)
    bias = np.zeros_like(mean) if bias is None else np.ascontiguousarray(bias)
    inv_std = inverse_std(np.ascontiguousarray(var), eps)
    _forward(_planes(x), _weight(weight, mean), bias, np.ascontiguousarray(mean), inv_std, _planes(y))
    return y


@kernel
def _forward(x, weight, bias, mean, inv_std, y):
    # parallel over (n, c); inside: the places
    N, C, L = x.shape
    for nc in prange(N * C):
        n, c = nc // C, nc % C
        for j in range(L):
            y[n, c, j] = (x[n, c, j] - mean[c]) * inv_std[c] * weight[c] + bias[c]


def grad_input(
    dy: Array, x: Array | None, weight: Array | None, mean: Array | None, inv_std: Array, *, training: bool
) -> Array:
    """dx = inv_std * weight * (dy - mean(dy) - x_hat * mean(dy * x_hat)); in evaluation only the term of dy"""
    dx = np.empty(dy.shape, dy.dtype)
    inv_std = np.ascontiguousarray(inv_std)
    scale = inv_std * _weight(weight, inv_std)
    if training:
        _grad_input(_planes(dy), _planes(x), scale, np.ascontiguousarray(mean), inv_std, _planes(dx))
    else:
        _grad_input_evaluation(_planes(dy), scale, _planes(dx))
    return dx


@kernel
def _grad_input(dy, x, scale, mean, inv_std, dx):
    # parallel over c; inside: both means over n and the places, then dx over n and the places
    N, C, L = dy.shape
    count = N * L
    for c in prange(C):
        sum_dy, sum_dy_x_hat = _sums(dy, x, c, mean[c], inv_std[c])
        mean_dy = dy.dtype.type(sum_dy / count)
        mean_dy_x_hat = dy.dtype.type(sum_dy_x_hat / count)
        for n in range(N):
            for j in range(L):
                x_hat = (x[n, c, j] - mean[c]) * inv_std[c]
                dx[n, c, j] = scale[c] * (dy[n, c, j] - mean_dy - x_hat * mean_dy_x_hat)


@kernel(parallel=False)
def _sums(dy, x, c, mean, inv_std):
    # sum of dy and of dy * x_hat over channel c
    N, _, L = dy.shape
    plain, weighted = np.zeros(LANES), np.zeros(LANES)
    for n in range(N):
        for start in range(0, L, LANES):
            for j in range(min(LANES, L - start)):
                plain[j] += dy[n, c, start + j]
                weighted[j] += dy[n, c, start + j] * ((x[n, c, start + j] - mean) * inv_std)
    return _total(plain), _total(weighted)


@kernel
def _grad_input_evaluation(dy, scale, dx):
    # parallel over (n, c); inside: the places
    N, C, L = dy.shape
    for nc in prange(N * C):
        n, c = nc // C, nc % C
        for j in range(L):
            dx[n, c, j] = scale[c] * dy[n, c, j]


def grad_weight(dy: Array, x: Array, mean: Array, inv_std: Array) -> Array:
    """dweight[c] = sum of dy[:,c,:] * x_hat[:,c,:]"""
    dweight = np.empty(dy.shape[1], dy.dtype)
    _grad_weight(_planes(dy), _planes(x), np.ascontiguousarray(mean), np.ascontiguousarray(inv_std), dweight)
    return dweight


@kernel
def _grad_weight(dy, x, mean, inv_std, dweight):
    # parallel over c
    for c in prange(dy.shape[1]):
        dweight[c] = _sums(dy, x, c, mean[c], inv_std[c])[1]


def grad_bias(dy: Array) -> Array:
    """dbias[c] = sum of dy[:,c,:]"""
    dbias = np.empty(dy.shape[1], dy.dtype)
    _grad_bias(_planes(dy), dbias)
    return dbias


@kernel
def _grad_bias(dy, dbias):
    # parallel over c; inside: n, then the places in steps of LANES
    N, C, L = dy.shape
    for c in prange(C):
        lanes = np.zeros(LANES)
        for n in range(N):
            for start in range(0, L, LANES):
                for j in range(min(LANES, L - start)):
                    lanes[j] += dy[n, c, start + j]
        dbias[c] = _total(lanes)


def _planes(x: Array) -> Array:
    """(N, C, ...) -> (N, C, L), contiguous"""
    return np.ascontiguousarray(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _weight(weight: Array | None, like: Array) -> Array:
    """The weight, contiguous; ones where there is none."""
    return np.ones_like(like) if weight is None else np.ascontiguousarray(weight)
