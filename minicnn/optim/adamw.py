"""Adam with weight decay that no gradient scales."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minicnn.optim.adam import Adam
from minicnn.optim.optimizer import Group


class AdamW(Adam):
    r"""Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    .. math::
        w \leftarrow (1 - \eta \lambda) w, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with m and v as in `Adam`, of the gradient alone. In Adam the decay :math:`\lambda w` is part of the gradient, and
    is divided by the root of v like it: parameters with large gradients decay less. Here all decay alike.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _decay(self, group: Group) -> tuple[float, float]:
        return 0.0, 1 - group["lr"] * group["weight_decay"]
