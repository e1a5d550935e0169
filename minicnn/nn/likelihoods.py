r"""Losses that are minus the logarithm of a probability: of yes and no (Bernoulli), and between Gaussians.

All are compositions of the tape's operations, so their gradients are those of the operations.

`softplus(x) = ln(1 + e^x)` overflows as printed. With s = -1 for x > 0 and s = 1 otherwise, a constant::

    softplus(x) = max(x, 0) + ln(1 + e^(s x)),    s x <= 0

is the same number, nothing overflows, and the derivative of what is written, [x > 0] + s e^(s x) / (1 + e^(s x)), is
the sigmoid of x everywhere, at 0 too: there it is 1/2, where |x| in the place of -s x would give 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.backends.arrays import moved
from minicnn.backends.random import generator
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.ops import values

REDUCTIONS = ("mean", "sum", "none")
LEAST_LOG = -100.0  # PyTorch's least logarithm of a probability
TINY = 1e-12  # in the place of a probability of 0, for the gradient of its logarithm


def softplus(input: Tensor) -> Tensor:
    """ln(1 + e^x), without overflow; its derivative is the sigmoid."""
    sign = 1.0 - 2.0 * _indicator(">", input)
    return apply("relu", input) + (1.0 + (input * sign).exp()).log()


def binary_cross_entropy_with_logits(
    input: Tensor, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """-(p t ln s(x) + (1 - t) ln(1 - s(x))), s the sigmoid, from logits x: stable for logits of any size.

    Since -ln s(x) = softplus(-x) and -ln(1 - s(x)) = x + softplus(-x), it is computed as
    (1 - t) x + (1 + (p - 1) t) softplus(-x); the gradient is s(x) - t for p = 1.

    Parameters
    ----------
    input : Tensor, any shape
        Logits.
    target : Tensor or array of the same shape and dtype
        Probabilities t in [0, 1]: 1 means yes. Nothing is repeated to fit.
    weight : Tensor, array or number, optional
        A factor of each loss, repeated to fit.
    reduction : "mean", "sum" or "none"
        The mean is over all entries.
    pos_weight : Tensor, array or number, optional
        p, a factor of the term of t: above 1 where yes is rare.

    Returns
    -------
    Tensor (), or of input's shape with reduction "none"

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
    """
    called = "binary_cross_entropy_with_logits"
    target = _target(input, target, reduction, called)
    from_above = softplus(-input)
    if pos_weight is not None:
        from_above = (1.0 + (_factor(pos_weight, input, "pos_weight", called) - 1.0) * target) * from_above
    return _reduced((1.0 - target) * input + from_above, weight, reduction, called)


def binary_cross_entropy(input: Tensor, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(t ln p + (1 - t) ln(1 - p)) from probabilities p; each logarithm is at least -100, as in PyTorch.

    A float32 cannot hold a probability between 0.99999994 and 1: from logits the loss is more exact
    (`binary_cross_entropy_with_logits`). The gradient is (p - t) / (p (1 - p)); where p is 0 or 1, with 1e-12 in its
    place.

    Parameters
    ----------
    input : Tensor, any shape
        Probabilities, in [0, 1].
    target, weight, reduction
        As in `binary_cross_entropy_with_logits`.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        The last also where a probability is below 0 or above 1.
    """
    called = "binary_cross_entropy"
    target = _target(input, target, reduction, called)
    check_unit_interval(input, called, "input")
    loss = target * _log(input) + (1.0 - target) * _log(1.0 - input)
    return _reduced(-loss, weight, reduction, called)


def gaussian_kl(
    mean: Tensor, log_variance: Tensor, prior_mean: Any = 0.0, prior_log_variance: Any = 0.0, reduction: str = "none"
) -> Tensor:
    r"""KL(q || p), the Kullback-Leibler divergence of diagonal Gaussians q = N(m, e^l) and p = N(m', e^l'), in nats.

    With u = l - l', by E_q[z] = m and E_q[(z - m')^2] = e^l + (m - m')^2, for each number::

        KL = E_q[ln q(z) - ln p(z)] = 1/2 (l' - l - 1 + E_q[(z - m')^2] / e^l')
           = 1/2 (e^u - u - 1 + (m - m')^2 e^-l')  >= 0, and 0 only for q = p

    and, since the numbers are independent, the sum over the last axis. Its gradient for the standard normal prior
    (m' = l' = 0) is dKL/dm = m, dKL/dl = (e^l - 1) / 2: it draws means to 0 and variances to 1.

    Parameters
    ----------
    mean, log_variance : Tensor (..., J)
    prior_mean, prior_log_variance : number, array or Tensor
        Repeated to fit.
    reduction : "none", "mean" or "sum"
        "none": one number for each Gaussian (...); "mean" and "sum" are over these.

    Returns
    -------
    Tensor (...), or ()
    """
    called = "gaussian_kl"
    _check_reduction(reduction, called)
    _check_pair(mean, log_variance, called)
    shift = log_variance - _factor(prior_log_variance, mean, "prior_log_variance", called)
    distance = mean - _factor(prior_mean, mean, "prior_mean", called)
    precision = (_factor(prior_log_variance, mean, "prior_log_variance", called) * -1.0).exp()
    terms = (shift.exp() - shift - 1.0 + distance * distance * precision) * 0.5
    each = terms.sum(-1)
    return each if reduction == "none" else each.mean() if reduction == "mean" else each.sum()


