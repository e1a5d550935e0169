"""Checkpoints: the last states of a training in a folder, from which it goes on to the same bits after anything.

    folder/epoch-0004-step-000120.h5      in epoch 4, after 120 steps
    folder/epoch-0005-step-000000.h5      before epoch 5: after epoch 4

A file is written under a temporary name, synced and renamed, so one that has its name is whole; one that was damaged
later is passed over for the one before. It has checksums, and nothing in it can run (`state.py`); what is in it, and
how a training goes on from it, stands in `saving.py`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError, WeightsError
from minicnn.files import cannot_write, remove_leftovers
from minicnn.training.position import Position
from minicnn.training.state import State

PATIENCE = 20  # after a quick epoch one is written when this many times the seconds it takes have passed: 5 % of all
_NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.h5")
_EVERY = re.compile(r"([1-9]\d{0,8})(min)?")


class Checkpoints:
    """The last states of a training, and that after its best epoch.

    ::

        trainer.fit(train, validation, epochs=20, checkpoints=Checkpoints("runs/mine"), resume=True)

    Parameters
    ----------
    folder : path
        Of this one training; made when the first checkpoint is written.
    every : str
        "200": after every 200 steps, and after epochs. "5min": when five minutes have passed; and after each epoch that
        is the best so far, and after the others unless they are so quick that writing would take more than 5 % of the
        time.
    keep : int
        How many of the last ones are kept.
    about : dict, optional
        What this training is, ready for JSON. A checkpoint that says something else is refused.
    announce : callable, optional
        Gets a line of text for a checkpoint that is damaged.

    Attributes
    ----------
    folder : Path
    last : Path or None
        The one that was written or read last.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: str = "5min",
        keep: int = 2,
        about: dict[str, Any] | None = None,
        announce: Callable[[str], Any] | None = None,
    ) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ArgumentError("keep is not valid", called="Checkpoints", seen=f"keep={keep!r}", rule="keep >= 1")
        self.folder = Path(folder)
        self.steps, self.minutes = parse_every(every)
        self.keep = keep
        self.about = about or {}
        self.announce = announce or (lambda line: None)
        self.last: Path | None = None
        self._ended, self._took = time.monotonic(), 0.0

    # ---- when --------------------------------------------------------------------------------------------------------

    def is_due(self, steps: int) -> bool:
        """Whether one is to be written within an epoch; `steps` have been done in the whole training."""
        if self.steps is not None:
            return steps % self.steps == 0
        return self._waited >= 60 * self.minutes

    def is_due_after_epoch(self, is_best: bool) -> bool:
        """Whether one is to be written after an epoch."""
        return is_best or self.steps is not None or self.last is None or self._waited >= PATIENCE * self._took

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._ended

    # ---- writing -----------------------------------------------------------------------------------------------------

    def save(self, state: State, position: Position, best_epoch: int | None = None) -> Path:
        """Write a state, then remove those that are not wanted any more; the one after `best_epoch` stays."""
        start = time.monotonic()
        path = self._path(position.epoch, position.step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        state.save(path)
        self.last = path
        best = None if best_epoch is None else self._path(best_epoch + 1, 0)
        for old in self.paths()[: -self.keep]:
            if old != best:
                old.unlink(missing_ok=True)
        self._ended = time.monotonic()
        self._took = self._ended - start
        return path

    def paths(self) -> list[Path]:
        """All that are there, the furthest last."""
        try:
            names = [match for entry in self.folder.iterdir() if (match := _NAME.fullmatch(entry.name))]
        except OSError:
            return []
        return [self.folder / match[0] for match in sorted(names, key=lambda match: (int(match[1]), int(match[2])))]

    def part(self, name: str) -> Checkpoints:
        """Those of a training that is a part of this one, in a folder below."""
        every = f"{self.minutes}min" if self.steps is None else str(self.steps)
        return Checkpoints(self.folder / name, every=every, keep=self.keep, about=self.about, announce=self.announce)

    def remove(self) -> None:
        """Remove all of them, also those of parts, and the folder if nothing else is in it."""
        for folder in self.folder.glob("*/"):
            Checkpoints(folder).remove()
        remove_leftovers(self.folder)
        for path in [*self.paths(), *self.folder.glob("epoch-*-step-*.h5.damaged")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, epoch: int, step: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}-step-{step:06d}.h5"

    # ---- reading -----------------------------------------------------------------------------------------------------

    def read(self) -> State | None:
        """The furthest whole state; None if there is none. One that is damaged is named, and set aside."""
        remove_leftovers(self.folder)
        for path in reversed(self.paths()):
            try:
                state = State.read(path)
            except WeightsError as error:
                if error.problem.startswith("another version"):  # it is whole, and says so
                    raise
                self.announce(f"{path} is passed over: {error.problem}")
                path.replace(path.with_name(f"{path.name}.damaged"))
                continue
            self.last = path
            return state
        return None

    def read_best(self, epoch: int) -> State | None:
        """The state after an epoch, if it is there and whole."""
        try:
            return State.read(self._path(epoch + 1, 0))
        except WeightsError:
            return None


def parse_every(every: str) -> tuple[int | None, int]:
    """Steps (or None) and minutes of a text such as "200" or "5min"."""
    match = _EVERY.fullmatch(every) if isinstance(every, str) else None
    if match is None:
        raise ArgumentError(
            "how often checkpoints are written is not valid",
            called="Checkpoints",
            seen=f"every={every!r}",
            rule='a number of steps, "200", or of minutes, "5min"; 1 or more',
        )
    return (None, int(match[1])) if match[2] else (int(match[1]), 0)
