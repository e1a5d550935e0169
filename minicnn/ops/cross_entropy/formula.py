"""Cross-entropy as printed, in NumPy. The yardstick of all other algorithms.

Shapes: x (N, C, ...); target (N, ...) class indices or (N, C, ...) probabilities; weight (C,); losses (N, ...).
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.softmax.formula import log_softmax_forward, softmax_forward


def forward(
    x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str, label_smoothing: float
) -> Array:
    """losses = - sum_c q[c] weight[c] log_p[c]; then their weighted mean, their sum, or the losses themselves"""
    log_p = log_softmax_forward(x, dim=1)
    w = np.ones(x.shape[1], x.dtype) if weight is None else weight
    classes, share = x.shape[1], label_smoothing
    with np.errstate(invalid="ignore"):  # 0 * inf: probability 0 of a class that is impossible is NaN, as in PyTorch
        if indices(target):
            keep = target != ignore_index
            label = np.where(keep, target, 0)
            losses = -(1 - share) * w[label] * np.take_along_axis(log_p, label[:, None], axis=1)[:, 0]
            if share:
                losses = losses - share / classes * (along_classes(w, x) * log_p).sum(axis=1)
            losses = np.where(keep, losses, 0)
        else:
            q = (1 - share) * target + share / classes
            losses = -(q * along_classes(w, x) * log_p).sum(axis=1)
    if reduction == "none":
        return losses.astype(x.dtype, copy=False)
    total = losses.sum()
    if reduction == "mean":
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: the mean of no losses is NaN
            total = total / normaliser(target, weight, ignore_index, classes)
    return np.asarray(total, x.dtype)


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
    """dx[c] = scale (p[c] sum_j q[j] weight[j] - q[c] weight[c]); without weights p - q, predicted minus true"""
    p = softmax_forward(x, dim=1)
    classes, share = x.shape[1], label_smoothing
    keep = target != ignore_index if indices(target) else np.ones(x.shape[:1] + x.shape[2:], bool)
    q = (1 - share) * (one_hot(target, keep, x) if indices(target) else target) + share / classes
    pull = q if weight is None else q * along_classes(weight, x)
    per_position = scale(dy, target, weight, ignore_index, reduction, classes)
    with np.errstate(invalid="ignore"):  # where all are ignored the scale is infinite, and not used
        dx = per_position * (p * pull.sum(axis=1, keepdims=True) - pull)
    return np.where(keep[:, None], dx, 0).astype(x.dtype, copy=False)


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
    log_p = log_softmax_forward(x, dim=1)
    pull = log_p if weight is None else log_p * along_classes(weight, x)
    per_position = scale(dy, target, weight, ignore_index, reduction, x.shape[1])
    return (-(1 - label_smoothing) * per_position * pull).astype(x.dtype, copy=False)


def indices(target: Array) -> bool:
    """Whether the target holds class indices (otherwise probabilities)."""
    return target.dtype.kind == "i"


def one_hot(target: Array, keep: Array, x: Array) -> Array:
    """(N, ...) -> (N, C, ...): 1 at the class that is true, 0 elsewhere; nothing but 0 where the target is ignored"""
    classes = along_classes(np.arange(x.shape[1]), x)
    return ((target[:, None] == classes) & keep[:, None]).astype(x.dtype)


def scale(dy: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str, classes: int) -> Array:
    """dL/dlosses, with an axis for the classes: what each position's loss counts in L"""
    if reduction == "none":
        return dy[:, None]
    if reduction == "sum":
        return dy
    with np.errstate(invalid="ignore", divide="ignore"):
        return dy / normaliser(target, weight, ignore_index, classes)


def normaliser(target: Array, weight: Array | None, ignore_index: int, classes: int) -> float:
    """What the mean divides by: the weights of the true classes, ignored ones left out; or the number of positions"""
    if not indices(target):
        return np.float64(target.size / classes)
    labels = target[target != ignore_index]
    return np.float64(labels.size) if weight is None else weight[labels].sum(dtype=np.float64)


def along_classes(v: Array, x: Array) -> Array:
    """(C,) -> (C, 1, 1, ...), which broadcasts against x"""
    return v.reshape(-1, *(1,) * (x.ndim - 2))
