"""Adagrad: steps that become shorter, most where gradients were large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minicnn.backends.arrays import Array
from minicnn.ops import updates
from minicnn.optim.optimizer import Group, Optimizer


class Adagrad(Optimizer):
    r"""Adagrad (Duchi, Hazan and Singer 2011).

    .. math::
        s \leftarrow s + g^2, \quad
        w \leftarrow w - \frac{\eta}{1 + (t - 1) \gamma} \frac{g}{\sqrt{s} + \epsilon}

    with :math:`\gamma` lr_decay; s begins as `initial_accumulator_value` (each group's own);
    :math:`g \leftarrow g + \lambda w` first if weight_decay :math:`\lambda` is not zero.
    """

    MEMORY = ("step", "sum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
        }
        super().__init__(params, defaults)

    def update(self, w: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step."""
        if not state:
            state.update(step=0, sum=updates.full_like(w, group["initial_accumulator_value"]))
        rate = group["lr"] / (1 + state["step"] * group["lr_decay"])
        state["step"] += 1
        updates.adagrad(w, g, state["sum"], rate, group["eps"], group["weight_decay"])
