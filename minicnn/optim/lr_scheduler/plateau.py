"""Down when a number that is measured after each epoch gets no better."""

from __future__ import annotations

import math
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.optim.lr_scheduler.scheduler import checked, number, one_a_group, whole
from minicnn.optim.optimizer import Optimizer


class Plateau:
    """Sees one number an epoch, and says when it has not become better for more than `patience` epochs.

    Parameters
    ----------
    mode : {"min", "max"}
        Whether small or large numbers are good.
    patience : int
        Epochs without a better number that are let pass.
    threshold : float
        By how much a number must be better to count.
    threshold_mode : {"rel", "abs"}
        Whether the threshold is a share of the best number, or a difference.
    cooldown : int
        Epochs after a plateau that do not count.

    Attributes
    ----------
    best : float
    num_bad_epochs, cooldown_counter : int
    """

    def __init__(
        self,
        mode: str = "min",
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
    ) -> None:
        name = type(self).__name__
        for key, value, known in (("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if value not in known:
                rule = f"{known[0]!r} or {known[1]!r}"
                raise ArgumentError(f"{key} is not valid", called=name, seen=f"{key}={value!r}", rule=rule)
        self.mode, self.threshold_mode = mode, threshold_mode
        self.patience = whole("patience", patience, 0, name)
        self.threshold = number("threshold", threshold, name)
        self.cooldown = whole("cooldown", cooldown, 0, name)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def see(self, value: float) -> bool:
        """Whether this number ends a plateau: then the count begins anew."""
        if self.is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs <= self.patience:
            return False
        self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        return True

    def is_better(self, value: float) -> bool:
        """Whether a number counts as better than the best one so far; NaN never does."""
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            bound = self.best * (1 + sign * self.threshold)
        else:
            bound = self.best + sign * self.threshold
        return value < bound if self.mode == "min" else value > bound


class ReduceLROnPlateau(Plateau):
    r"""After a plateau, :math:`\eta \leftarrow \max(f \eta, \eta_{min})`; `step(validation_loss)` after each epoch.

    Parameters
    ----------
    optimizer : Optimizer
    mode, patience, threshold, threshold_mode, cooldown
        See `Plateau`.
    factor : float
        f, less than 1.
    min_lr : float, or list with one for each group
    eps : float
        A change that is not larger than this is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.optimizer = checked(optimizer, name)
        super().__init__(mode, patience, threshold, threshold_mode, cooldown)
        self.factor = factor_below_one(factor, name)
        self.min_lrs = one_a_group("min_lr", min_lr, optimizer, name)
        self.eps = number("eps", eps, name)
        self.last_epoch = 0

    def step(self, metrics: Any) -> None:
        """Look at the number of one more epoch: a float, or a tensor with one."""
        self.last_epoch += 1
        if not self.see(float(metrics)):
            return
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lower = max(group["lr"] * self.factor, least)
            if group["lr"] - lower > self.eps:
                group["lr"] = lower

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the schedule depends on."""
        state = {k: v for k, v in vars(self).items() if k != "optimizer"}
        return {**state, "_last_lr": self.get_last_lr()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, with the rates of then."""
        rates = state.get("_last_lr")
        if set(state) != set(self.state_dict()) or not isinstance(rates, list) or len(rates) != len(self.min_lrs):
            raise ArgumentError(
                "the state is of another scheduler",
                called="ReduceLROnPlateau.load_state_dict",
                rule="the same kind of scheduler, and number of groups",
            )
        vars(self).update({k: v for k, v in state.items() if k != "_last_lr"})
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def factor_below_one(factor: Any, called: str) -> float:
    """A factor that makes rates smaller."""
    value = number("factor", factor, called)
    if value >= 1:
        raise ArgumentError("factor is not valid", called=called, seen=f"factor={factor!r}", rule="0 <= factor < 1")
    return value
