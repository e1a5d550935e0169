"""One cycle: the rate goes up, then far down; momentum the other way."""

from __future__ import annotations

import math
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.optim.lr_scheduler.scheduler import LRScheduler, checked, number, one_a_group, whole
from minicnn.optim.optimizer import Optimizer


class OneCycleLR(LRScheduler):
    r"""The 1cycle policy (Smith and Topin 2019); `step` after each batch.

    From a rate :math:`a` to a rate :math:`b`, with x from 0 to 1 over the steps of a phase,
    :math:`\eta = b + \frac{1}{2} (a - b) (1 + \cos \pi x)` ("cos") or :math:`\eta = a + (b - a) x` ("linear").

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float, or list with one for each group
    total_steps : int, optional
        Of the whole training; or give `epochs` and `steps_per_epoch`.
    pct_start : float
        Share of the steps that the way up takes.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum : bool
        Momentum (of Adam and its like: the first beta) goes from `max_momentum` to `base_momentum` and back.
    base_momentum, max_momentum : float, or list with one for each group
    div_factor, final_div_factor : float
        The first rate is max_lr / div_factor, the last one that divided by final_div_factor.
    three_phase : bool
        Up, down to the first rate in as many steps, then down to the last.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        name = "OneCycleLR"
        checked(optimizer, name)
        if total_steps is not None:
            self.total_steps = whole("total_steps", total_steps, 1, name)
        elif epochs is None or steps_per_epoch is None:
            raise ArgumentError(
                "the number of steps is missing", called=name, rule="total_steps, or epochs and steps_per_epoch"
            )
        else:
            self.total_steps = whole("epochs", epochs, 1, name) * whole("steps_per_epoch", steps_per_epoch, 1, name)
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                "anneal_strategy is not valid", called=name, seen=repr(anneal_strategy), rule="'cos' or 'linear'"
            )
        self.anneal_strategy = anneal_strategy
        self.max_lrs = one_a_group("max_lr", max_lr, optimizer, name)
        start = number("pct_start", pct_start, name, most=1.0)
        first = 1 / number("div_factor", div_factor, name, above=True)
        last = first / number("final_div_factor", final_div_factor, name, above=True)
        ends = [start * self.total_steps - 1, self.total_steps - 1]
        # each phase: its last step, the rate at its two ends (in max_lr), momentum at its ends (0: least, 1: most)
        self.phases: list[list[float]] = [[ends[0], first, 1.0, 1, 0], [ends[1], 1.0, last, 0, 1]]
        if three_phase:
            middle = 2 * start * self.total_steps - 2
            self.phases[1:] = [[middle, 1.0, first, 0, 1], [ends[1], first, last, 1, 1]]
        self.momentum = ""
        if cycle_momentum:
            self.momentum = next((key for key in ("betas", "momentum") if key in optimizer.defaults), "")
            if not self.momentum:
                raise ArgumentError(
                    "the optimizer has no momentum",
                    called=name,
                    seen=f"cycle_momentum=True, {type(optimizer).__name__}",
                    hint="cycle_momentum=False",
                )
        least = one_a_group("base_momentum", base_momentum, optimizer, name)
        most = one_a_group("max_momentum", max_momentum, optimizer, name)
        self.momenta = [[low, high] for low, high in zip(least, most, strict=True)]
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group in the step `last_epoch`."""
        if self.last_epoch > self.total_steps:
            raise ArgumentError(
                "the cycle is over",
                called="OneCycleLR.step",
                seen=f"step {self.last_epoch}",
                rule=f"{self.total_steps}",
            )
        (_, a, b, *_), x = self._phase()
        return [self._between(most * a, most * b, x) for most in self.max_lrs]

    def step(self) -> None:
        """Go on to the next step."""
        super().step()
        if not self.momentum:
            return
        (_, _, _, a, b), x = self._phase()
        for group, momenta in zip(self.optimizer.param_groups, self.momenta, strict=True):
            value: Any = self._between(momenta[int(a)], momenta[int(b)], x)
            group[self.momentum] = (value, *group["betas"][1:]) if self.momentum == "betas" else value

    def _phase(self) -> tuple[list[float], float]:
        """The phase of this step, and how much of it is done."""
        start = 0.0
        for phase in self.phases[:-1]:
            if self.last_epoch <= phase[0]:
                break
            start = phase[0]
        else:
            phase = self.phases[-1]
        length = phase[0] - start
        return phase, (self.last_epoch - start) / length if length else 1.0

    def _between(self, a: float, b: float, x: float) -> float:
        if self.anneal_strategy == "linear":
            return a + (b - a) * x
        return b + (a - b) / 2 * (1 + math.cos(math.pi * x))
