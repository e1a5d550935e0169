"""Where a training is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Position:
    """A moment between two steps, and the sums of the epoch up to it.

    Attributes
    ----------
    epoch : int
        The one that is going on, from 1.
    step : int
        Steps of it that are done.
    loss : float
        Sum over its images so far.
    right, images : int
        Images that were classified right, and all of them.
    seconds : float
        That its steps took.
    """

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    right: int = 0
    images: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"epoch {self.epoch}, after step {self.step}" if self.step else f"the beginning of epoch {self.epoch}"
