"""Adamax: Adam with the largest gradient in place of the root of the mean square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minicnn.backends.arrays import Array
from minicnn.ops import updates
from minicnn.optim.optimizer import Group, Optimizer


class Adamax(Optimizer):
    r"""Adamax (Kingma and Ba 2015, algorithm 2).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad u \leftarrow \max(\beta_2 u, |g| + \epsilon), \quad
        w \leftarrow w - \frac{\eta}{1 - \beta_1^t} \frac{m}{u}

    with :math:`g \leftarrow g + \lambda w` first if weight_decay :math:`\lambda` is not zero.
    """

    MEMORY = ("step", "exp_avg", "exp_inf")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def update(self, w: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step."""
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=updates.zeros_like(w), exp_inf=updates.zeros_like(w))
        state["step"] += 1
        step_size = group["lr"] / (1 - beta1 ** state["step"])
        m, u = state["exp_avg"], state["exp_inf"]
        updates.adamax(w, g, m, u, step_size, beta1, beta2, group["eps"], group["weight_decay"])
