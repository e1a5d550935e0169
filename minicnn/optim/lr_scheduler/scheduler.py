"""What all schedulers share: the epoch, the rates of the groups, the state."""

from __future__ import annotations

import math
import numbers
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.optim.optimizer import Optimizer


class LRScheduler:
    """Base: after each `step`, the learning rate of each group is what `get_lr` says for `last_epoch`.

    PyTorch multiplies the rate before by a factor; here it is computed anew from the first one, so that rounding does
    not add up: the same numbers to some 15 digits.

    Parameters
    ----------
    optimizer : Optimizer

    Attributes
    ----------
    base_lrs : list of float
        Rates of the groups when the scheduler was made.
    last_epoch : int
        How often `step` was called since.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = checked(optimizer, type(self).__name__)
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self.last_epoch = -1
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group in the epoch `last_epoch`."""
        raise ArgumentError("this scheduler has no rates", called=type(self).__name__)

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Go on to the next epoch."""
        if len(self.optimizer.param_groups) != len(self.base_lrs):
            raise ArgumentError(
                "the optimizer has other groups than when the scheduler was made",
                called=f"{type(self).__name__}.step",
                seen=f"{len(self.optimizer.param_groups)} groups",
                rule=f"{len(self.base_lrs)} groups",
                hint="make a new scheduler after add_param_group",
            )
        self.last_epoch += 1
        try:
            rates = self.get_lr()
        except ArgumentError:
            self.last_epoch -= 1
            raise
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the schedule depends on, ready for JSON; functions are not in it."""
        state = {k: v for k, v in vars(self).items() if k != "optimizer" and not _has_functions(v)}
        return {**state, "_last_lr": self.get_last_lr()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, with the rates of then."""
        own = self.state_dict()
        rates = state.get("_last_lr")
        if set(state) != set(own) or not isinstance(rates, list) or len(rates) != len(self.base_lrs):
            raise ArgumentError(
                "the state is of another scheduler",
                called=f"{type(self).__name__}.load_state_dict",
                rule="the same kind of scheduler, and number of groups",
            )
        vars(self).update({k: v for k, v in state.items() if k != "_last_lr"})
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _has_functions(value: Any) -> bool:
    return callable(value) or (isinstance(value, list) and any(map(callable, value)))


def checked(optimizer: Any, called: str) -> Optimizer:
    """The optimizer, if it is one."""
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError("not an optimizer", called=called, seen=type(optimizer).__name__)
    return optimizer


def whole(name: str, value: Any, least: int, called: str) -> int:
    """A whole number that is not below the least."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not int(value) >= least:
        raise ArgumentError(f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule=f"{name} >= {least}")
    return int(value)


def number(name: str, value: Any, called: str, *, above: bool = False, most: float = math.inf) -> float:
    """A finite number that is not negative (`above`: not zero either) and not larger than `most`."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and value <= most and (value > 0 if above else value >= 0)):
        rule = f"{name} {'>' if above else '>='} 0" + (f", {name} <= {most:g}" if most < math.inf else "")
        raise ArgumentError(f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule=rule)
    return float(value)


def one_a_group(name: str, value: Any, optimizer: Optimizer, called: str) -> list[float]:
    """A setting that may be one number, or a list with one for each group."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        value = [value] * groups
    if len(value) != groups:
        raise ArgumentError(
            f"{name} does not fit the groups", called=called, seen=f"{len(value)} numbers", rule=f"one, or {groups}"
        )
    return [number(name, item, called) for item in value]
