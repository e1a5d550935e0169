"""The steps of the optimizers as compiled loops: each number of each array is read and written once.

Shapes: parameter w, gradient g and the optimizer's memory (a, m, s, u, v): all numbers of an array as one line. NumPy
would go through memory once for every operation of the formula. The settings are float64 and are rounded to the dtype
of w, as NumPy does. Formulas and settings: `formula.py`.

Small arrays run on the calling thread: to wake the others takes longer than the step. A part is sliced first, so that
its loop begins at 0: an index that might be negative, for all that the compiler knows, keeps it from using vectors,
and the step takes four times as long.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel

PART = 1 << 14  # numbers that one thread takes at a time
SMALL = 1 << 16  # numbers; with fewer, the calling thread does all


def sgd(w: Array, g: Array, lr: float, weight_decay: float) -> None:
    """w -= lr g"""
    run = _sgd_part if w.size <= SMALL else _sgd
    run(w.reshape(-1), g.reshape(-1), 0, w.size, float(lr), float(weight_decay))


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
    run = _momentum_part if w.size <= SMALL else _momentum
    settings = float(lr), float(weight_decay), float(keep), float(take), float(ahead), bool(nesterov)
    run(w.reshape(-1), g.reshape(-1), v.reshape(-1), 0, w.size, *settings)


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
    """w = shrink w; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2;
    w -= step_size m / (sqrt(v) / correction + eps)
    """
    run = _adam_part if w.size <= SMALL else _adam
    settings = [float(s) for s in (step_size, correction, beta1, beta2, eps, weight_decay, shrink)]
    run(w.reshape(-1), g.reshape(-1), m.reshape(-1), v.reshape(-1), 0, w.size, *settings)


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
    """m += (1 - beta1) (g - m); u = max(beta2 u, |g| + eps); w -= step_size m / u"""
    run = _adamax_part if w.size <= SMALL else _adamax
    settings = [float(s) for s in (step_size, beta1, beta2, eps, weight_decay)]
    run(w.reshape(-1), g.reshape(-1), m.reshape(-1), u.reshape(-1), 0, w.size, *settings)


def adagrad(w: Array, g: Array, s: Array, lr: float, eps: float, weight_decay: float) -> None:
    """s += g^2; w -= lr g / (sqrt(s) + eps)"""
    run = _adagrad_part if w.size <= SMALL else _adagrad
    run(w.reshape(-1), g.reshape(-1), s.reshape(-1), 0, w.size, float(lr), float(eps), float(weight_decay))


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
    """s = alpha s + (1 - alpha) g^2; d = g / (sqrt(s) + eps), or of s - a^2; w -= lr d, or lr v with velocity"""
    run = _rmsprop_part if w.size <= SMALL else _rmsprop
    nothing = np.empty(0, w.dtype)
    lines = [nothing if x is None else x.reshape(-1) for x in (w, g, s, a, v)]
    settings = [float(s) for s in (lr, alpha, eps, weight_decay, momentum)]
    run(*lines, 0, w.size, *settings, a is not None, v is not None)


def average(a: Array, w: Array, decay: float) -> None:
    """a += (1 - decay) (w - a)"""
    run = _average_part if w.size <= SMALL else _average
    run(a.reshape(-1), w.reshape(-1), 0, w.size, float(decay))


@kernel(parallel=False)
def _sgd_part(w, g, start, stop, lr, weight_decay):
    w, g = w[start:stop], g[start:stop]
    number = w.dtype.type
    lr, weight_decay = number(lr), number(weight_decay)
    for i in range(w.size):
        step = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        w[i] -= lr * step


@kernel
def _sgd(w, g, start, stop, lr, weight_decay):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        _sgd_part(w, g, part * PART, min(stop, (part + 1) * PART), lr, weight_decay)


@kernel(parallel=False)
def _momentum_part(w, g, v, start, stop, lr, weight_decay, keep, take, ahead, nesterov):
    w, g, v = w[start:stop], g[start:stop], v[start:stop]
    number = w.dtype.type
    lr, weight_decay, keep, take, ahead = number(lr), number(weight_decay), number(keep), number(take), number(ahead)
    for i in range(w.size):
        step = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        v[i] = keep * v[i] + take * step
        step = step + ahead * v[i] if nesterov else v[i]
        w[i] -= lr * step


@kernel
def _momentum(w, g, v, start, stop, lr, weight_decay, keep, take, ahead, nesterov):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        first, last = part * PART, min(stop, (part + 1) * PART)
        _momentum_part(w, g, v, first, last, lr, weight_decay, keep, take, ahead, nesterov)


@kernel(parallel=False)
def _adam_part(w, g, m, v, start, stop, step_size, correction, beta1, beta2, eps, weight_decay, shrink):
    w, g, m, v = w[start:stop], g[start:stop], m[start:stop], v[start:stop]
    number = w.dtype.type
    fresh1, fresh2 = number(1 - beta1), number(1 - beta2)
    step_size, larger, beta2, eps = number(step_size), number(1 / correction), number(beta2), number(eps)
    weight_decay, shrink = number(weight_decay), number(shrink)
    for i in range(w.size):
        slope = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        m[i] += fresh1 * (slope - m[i])
        v[i] = beta2 * v[i] + fresh2 * slope * slope
        w[i] = shrink * w[i] - step_size * m[i] / (np.sqrt(v[i]) * larger + eps)


@kernel
def _adam(w, g, m, v, start, stop, step_size, correction, beta1, beta2, eps, weight_decay, shrink):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        first, last = part * PART, min(stop, (part + 1) * PART)
        _adam_part(w, g, m, v, first, last, step_size, correction, beta1, beta2, eps, weight_decay, shrink)


@kernel(parallel=False)
def _adamax_part(w, g, m, u, start, stop, step_size, beta1, beta2, eps, weight_decay):
    w, g, m, u = w[start:stop], g[start:stop], m[start:stop], u[start:stop]
    number = w.dtype.type
    fresh, step_size, beta2, eps = number(1 - beta1), number(step_size), number(beta2), number(eps)
    weight_decay = number(weight_decay)
    for i in range(w.size):
        slope = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        m[i] += fresh * (slope - m[i])
        old, new = beta2 * u[i], abs(slope) + eps
        u[i] = old if old > new or old != old else new  # NaN stays, in either
        w[i] -= step_size * m[i] / u[i]


@kernel
def _adamax(w, g, m, u, start, stop, step_size, beta1, beta2, eps, weight_decay):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        first, last = part * PART, min(stop, (part + 1) * PART)
        _adamax_part(w, g, m, u, first, last, step_size, beta1, beta2, eps, weight_decay)


@kernel(parallel=False)
def _adagrad_part(w, g, s, start, stop, lr, eps, weight_decay):
    w, g, s = w[start:stop], g[start:stop], s[start:stop]
    number = w.dtype.type
    lr, eps, weight_decay = number(lr), number(eps), number(weight_decay)
    for i in range(w.size):
        slope = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        s[i] += slope * slope
        w[i] -= lr * slope / (np.sqrt(s[i]) + eps)


@kernel
def _adagrad(w, g, s, start, stop, lr, eps, weight_decay):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        _adagrad_part(w, g, s, part * PART, min(stop, (part + 1) * PART), lr, eps, weight_decay)


@kernel(parallel=False)
def _rmsprop_part(w, g, s, a, v, start, stop, lr, alpha, eps, weight_decay, momentum, centered, moving):
    w, g, s, a, v = w[start:stop], g[start:stop], s[start:stop], a[start:stop], v[start:stop]
    number = w.dtype.type
    fresh, lr, alpha, eps = number(1 - alpha), number(lr), number(alpha), number(eps)
    weight_decay, momentum = number(weight_decay), number(momentum)
    for i in range(w.size):
        slope = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        s[i] = alpha * s[i] + fresh * slope * slope
        spread = s[i]
        if centered:
            a[i] += fresh * (slope - a[i])
            spread = s[i] - a[i] * a[i]
        step = slope / (np.sqrt(spread) + eps)
        if moving:
            v[i] = momentum * v[i] + step
            step = v[i]
        w[i] -= lr * step


@kernel
def _rmsprop(w, g, s, a, v, start, stop, lr, alpha, eps, weight_decay, momentum, centered, moving):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        first, last = part * PART, min(stop, (part + 1) * PART)
        _rmsprop_part(w, g, s, a, v, first, last, lr, alpha, eps, weight_decay, momentum, centered, moving)


@kernel(parallel=False)
def _average_part(a, w, start, stop, decay):
    a, w = a[start:stop], w[start:stop]
    fresh = w.dtype.type(1 - decay)
    for i in range(a.size):
        a[i] += fresh * (w[i] - a[i])


@kernel
def _average(a, w, start, stop, decay):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        _average_part(a, w, part * PART, min(stop, (part + 1) * PART), decay)
