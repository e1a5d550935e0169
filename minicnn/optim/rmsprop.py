"""RMSprop: steps measured by the size that gradients have had lately."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minicnn.backends.arrays import Array
from minicnn.errors import ArgumentError
from minicnn.ops import updates
from minicnn.optim.optimizer import Group, Optimizer


class RMSprop(Optimizer):
    r"""RMSprop (Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013).

    .. math::
        s \leftarrow \alpha s + (1 - \alpha) g^2, \quad w \leftarrow w - \eta \frac{g}{\sqrt{s} + \epsilon}

    With `centered`, the root is of the variance :math:`s - a^2` with the mean gradient
    :math:`a \leftarrow \alpha a + (1 - \alpha) g`. With momentum :math:`\mu`,
    :math:`v \leftarrow \mu v + g / (\sqrt{s} + \epsilon), \; w \leftarrow w - \eta v`. First
    :math:`g \leftarrow g + \lambda w` if weight_decay :math:`\lambda` is not zero.

    As in PyTorch, a variance that rounding makes negative gives NaN: `centered` wants gradients that vary.
    """

    MEMORY = ("step", "square_avg")
    SOMETIMES = ("grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not 0 <= group["alpha"] <= 1:
            raise ArgumentError(
                "alpha is not valid", called="RMSprop", seen=f"alpha={group['alpha']}", rule="0 <= alpha <= 1"
            )

    def update(self, w: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step."""
        if not state:
            state.update(step=0, square_avg=updates.zeros_like(w))
        state["step"] += 1
        wanted = {"grad_avg": group["centered"], "momentum_buffer": group["momentum"] > 0}
        for name, is_wanted in wanted.items():
            if is_wanted and name not in state:
                state[name] = updates.zeros_like(w)
        mean, velocity = (state[name] if is_wanted else None for name, is_wanted in wanted.items())
        settings = (group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum"))
        updates.rmsprop(w, g, state["square_avg"], mean, velocity, *settings)
