"""Gradient descent: on a batch of all samples, or stochastic, on small ones; with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minicnn.backends.arrays import Array
from minicnn.errors import ArgumentError
from minicnn.ops import updates
from minicnn.optim.optimizer import Group, Optimizer


class SGD(Optimizer):
    r"""(Stochastic) gradient descent, with momentum.

    .. math:: g \leftarrow g + \lambda w, \quad v \leftarrow \mu v + (1 - \tau) g, \quad w \leftarrow w - \eta v

    with :math:`\eta` lr, :math:`\mu` momentum, :math:`\tau` dampening, :math:`\lambda` weight_decay; v begins as the
    first g. With `nesterov`, :math:`w \leftarrow w - \eta (g + \mu v)`.

    What the batches are decides what it is called: with one batch of all samples,
    `DataLoader(data, batch_size=len(data))`, it is gradient descent as printed; with smaller ones, its stochastic kind.
    `weight_decay` is the gradient of an L2 penalty, of :math:`\lambda/2 \sum w^2` in the loss.
    """

    MEMORY = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError(
                "nesterov needs momentum, and no dampening", called="SGD", rule="momentum > 0, dampening = 0"
            )

    def update(self, w: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step."""
        lr, weight_decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
        if not momentum:
            updates.sgd(w, g, lr, weight_decay)
            return
        keep, take = momentum, 1 - group["dampening"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"], keep, take = updates.zeros_like(w), 0, 1  # v begins as the first g
        updates.sgd_momentum(w, g, state["momentum_buffer"], lr, weight_decay, keep, take, momentum, group["nesterov"])
