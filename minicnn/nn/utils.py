"""What is done to the gradients of a whole network, under PyTorch's names."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.backends.arrays import moved
from minicnn.errors import ArgumentError, DivergedError


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    r"""Shorten the gradient of all parameters together, as one long vector, to at most `max_norm`.

    .. math:: g \leftarrow g \cdot \min(1, c / (\|g\|_p + 10^{-6}))

    Its direction stays. Call it between `loss.backward()` and `optimizer.step()`.

    Parameters
    ----------
    parameters : Tensor, or iterable of them
        Those without a gradient are passed over.
    max_norm : float
        c, not negative.
    norm_type : float
        p; infinity for the largest absolute value.
    error_if_nonfinite : bool
        Raise a DivergedError, before anything changes, when the norm is NaN or infinite. Without it, NaN travels.

    Returns
    -------
    Tensor without axes
        The norm before.
    """
    kept = _with_gradient(parameters, "clip_grad_norm_")
    most = _not_negative("max_norm", max_norm, "clip_grad_norm_")
    if not isinstance(norm_type, numbers.Real) or not float(norm_type) > 0:
        raise ArgumentError(
            "norm_type is not valid", called="clip_grad_norm_", seen=f"norm_type={norm_type!r}", rule="norm_type > 0"
        )
    with np.errstate(all="ignore"), no_grad():
        norm = _norm([_norm_of(p.grad, float(norm_type)) for p in kept], float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        raise DivergedError(f"the norm of the gradients is {norm}", called="clip_grad_norm_", rule="a finite number")
    factor = most / (norm + 1e-6)
    if not factor >= 1:  # NaN comes through
        for p in kept:
            _change(p, lambda g: g * factor)
    dtype = kept[0].dtype if kept else np.float32
    return Tensor(np.asarray(norm, dtype))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring every number of every gradient into [-clip_value, clip_value]; the direction of the whole may change."""
    most = _not_negative("clip_value", clip_value, "clip_grad_value_")
    for p in _with_gradient(parameters, "clip_grad_value_"):
        _change(p, lambda g: np.clip(g, -most, most))


def _with_gradient(parameters: Any, called: str) -> list[Any]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise ArgumentError("not a parameter", called=called, seen=type(tensor).__name__)
    return [tensor for tensor in tensors if tensor.grad is not None]


def _not_negative(name: str, value: Any, called: str) -> float:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and value >= 0):
        raise ArgumentError(f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule=f"{name} >= 0")
    return float(value)


def _norm_of(gradient: Tensor, p: float) -> float:
    """The p-norm of one gradient, its sum in float64."""
    g = np.abs(np.asarray(moved(gradient.array, "cpu"), np.float64)).reshape(-1)
    return _norm(g, p)


def _norm(values: Any, p: float) -> float:
    """(sum v^p)^(1/p) of numbers that are not negative; the largest where p is infinite."""
    v = np.asarray(values, np.float64)
    if not v.size:
        return 0.0
    return float(v.max()) if math.isinf(p) else float((v**p).sum() ** (1 / p))


def _change(p: Any, function: Any) -> None:
    """Replace the numbers of a gradient: in place where it lies on the CPU."""
    g = p.grad.array
    host = np.asarray(moved(g, "cpu"))
    with np.errstate(all="ignore"):
        changed = np.asarray(function(host), host.dtype)
    if isinstance(g, np.ndarray) and g.flags.writeable:
        g[...] = changed
    else:
        p.grad = Tensor(moved(changed, p.device))
