"""Adam: steps as long as the gradient is steady."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from minicnn.backends.arrays import Array
from minicnn.ops import updates
from minicnn.optim.optimizer import Group, Optimizer


class Adam(Optimizer):
    r"""Adam (Kingma and Ba 2015, algorithm 1).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with :math:`g \leftarrow g + \lambda w` first if weight_decay :math:`\lambda` is not zero.
    """

    MEMORY = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def update(self, w: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step."""
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=updates.zeros_like(w), exp_avg_sq=updates.zeros_like(w))
        state["step"] += 1
        step_size = group["lr"] / (1 - beta1 ** state["step"])
        correction = math.sqrt(1 - beta2 ** state["step"])
        m, v, decay = state["exp_avg"], state["exp_avg_sq"], self._decay(group)
        updates.adam(w, g, m, v, step_size, correction, beta1, beta2, group["eps"], *decay)

    def _decay(self, group: Group) -> tuple[float, float]:
        """The share of w that is added to its gradient, and what w itself is multiplied with first."""
        return group["weight_decay"], 1.0
