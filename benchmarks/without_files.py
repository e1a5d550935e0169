"""A fine-tuning as `minicnn finetune` goes it, but for its files: no checkpoints, no run's folder.

With small data an epoch takes a second, and a checkpoint of a whole ResNet-18 half of one; tables of many short runs
have no use for them. The bits are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from minicnn.training.finetune import Settings, prepare
from minicnn.training.ways import Outcome


@dataclass(frozen=True)
class Gone:
    """What came of it: an outcome for each way, and what was trained on."""

    outcomes: list[Outcome]
    classes: list[str]
    train_images: int
    validation_images: int


def finetune(settings: Settings) -> Gone:
    """Go the ways that these settings ask for."""
    ways, journey = prepare(settings, print, False)
    source = journey.source
    outcomes = [journey.go(way) for way in ways]
    return Gone(outcomes, source.classes, len(source.train), len(source.validation))
