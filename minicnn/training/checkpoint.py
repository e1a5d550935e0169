"""Checkpoints: the weights after the last epoch and after the best one so far, each a whole file at any moment."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from minicnn import weights
from minicnn.nn import Module
from minicnn.training.history import Epoch
from minicnn.weights import WeightsInfo

LONGEST_LOG = 200  # rows, the last ones: an attribute of a weights file has at most 60,000 bytes


class Checkpoint:
    """Writes a model after each epoch; give it to a trainer as `on_epoch`.

    The best epoch is the one with the highest accuracy on the validation images (of equal ones the one with the lower
    loss; without validation images, the lowest training loss). It was chosen on these images, so its accuracy on them
    flatters.

    Parameters
    ----------
    folder : path
        Where the files go; it must exist.
    model : Module
    info : WeightsInfo
        What the files say about themselves; the accuracy of the epoch is filled in.
    last, best : str
        Names of the files.

    Attributes
    ----------
    last, best : Path
    best_epoch : Epoch or None
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: Module,
        info: WeightsInfo,
        last: str = "last.h5",
        best: str = "best.h5",
    ) -> None:
        self.model = model
        self.info = info
        self.last, self.best = Path(folder) / last, Path(folder) / best
        self.best_epoch: Epoch | None = None
        self._log: list[dict[str, float | int | None]] = []

    def __call__(self, epoch: Epoch) -> None:
        """Write what there is after this epoch."""
        row = {"epoch": epoch.number, "loss": epoch.train_loss, "accuracy": epoch.train_accuracy}
        self._log.append({**row, "validation_accuracy": epoch.validation_accuracy})
        info = replace(self.info, accuracy=epoch.validation_accuracy, log=self._log[-LONGEST_LOG:])
        state = self.model.state_dict()
        weights.save(self.last, state, info)
        if self.best_epoch is None or _merit(epoch) > _merit(self.best_epoch):
            self.best_epoch = epoch
            weights.save(self.best, state, info)

    def restore_best(self) -> Epoch | None:
        """Copy the best weights back into the model; returns their epoch."""
        if self.best_epoch is not None:
            weights.load(self.model, self.best)
        return self.best_epoch


def _merit(epoch: Epoch) -> tuple[float, float]:
    if epoch.validation_accuracy is None or epoch.validation_loss is None:
        return 0.0, -epoch.train_loss
    return epoch.validation_accuracy, -epoch.validation_loss
