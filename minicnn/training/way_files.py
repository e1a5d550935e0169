"""What a fine-tuning keeps of its ways while it runs: checkpoints of the one that is gone, outcomes of those before.

RUN/checkpoints/from-scratch/outcome.h5
RUN/checkpoints/fine-tuned/epoch-0004-step-000000.h5, ...
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.files import remove_leftovers
from minicnn.training.checkpoints import Checkpoints
from minicnn.training.evaluation import Evaluation
from minicnn.training.history import History
from minicnn.training.metrics import measure
from minicnn.training.saving import check
from minicnn.training.state import State
from minicnn.training.ways import Outcome, Way

FOLDER, OUTCOME = "checkpoints", "outcome.h5"


class WayFiles:
    """The folder `checkpoints` of a run.

    Parameters
    ----------
    run : Path
    classes : list of str
    about : dict
        What must be the same in all of the run: see `Checkpoints`.
    every : str
        See `Checkpoints`.
    announce : callable
    """

    def __init__(
        self, run: Path, classes: list[str], about: dict[str, Any], every: str, announce: Callable[[str], Any]
    ) -> None:
        self.folder = run / FOLDER
        self.classes, self.about, self.every, self.announce = classes, about, every, announce

    @property
    def exist(self) -> bool:
        """Whether there is anything to go on from."""
        return any(self.folder.rglob("*.h5"))

    def checkpoints(self, way: Way) -> Checkpoints:
        """Where the states of one way go."""
        about = {**self.about, "way": way.name}
        return Checkpoints(self._of(way), every=self.every, about=about, announce=self.announce)

    def outcome(self, way: Way) -> Outcome | None:
        """What a way came to that was gone to its end before; None if it was not."""
        path = self._of(way) / OUTCOME
        if not path.exists():
            return None
        try:
            state = State.read(path)
            found = {"training": state.values["about"]}
            history = History.from_columns(state.part("history"))
            targets, probabilities = state.arrays["targets"], state.arrays["probabilities"]
            loss, seconds = state.values["loss"], state.values["seconds"]
        except (WeightsError, KeyError, TypeError) as error:
            self.announce(f"{path} is passed over: {getattr(error, 'problem', error)}")
            path.unlink()
            return None
        check(found, {"training": {**self.about, "way": way.name}}, str(path))
        metrics = measure(targets, probabilities, self.classes)
        evaluation = Evaluation(loss, targets, probabilities.argmax(axis=1), probabilities, metrics)
        return Outcome(way, evaluation, history, seconds)

    def finish(self, way: Way, outcome: Outcome, keep: bool) -> None:
        """Write what a way came to; its checkpoints are not needed any more."""
        folder, evaluation = self._of(way), outcome.evaluation
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"targets": evaluation.targets, "probabilities": evaluation.probabilities}
        arrays |= {f"history.{name}": np.array(column) for name, column in outcome.history.columns().items()}
        values = {"about": {**self.about, "way": way.name}, "loss": evaluation.loss, "seconds": outcome.seconds}
        State(arrays, values).save(folder / OUTCOME)
        if not keep:
            self.checkpoints(way).remove()

    def remove(self) -> None:
        """Remove everything, but for files that are not ours."""
        for folder in self.folder.glob("*/"):
            remove_leftovers(folder)
            (folder / OUTCOME).unlink(missing_ok=True)
            Checkpoints(folder).remove()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _of(self, way: Way) -> Path:
        return self.folder / way.name.replace(" ", "-")
