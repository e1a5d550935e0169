"""The steps of the optimizers as compiled loops: each number of each array is read and written once.

Shapes: parameter w, gradient g and the optimizer's memory (v, or m and v): all numbers of an array as one line. NumPy
would go through memory once for every operation of the formula. The settings are float64 and are rounded to the dtype
of w, as NumPy does.

Small arrays run on the calling thread: to wake the others takes longer than the step.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel

PART = 1 << 14  # numbers that one thread takes at a time
SMALL = 1 << 16  # numbers; with fewer, the calling thread does all


def sgd(w: Array, g: Array, lr: float, weight_decay: float) -> None:
    """One step without momentum, in place: g += weight_decay w; w -= lr g."""
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
    """One step, in place: g += weight_decay w; v = keep v + take g; w -= lr v, or lr (g + ahead v) with `nesterov`."""
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
) -> None:
    """One step, in place, with step_size = lr / (1 - beta1^t) and correction = sqrt(1 - beta2^t):

    g += weight_decay w; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2;
    w -= step_size m / (sqrt(v) / correction + eps).
    """
    run = _adam_part if w.size <= SMALL else _adam
    settings = [float(s) for s in (step_size, correction, beta1, beta2, eps, weight_decay)]
    run(w.reshape(-1), g.reshape(-1), m.reshape(-1), v.reshape(-1), 0, w.size, *settings)


@kernel(parallel=False)
def _sgd_part(w, g, start, stop, lr, weight_decay):
    number = w.dtype.type
    lr, weight_decay = number(lr), number(weight_decay)
    for i in range(start, stop):
        step = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        w[i] -= lr * step


@kernel
def _sgd(w, g, start, stop, lr, weight_decay):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        _sgd_part(w, g, part * PART, min(stop, (part + 1) * PART), lr, weight_decay)


@kernel(parallel=False)
def _momentum_part(w, g, v, start, stop, lr, weight_decay, keep, take, ahead, nesterov):
    number = w.dtype.type
    lr, weight_decay, keep, take, ahead = number(lr), number(weight_decay), number(keep), number(take), number(ahead)
    for i in range(start, stop):
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
def _adam_part(w, g, m, v, start, stop, step_size, correction, beta1, beta2, eps, weight_decay):
    number = w.dtype.type
    fresh1, fresh2 = number(1 - beta1), number(1 - beta2)
    step_size, larger, beta2, eps = number(step_size), number(1 / correction), number(beta2), number(eps)
    weight_decay = number(weight_decay)
    for i in range(start, stop):
        slope = g[i] + weight_decay * w[i] if weight_decay != 0 else g[i]
        m[i] += fresh1 * (slope - m[i])
        v[i] = beta2 * v[i] + fresh2 * slope * slope
        w[i] -= step_size * m[i] / (np.sqrt(v[i]) * larger + eps)


@kernel
def _adam(w, g, m, v, start, stop, step_size, correction, beta1, beta2, eps, weight_decay):
    # parallel over parts
    for part in prange(-(-stop // PART)):
        first, last = part * PART, min(stop, (part + 1) * PART)
        _adam_part(w, g, m, v, first, last, step_size, correction, beta1, beta2, eps, weight_decay)
