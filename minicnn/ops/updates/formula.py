"""The steps of the optimizers in NumPy, as printed; in place, for any float dtype and any strides."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array


def _decayed(w: Array, g: Array, weight_decay: float) -> Any:
    """g + weight_decay w"""
    return g + weight_decay * w if weight_decay else g


def sgd(w: Array, g: Array, lr: float, weight_decay: float) -> None:
    """w -= lr g"""
    w -= lr * _decayed(w, g, weight_decay)


def sgd_momentum(
    w: Array,
    g: Array,
    v: Array,
    lr: float,
    weight_decay: float,
    keep: float,
    take: float,
    ahead: float,
    nesterov: bool,
) -> None:
    """v = keep v + take g; w -= lr v, or lr (g + ahead v) with `nesterov`"""
    g = _decayed(w, g, weight_decay)
    v *= keep
    v += take * g
    w -= lr * (g + ahead * v if nesterov else v)


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    step_size: float,
    correction: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    shrink: float,
) -> None:
    """m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2; w -= step_size m / (sqrt(v) / correction + eps)

    with step_size = lr / (1 - beta1^t) and correction = sqrt(1 - beta2^t) in step t. Decay is the gradient's
    (`weight_decay`, Adam) or the parameter's own, before all (w = shrink w with shrink = 1 - lr lambda, AdamW).
    """
    g = _decayed(w, g, weight_decay)
    w *= shrink
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * g * g
    w -= step_size * m / (np.sqrt(v) / correction + eps)


def adamax(
    w: Array,
    g: Array,
    m: Array,
    u: Array,
    step_size: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """m += (1 - beta1) (g - m); u = max(beta2 u, |g| + eps); w -= step_size m / u, step_size = lr / (1 - beta1^t)"""
    g = _decayed(w, g, weight_decay)
    m += (1 - beta1) * (g - m)
    u[...] = np.maximum(beta2 * u, np.abs(g) + eps)
    w -= step_size * m / u


def adagrad(w: Array, g: Array, s: Array, lr: float, eps: float, weight_decay: float) -> None:
    """s += g^2; w -= lr g / (sqrt(s) + eps)"""
    g = _decayed(w, g, weight_decay)
    s += g * g
    w -= lr * g / (np.sqrt(s) + eps)


def rmsprop(
    w: Array,
    g: Array,
    s: Array,
    a: Array | None,
    v: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """s = alpha s + (1 - alpha) g^2; d = g / (sqrt(s) + eps); w -= lr d

    With the mean gradient a (centered): a += (1 - alpha) (g - a), and s - a^2 below the root. With the velocity v:
    v = momentum v + d, and w -= lr v.
    """
    g = _decayed(w, g, weight_decay)
    s *= alpha
    s += (1 - alpha) * g * g
    spread = s
    if a is not None:
        a += (1 - alpha) * (g - a)
        spread = s - a * a
    step = g / (np.sqrt(spread) + eps)
    if v is not None:
        v *= momentum
        v += step
        step = v
    w -= lr * step


def average(a: Array, w: Array, decay: float) -> None:
    """a += (1 - decay) (w - a)"""
    a += (1 - decay) * (w - a)
