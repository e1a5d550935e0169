"""Penalties on large weights, which are added to the loss; the tape differentiates them like everything else.

::

    weights = [p for p in model.parameters() if p.ndim > 1]    # biases are left alone
    loss = nn.CrossEntropyLoss()(model(x), labels) + nn.l1_penalty(weights, 1e-4)
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.nn import functional as F  # noqa: N812


def l1_penalty(parameters: Tensor | Iterable[Tensor], strength: float) -> Tensor:
    r""":math:`\lambda \sum |w|`: pulls every weight towards 0 with the same force, so that many end close to it.

    Its gradient is :math:`\lambda\, \mathrm{sign}(w)`, and 0 where w is 0.

    Parameters
    ----------
    parameters : Tensor, or iterable of them
    strength : float
        :math:`\lambda`, not negative.

    Returns
    -------
    Tensor without axes
    """
    # |w| = max(w, 0) + max(-w, 0)
    parts = [(F.relu(w) + F.relu(-w)).sum() for w in _checked(parameters, strength, "l1_penalty")]
    return sum(parts[1:], parts[0]) * strength


def l2_penalty(parameters: Tensor | Iterable[Tensor], strength: float) -> Tensor:
    r""":math:`\lambda \sum w^2`: pulls large weights towards 0 most.

    Its gradient is :math:`2 \lambda w`. So with `optim.SGD`, `weight_decay=2 * strength` does the same without the
    tape's work. With Adam it does the same too, but Adam then divides it like any gradient; `optim.AdamW` does not.

    Parameters
    ----------
    parameters : Tensor, or iterable of them
    strength : float
        :math:`\lambda`, not negative.

    Returns
    -------
    Tensor without axes
    """
    parts = [(w * w).sum() for w in _checked(parameters, strength, "l2_penalty")]
    return sum(parts[1:], parts[0]) * strength


def _checked(parameters: Tensor | Iterable[Tensor], strength: float, called: str) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise ArgumentError("no parameters", called=called, hint="pass a list of a model's parameters")
    is_number = isinstance(strength, numbers.Real) and not isinstance(strength, bool)
    if not (is_number and math.isfinite(strength) and strength >= 0):
        raise ArgumentError(
            "strength is not valid", called=called, seen=f"strength={strength!r}", rule="strength >= 0, finite"
        )
    return tensors
