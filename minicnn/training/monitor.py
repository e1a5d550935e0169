"""Which number of the epochs decides, and whether it is to be small or large."""

from __future__ import annotations

from minicnn.errors import ArgumentError
from minicnn.training.history import Epoch

MODES = {"validation_loss": "min", "train_loss": "min", "validation_accuracy": "max", "macro_f1": "max"}


def check_monitor(monitor: str, called: str) -> str:
    """The mode of a number, "min" or "max"; an error for one that nobody knows."""
    if monitor not in MODES:
        raise ArgumentError(
            "monitor is not valid", called=called, seen=f"monitor={monitor!r}", rule=f"one of {', '.join(MODES)}"
        )
    return MODES[monitor]


def value_of(epoch: Epoch, monitor: str, called: str) -> float:
    """That number of an epoch."""
    value = getattr(epoch, monitor)
    if value is None:
        raise ArgumentError(
            f"there is no {monitor}",
            called=called,
            seen="no validation images",
            hint='give them, or monitor="train_loss"',
        )
    return value
