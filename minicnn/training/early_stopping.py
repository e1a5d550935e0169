"""Ending a training when the validation gets no better, with the weights of its best epoch."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError
from minicnn.nn import Module
from minicnn.training.history import Epoch, History
from minicnn.training.monitor import check_monitor, value_of


class EarlyStopping:
    """Ends a training after `patience` epochs without a better number, and gives the model its best weights back.

    ::

        Trainer(model, optimizer, loss, early_stopping=EarlyStopping(patience=5)).fit(train, validation, epochs=200)

    `epochs` stays the most there are, and what schedules count with. The best weights are copied after each best epoch,
    and are in the checkpoints. They were chosen by the validation images, so their numbers on these flatter.

    Parameters
    ----------
    patience : int
        At least 1.
    monitor : str
        "validation_loss", "validation_accuracy", "macro_f1" or "train_loss".
    min_delta : float
        By how much a number must be better to count; not negative.

    Attributes
    ----------
    weights : dict of name to array, or None
        Of the best epoch so far.
    """

    def __init__(self, patience: int = 5, monitor: str = "validation_loss", min_delta: float = 0.0) -> None:
        name = "EarlyStopping"
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ArgumentError(
                "patience is not valid", called=name, seen=f"patience={patience!r}", rule="patience >= 1"
            )
        if isinstance(min_delta, bool) or not isinstance(min_delta, numbers.Real) or not float(min_delta) >= 0:
            raise ArgumentError(
                "min_delta is not valid", called=name, seen=f"min_delta={min_delta!r}", rule="min_delta >= 0"
            )
        self.patience: int = patience
        self.monitor: str = monitor
        self.min_delta: float = float(min_delta)
        self._sign: int = -1 if check_monitor(monitor, name) == "min" else 1
        self.weights: dict[str, np.ndarray] | None = None

    def best(self, history: History) -> Epoch | None:
        """The epoch whose number no later one beats by more than `min_delta`."""
        best: Epoch | None = None
        for epoch in history:
            if best is None or self._value(epoch) > self._value(best) + self.min_delta:
                best = epoch
        return best

    def is_over(self, history: History) -> bool:
        """Whether the last `patience` epochs were no better than the best before."""
        best = self.best(history)
        return best is not None and history[-1].number - best.number >= self.patience

    def after_epoch(self, history: History, model: Module) -> None:
        """Keep a copy of the weights, if this epoch was the best."""
        if self.best(history) is history[-1]:
            self.weights = model.state_dict()

    def restore(self, model: Module) -> None:
        """Give a model the weights of the best epoch."""
        if self.weights is not None:
            model.load_state_dict(self.weights)

    @property
    def about(self) -> dict[str, Any]:
        """What makes it this rule, for checkpoints."""
        return {"patience": self.patience, "monitor": self.monitor, "min_delta": self.min_delta}

    def _value(self, epoch: Epoch) -> float:
        return self._sign * value_of(epoch, self.monitor, "EarlyStopping")
