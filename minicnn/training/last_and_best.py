"""The weights after the last epoch and after the best one so far, each a whole file at any moment."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from minicnn import weights
from minicnn.errors import WeightsError
from minicnn.nn import Module
from minicnn.training.history import Epoch, History
from minicnn.weights import WeightsInfo

LONGEST_LOG = 200  # rows, the last ones: an attribute of a weights file has at most 60,000 bytes


class LastAndBest:
    """Writes a model after each epoch; give it to a trainer as `on_epoch`.

    The best epoch is `History.best`: the one with the highest accuracy on the validation images. It was chosen on these
    images, so its accuracy on them flatters. These files are for using the network; a training goes on from
    `Checkpoints`.

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
        self.history = History()

    @property
    def best_epoch(self) -> Epoch | None:
        """The best epoch so far."""
        return self.history.best()

    def __call__(self, epoch: Epoch) -> None:
        """Write what there is after this epoch."""
        self.history.epochs.append(epoch)
        self._write(self.last, epoch)
        if self.best_epoch is epoch:
            self._write(self.best, epoch)

    def resume(self, history: History) -> bool:
        """Go on after these epochs.

        Returns
        -------
        bool
            Whether the file of the best one is there. If not, give the model its weights and call `write_best`.
        """
        self.history = History(list(history))
        best = self.best_epoch
        if best is None:
            return True
        try:
            return weights.describe(self.best).log[-1]["epoch"] == best.number
        except (WeightsError, LookupError):
            return False

    def write_best(self) -> None:
        """Write the file of the best epoch again; the model has the weights it had then."""
        if self.best_epoch is not None:
            self._write(self.best, self.best_epoch)

    def restore_best(self) -> Epoch | None:
        """Copy the best weights back into the model; returns their epoch."""
        if self.best_epoch is not None:
            weights.load(self.model, self.best)
        return self.best_epoch

    def _write(self, path: Path, epoch: Epoch) -> None:
        log = [_row(past) for past in self.history if past.number <= epoch.number]
        info = replace(self.info, accuracy=epoch.validation_accuracy, log=log[-LONGEST_LOG:])
        weights.save(path, self.model.state_dict(), info)


def _row(epoch: Epoch) -> dict[str, Any]:
    row = {"epoch": epoch.number, "loss": epoch.train_loss, "accuracy": epoch.train_accuracy}
    return {**row, "validation_accuracy": epoch.validation_accuracy}
