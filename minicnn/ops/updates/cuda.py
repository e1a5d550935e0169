"""The steps of the optimizers on the GPU (`updates.cu`): one launch a parameter, whatever the formula's length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array

FILE = Path(__file__).with_name("updates.cu")


def sgd(w: Array, g: Array, lr: float, weight_decay: float) -> None:
    """One step without momentum, in place."""
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
    """One step with momentum, in place."""
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
) -> None:
    """One step, in place."""
    _run("adam", w, g, (m, v), step_size, 1 / correction, 1 - beta1, beta2, 1 - beta2, eps, weight_decay)


def _run(name: str, w: Array, g: Array, memory: tuple[Array, ...], *settings: Any) -> None:
    """Launch a kernel on all arrays in the memory order of w; those that lie otherwise go through a copy."""
    order = cuda.memory_order(w)
    kept = [x.transpose(order) for x in (w, *memory)]
    lines = [cuda_kernels.contiguous(x) for x in kept]
    step = cuda_kernels.contiguous(g.transpose(order))
    first, *others = (x.reshape(-1) for x in lines)
    run = cuda_kernels.kernel(FILE, name, REAL=cuda_kernels.real(w))
    run.over(w.size, first, step.reshape(-1), *others, w.size, *settings)
    for x, line in zip(kept, lines, strict=True):
        if line is not x:
            cuda_kernels.copy_into(x, line)
