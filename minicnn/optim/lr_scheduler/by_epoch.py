r"""Rates that are a function of the epoch alone. Below, t is `last_epoch`, :math:`\eta_0` a group's first rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable

from minicnn.errors import ArgumentError
from minicnn.optim.lr_scheduler.scheduler import LRScheduler, checked, number, whole
from minicnn.optim.optimizer import Optimizer


class LambdaLR(LRScheduler):
    r"""Any function of the epoch: :math:`\eta = \eta_0 f(t)`.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable, or list of them
        From the epoch to a factor; a list has one for each group.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]]) -> None:
        groups = len(checked(optimizer, "LambdaLR").param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups or not all(map(callable, self.lr_lambdas)):
            raise ArgumentError(
                "lr_lambda is not valid",
                called="LambdaLR",
                seen=repr(lr_lambda),
                rule=f"one, or a list of {groups}",
            )
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group."""
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    r"""Down by a factor every `step_size` epochs: :math:`\eta = \eta_0 \gamma^{\lfloor t / s \rfloor}`."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = whole("step_size", step_size, 1, "StepLR")
        self.gamma = number("gamma", gamma, "StepLR")
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group."""
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    r"""Down by a factor at some epochs: :math:`\eta = \eta_0 \gamma^n`, n the number of milestones :math:`\le t`."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        if isinstance(milestones, str) or not isinstance(milestones, Iterable):
            raise ArgumentError(
                "milestones are not valid", called="MultiStepLR", seen=repr(milestones), rule="a list of epochs"
            )
        self.milestones = sorted(whole("milestone", epoch, 0, "MultiStepLR") for epoch in milestones)
        self.gamma = number("gamma", gamma, "MultiStepLR")
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group."""
        return [base * self.gamma ** bisect_right(self.milestones, self.last_epoch) for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    r"""Down by a factor each epoch: :math:`\eta = \eta_0 \gamma^t`."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = number("gamma", gamma, "ExponentialLR")
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group."""
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    r"""Half a cosine down, and up again (Loshchilov and Hutter 2017, without restarts).

    .. math:: \eta = \eta_{min} + \frac{1}{2} (\eta_0 - \eta_{min}) (1 + \cos(\pi t / T_{max}))
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = whole("T_max", T_max, 1, "CosineAnnealingLR")
        self.eta_min = number("eta_min", eta_min, "CosineAnnealingLR")
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group."""
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]
