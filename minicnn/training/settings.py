"""What a fine-tuning can be told: `Settings`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.backends.arrays import check_device
from minicnn.errors import ArgumentError
from minicnn.training import freezing
from minicnn.training.checkpoints import parse_every
from minicnn.training.depth import check_factor
from minicnn.training.folds import Fold

UNFREEZE = ("at once", "gradually")

# On halves of the training photographs of ants and bees this and batch norm's statistics as they were came out best, at
# 64 and at 160 pixels, at 6 and at 12 epochs; next to 0.5 and 1, and to statistics that move.
PHOTOGRAPHS_BY_DEPTH = 0.3


@dataclass(frozen=True)
class Settings:
    """What `minicnn finetune` can be told.

    Attributes
    ----------
    data : path, optional
        A folder with one sub-folder a class, or with `train/` and `val/`; an HDF5 image set; a CSV file. Without, the
        digits.
    weights : path or name, optional
        A weights file, or the name of an embedded one; without, the embedded one for small images.
    freeze : str
        "none"; "backbone": only the head learns; "until=NAME": the children of the network up to NAME stay.
    epochs, batch_size : int
    lr : float, optional
        Learning rate of all ways; without, each way has its own (`minicnn.training.ways.LEARNING_RATES`).
    seed : int
        Of the split, the initial values and the order of the images. The same seed gives the same results, to the bit.
    out : path, optional
        The run's folder; without, the next free one in `runs/`.
    compare : bool, optional
        Whether to go the other ways too; without, for the digits.
    per_class : int, optional
        Images of each class to train on, chosen by the seed; without, all, and of the digits 20.
    input_size : int, optional
        Height and width of the images; without, those of the weights.
    augment : bool, optional
        Whether images are varied at random while they are learned from; without, photographs are.
    head_first : bool, optional
        Whether the new head learns alone, on frozen features, before all learns; without, with photographs it does.
    rates_by_depth : float, optional
        The learning rate of each stage over that of the stage above it (0.5: half; 1: one rate for all); without, 0.3
        with photographs, else 1.
    unfreeze : str
        "at once", or "gradually": the head learns first, then one stage after the other from above.
    freeze_bn : str, optional
        What of batch norm stays as it was: "none", "statistics", "parameters" or "all"; without, its statistics with
        photographs, else none.
    device : str
        "cpu" or "cuda".
    skip_bad : bool
        Leave out images that cannot be read, and count them; otherwise the first one is an error.
    checkpoint_every : str
        Steps ("200") or minutes ("5min") between checkpoints within an epoch; see `Checkpoints`.
    keep_checkpoints : bool
        Whether they stay when the run is finished. It has no use for them then.
    fold : str, optional
        "2/5": validate on the second of five folds, and train on the others (`cross_validate` does so with each).
    stratified : bool
        Whether each fold has its share of each class.
    """

    data: Path | str | None = None
    weights: Path | str | None = None
    freeze: str = "none"
    epochs: int = 15
    batch_size: int = 32
    lr: float | None = None
    seed: int = 0
    out: Path | str | None = None
    compare: bool | None = None
    per_class: int | None = None
    input_size: int | None = None
    augment: bool | None = None
    head_first: bool | None = None
    rates_by_depth: float | None = None
    unfreeze: str = "at once"
    freeze_bn: str | None = None
    device: str = "cpu"
    skip_bad: bool = False
    checkpoint_every: str = "5min"
    keep_checkpoints: bool = False
    fold: str | None = None
    stratified: bool = True

    def check(self) -> None:
        """Raise unless every value is valid."""
        for name, least in (("epochs", 1), ("batch_size", 1), ("per_class", 1), ("input_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is None and name in ("per_class", "input_size"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise _not_valid(name, value, f"a whole number, {least} or more")
        is_number = isinstance(self.lr, (int, float)) and not isinstance(self.lr, bool)
        if self.lr is not None and not (is_number and 0 < self.lr < math.inf):
            raise _not_valid("lr", self.lr, "a number > 0")
        freezing.parse(self.freeze)
        self._check_depth()
        _ = self.division
        parse_every(self.checkpoint_every)
        check_device(self.device)

    def _check_depth(self) -> None:
        if self.rates_by_depth is not None:
            check_factor("finetune", self.rates_by_depth)
        for name, values in (("unfreeze", UNFREEZE), ("freeze_bn", (None, *freezing.BATCH_NORM))):
            if getattr(self, name) not in values:
                raise _not_valid(name, getattr(self, name), " or ".join(value for value in values if value))
        asked = (self.rates_by_depth, self.unfreeze, self.freeze_bn)
        if self.freeze == "backbone" and asked != (None, "at once", None):
            raise ArgumentError(
                "only the head learns, and has no stages",
                called="finetune",
                seen=f"freeze='backbone', rates_by_depth={asked[0]}, unfreeze={asked[1]!r}, freeze_bn={asked[2]!r}",
                rule="these three go with freeze='none' or 'until=NAME'",
            )

    @property
    def division(self) -> Fold | None:
        """The fold that is asked for."""
        return None if self.fold is None else Fold.parse(self.fold, self.stratified)

    @property
    def compares(self) -> bool:
        """Whether the other ways are gone too."""
        return self.data is None if self.compare is None else self.compare

    @property
    def augments(self) -> bool:
        """Whether images are varied."""
        return self.data is not None if self.augment is None else self.augment

    @property
    def trains_head_first(self) -> bool:
        """Whether the head learns alone first."""
        return self.data is not None if self.head_first is None else self.head_first

    @property
    def depth_factor(self) -> float | None:
        """The learning rate of a stage over that of the stage above it; None: one rate for all."""
        if self.rates_by_depth is None:
            return PHOTOGRAPHS_BY_DEPTH if self._careful else None
        return None if self.rates_by_depth == 1 else self.rates_by_depth

    @property
    def batch_norm_kept(self) -> str:
        """What of batch norm stays."""
        return ("statistics" if self._careful else "none") if self.freeze_bn is None else self.freeze_bn

    @property
    def _careful(self) -> bool:
        """Photographs are mostly few, and what the weights know of them is worth more than what few can teach."""
        return self.data is not None and self.freeze != "backbone"


def _not_valid(name: str, value: Any, rule: str) -> ArgumentError:
    return ArgumentError(f"{name} is not valid", called="finetune", seen=f"{name}={value!r}", rule=rule)
