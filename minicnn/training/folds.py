"""One fold of a cross-validation: which images it trains on, and which it validates on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.data import plain_folds, stratified_folds
from minicnn.errors import ArgumentError

_FOLD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Fold:
    """A fold by its number.

    Attributes
    ----------
    number, of : int
        1 <= number <= of, of >= 2.
    stratified : bool
        Whether each fold has its share of each class.
    """

    number: int
    of: int
    stratified: bool = True

    @classmethod
    def parse(cls, text: str, stratified: bool = True) -> Fold:
        """The fold in "2/5"."""
        match = _FOLD.fullmatch(text) if isinstance(text, str) else None
        if match is None or not (1 <= int(match[1]) <= int(match[2]) and int(match[2]) >= 2):
            raise ArgumentError(
                "fold is not valid", called="finetune", seen=f"fold={text!r}", rule='"NUMBER/FOLDS", as in "2/5"'
            )
        return cls(int(match[1]), int(match[2]), stratified)

    def divide(self, targets: Any, seed: int, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Indices to train on and to validate on; the same seed divides the same way for all numbers."""
        divide = stratified_folds if self.stratified else plain_folds
        return divide(targets, self.of, seed=seed, classes=classes)[self.number - 1]

    def __str__(self) -> str:
        kind = "each with its share of each class" if self.stratified else "without regard to classes"
        return f"fold {self.number} of {self.of}, {kind}"
