"""The steps of the optimizers on the GPU (`updates.cu`): one launch a parameter, whatever the formula's length.

Formulas and settings: `formula.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array

FILE = Path(__file__).with_name("updates.cu")


def sgd(w: Array, g: Array, lr: float, weight_decay: float) -> None:
    """w -= lr g"""
    _run("sgd", w, g, (), lr, weight_decay)


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
    _run("sgd_momentum", w, g, (v,), lr, weight_decay, keep, take, ahead, nesterov)


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
    _run("adam", w, g, (m, v), step_size, 1 / correction, 1 - beta1, beta2, 1 - beta2, eps, weight_decay, shrink)


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
    _run("adamax", w, g, (m, u), step_size, 1 - beta1, beta2, eps, weight_decay)


def adagrad(w: Array, g: Array, s: Array, lr: float, eps: float, weight_decay: float) -> None:
    """s += g^2; w -= lr g / (sqrt(s) + eps)"""
    _run("adagrad", w, g, (s,), lr, eps, weight_decay)


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
    _run("rmsprop", w, g, (s, a, v), lr, alpha, 1 - alpha, eps, weight_decay, momentum)


def average(a: Array, w: Array, decay: float) -> None:
    """a += (1 - decay) (w - a)"""
    _run("average", a, w, (), 1 - decay)


def _run(name: str, w: Array, g: Array, memory: tuple[Array | None, ...], *settings: Any) -> None:
    """Launch a kernel on all arrays in the memory order of w; those that lie otherwise go through a copy."""
    order = cuda.memory_order(w)
    kept = [None if x is None else x.transpose(order) for x in (w, *memory)]
    lines = [None if x is None else cuda_kernels.contiguous(x) for x in kept]
    step = cuda_kernels.contiguous(g.transpose(order))
    first, *others = (None if x is None else x.reshape(-1) for x in lines)
    run = cuda_kernels.kernel(FILE, name, REAL=cuda_kernels.real(w))
    run.over(w.size, first, step.reshape(-1), *others, w.size, *settings)
    for x, line in zip(kept, lines, strict=True):
        if line is not x:
            cuda_kernels.copy_into(x, line)
