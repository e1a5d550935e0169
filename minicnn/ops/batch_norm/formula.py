"""Batch normalisation as printed, in NumPy. The yardstick of all other algorithms.

Shapes: x, y and dy (N, C, ...); weight, bias, mean, var and inv_std (C,). Means are over all axes but C.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array


def statistics(x: Array) -> tuple[Array, Array]:
    """mean[c] = mean of x[:,c], var[c] = mean of (x[:,c] - mean[c])^2: two passes, no difference of large sums"""
    mean = x.mean(axis=_all_but_c(x))
    var = ((x - _along_c(mean, x)) ** 2).mean(axis=_all_but_c(x))
    return mean, var


def forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, *, eps: float, training: bool
) -> Array:
    """y = weight * x_hat + bias, x_hat = (x - mean) / sqrt(var + eps); the same in training and evaluation"""
    del training  # says where mean and var come from, which only the gradient has to know
    y = normalised(x, mean, inverse_std(var, eps))
    y = y if weight is None else y * _along_c(weight, x)
    return y if bias is None else y + _along_c(bias, x)


def grad_input(
    dy: Array, x: Array | None, weight: Array | None, mean: Array | None, inv_std: Array, *, training: bool
) -> Array:
    """dx = the sum of its terms"""
    return sum(grad_input_terms(dy, x, weight, mean, inv_std, training=training).values())


def grad_input_terms(
    dy: Array, x: Array | None, weight: Array | None, mean: Array | None, inv_std: Array, *, training: bool
) -> dict[str, Array]:
    """The ways from x to y, each with its part of dx, by name.

    direct: x moves its own x_hat. In training it also moves the mean and the variance of its channel, which move every
    x_hat of the channel. With dx_hat = dy * weight::

        direct       =   inv_std * dx_hat
        through_mean = - inv_std * mean(dx_hat)
        through_var  = - inv_std * mean(dx_hat * x_hat) * x_hat
    """
    dx_hat = dy if weight is None else dy * _along_c(weight, dy)
    inv = _along_c(inv_std, dy)
    terms = {"direct": inv * dx_hat}
    if training:
        x_hat = normalised(x, mean, inv_std)
        axes = _all_but_c(dy)
        terms["through_mean"] = np.broadcast_to(-inv * dx_hat.mean(axis=axes, keepdims=True), dy.shape)
        terms["through_var"] = -inv * (dx_hat * x_hat).mean(axis=axes, keepdims=True) * x_hat
    return terms


def grad_weight(dy: Array, x: Array, mean: Array, inv_std: Array) -> Array:
    """dweight[c] = sum of dy * x_hat over all axes but C"""
    return (dy * normalised(x, mean, inv_std)).sum(axis=_all_but_c(dy))


def grad_bias(dy: Array) -> Array:
    """dbias[c] = sum of dy over all axes but C"""
    return dy.sum(axis=_all_but_c(dy))


def inverse_std(var: Array, eps: float) -> Array:
    """1 / sqrt(var + eps)"""
    return 1 / np.sqrt(var + eps)


def normalised(x: Array, mean: Array, inv_std: Array) -> Array:
    """x_hat = (x - mean) * inv_std"""
    return (x - _along_c(mean, x)) * _along_c(inv_std, x)


def _all_but_c(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _along_c(v: Array, x: Array) -> Array:
    """(C,) -> (C, 1, 1, ...), which broadcasts against x"""
    return v.reshape(-1, *(1,) * (x.ndim - 2))