def gaussian_sample(mean: Tensor, log_variance: Tensor, noise: Any = None) -> Tensor:
    """z = m + e^(l/2) noise, a draw from N(m, e^l) that is differentiable: dz/dm = 1, dz/dl = e^(l/2) noise / 2.

    (Kingma and Welling 2014: the reparameterisation. A draw as such has no derivative; the noise, which depends on no
    parameter, takes the chance out of the way.)

    Parameters
    ----------
    mean, log_variance : Tensor, one shape
    noise : Tensor or array of that shape, optional
        Standard normal values; by default from the global generator (`minicnn.manual_seed`).
    """
    _check_pair(mean, log_variance, "gaussian_sample")
    noise = standard_normal(mean.shape, mean) if noise is None else _factor(noise, mean, "noise", "gaussian_sample")
    if noise.shape != mean.shape:
        raise ShapeError(
            "noise has another shape", called="gaussian_sample", seen=f"noise {noise.shape}", rule=str(mean.shape)
        )
    return mean + (log_variance * 0.5).exp() * noise


def standard_normal(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normal values from the global generator, with dtype and device of `like`."""
    drawn = np.asarray(generator().standard_normal(shape), like.dtype)
    return Tensor(moved(drawn, like.device))


def check_unit_interval(x: Tensor, called: str, name: str, hint: str = "") -> None:
    """Raise where a value is below 0 or above 1. (NaN passes, and travels on.)"""
    if not x.numel():
        return
    plain = x.detach()
    least, most = -(-plain).max().item(), plain.max().item()
    if least < 0 or most > 1:
        raise ArgumentError(
            f"{name} is not between 0 and 1",
            called=called,
            seen=f"{least:.6g}..{most:.6g}",
            rule=f"0 <= {name} <= 1",
            hint=hint or "from logits use binary_cross_entropy_with_logits",
        )


def _indicator(sign: str, x: Tensor, number: float = 0.0) -> Tensor:
    """1 where the comparison holds, else 0, in x's dtype; a constant."""
    holds = values.compare(sign, x.array, number)
    return Tensor(values.cast(np.asarray(holds) if isinstance(holds, np.generic) else holds, x.dtype))


def _log(p: Tensor) -> Tensor:
    """ln p; at p = 0 it is LEAST_LOG, with the derivative 1 / TINY."""
    zero = _indicator("==", p)
    return (p + TINY * zero).log() + (LEAST_LOG - float(np.log(TINY))) * zero


def _target(input: Tensor, target: Any, reduction: str, called: str) -> Tensor:
    """The target as a tensor that fits."""
    _check_reduction(reduction, called)
    if not isinstance(input, Tensor) or input.dtype.kind != "f":
        seen = str(input.dtype) if isinstance(input, Tensor) else type(input).__name__
        raise DTypeError("input is not a floating point tensor", called=called, seen=seen)
    made = target if isinstance(target, Tensor) else Tensor(target)
    if made.shape != input.shape:
        raise ShapeError(
            "input and target have different shapes",
            called=called,
            seen=f"input {input.shape}, target {made.shape}",
            rule="one shape, nothing is broadcast",
            hint="reshape target to the shape of input" if made.numel() == input.numel() else "",
        )
    if made.dtype != input.dtype:
        raise DTypeError(
            "input and target have different dtypes",
            called=called,
            seen=f"input {input.dtype}, target {made.dtype}",
            rule="one dtype (no silent casts)",
            hint=f"convert the target with .astype('{input.dtype}')",
        )
    return made


def _factor(value: Any, like: Tensor, name: str, called: str) -> Tensor:
    """A number, array or tensor that is repeated to fit, in the dtype of `like`."""
    made = value if isinstance(value, Tensor) else Tensor(moved(np.asarray(value, like.dtype), like.device))
    try:
        fits = np.broadcast_shapes(made.shape, like.shape) == like.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{name} does not fit", called=called, seen=f"{name} {made.shape}", rule=f"to {like.shape}")
    return made


def _reduced(loss: Tensor, weight: Any, reduction: str, called: str) -> Tensor:
    if weight is not None:
        loss = loss * _factor(weight, loss, "weight", called)
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def _check_reduction(reduction: str, called: str) -> None:
    if reduction not in REDUCTIONS:
        raise ArgumentError(
            "reduction is not valid", called=called, seen=f"reduction={reduction!r}", rule="'mean', 'sum' or 'none'"
        )


def _check_pair(mean: Tensor, log_variance: Tensor, called: str) -> None:
    if mean.ndim < 1 or mean.shape != log_variance.shape:
        raise ShapeError(
            "mean and log_variance have different shapes, or no axis",
            called=called,
            seen=f"mean {mean.shape}, log_variance {log_variance.shape}",
            rule="both (..., J)",
        )
