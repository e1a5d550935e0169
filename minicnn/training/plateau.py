"""A schedule that lowers the learning rate when the validation gets no better."""

from __future__ import annotations

from typing import Any

from minicnn.errors import ArgumentError
from minicnn.optim.lr_scheduler import Plateau
from minicnn.training.history import History
from minicnn.training.monitor import check_monitor, value_of
from minicnn.training.schedules import Schedule, constant


class ReduceOnPlateau:
    """Multiplies the rate with `factor` when a number has not become better for more than `patience` epochs.

    ::

        Trainer(model, optimizer, loss, schedule=ReduceOnPlateau(factor=0.5, patience=3))

    The rule is PyTorch's (`optim.lr_scheduler.ReduceLROnPlateau`). What it has seen is the history of the training, and
    nothing else: the trainer tells it after each epoch, and when a training goes on from a checkpoint.

    Parameters
    ----------
    factor : float
        0 < factor < 1.
    patience, threshold, threshold_mode, cooldown
        See `minicnn.optim.lr_scheduler.Plateau`.
    least : float
        The factor does not become smaller than this.
    monitor : str
        "validation_loss", "validation_accuracy", "macro_f1" or "train_loss".
    then : callable, optional
        A schedule of progress whose factor is multiplied with this one's: `warm_up(0.1, constant())`.

    Attributes
    ----------
    value : float
        The factor now.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        least: float = 0.0,
        monitor: str = "validation_loss",
        then: Schedule | None = None,
    ) -> None:
        name = "ReduceOnPlateau"
        for key, value, is_valid, rule in (
            ("factor", factor, lambda f: 0 < f < 1, "0 < factor < 1"),
            ("least", least, lambda f: 0 <= f <= 1, "0 <= least <= 1"),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_valid(value):
                raise ArgumentError(f"{key} is not valid", called=name, seen=f"{key}={value!r}", rule=rule)
        self.factor, self.least, self.monitor = factor, least, monitor
        mode = check_monitor(monitor, name)
        self._rule: dict[str, Any] = {
            "mode": mode,
            "patience": patience,
            "threshold": threshold,
            "threshold_mode": threshold_mode,
            "cooldown": cooldown,
        }
        self._then = then or constant()
        Plateau(**self._rule)  # checks them
        self.value = 1.0

    def __call__(self, progress: float) -> float:
        """The factor at this moment."""
        return self._then(progress) * self.value

    def after_epoch(self, history: History) -> None:
        """See all epochs so far, from the first."""
        plateau, self.value = Plateau(**self._rule), 1.0
        for epoch in history:
            if plateau.see(value_of(epoch, self.monitor, "ReduceOnPlateau")):
                self.value = max(self.value * self.factor, self.least)

    @property
    def about(self) -> dict[str, Any]:
        """What makes it this schedule, for checkpoints."""
        return {**self._rule, "factor": self.factor, "least": self.least, "monitor": self.monitor}
