"""A fine-tuning as `minicnn finetune` goes it, but for its files: no checkpoints, no run's folder.

With small data an epoch takes a second, and a checkpoint of a whole ResNet-18 half of one; tables of many short runs
have no use for them. The bits are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from minicnn.training import sources
from minicnn.training.augmentation import variation
from minicnn.training.finetune import Settings
from minicnn.training.pretrained import Pretrained, default_weights
from minicnn.training.ways import Journey, Outcome, choose


@dataclass(frozen=True)
class Gone:
    """What came of it: an outcome for each way, and what was trained on."""

    outcomes: list[Outcome]
    classes: list[str]
    train_images: int
    validation_images: int


def finetune(settings: Settings) -> Gone:
    """Go the ways that these settings ask for."""
    settings.check()
    photographs = settings.data is not None
    ways = choose(
        settings.freeze,
        settings.lr,
        settings.compares,
        photographs=photographs,
        head_first=settings.trains_head_first,
        rates_by_depth=settings.depth_factor,
        unfreeze=settings.unfreeze,
        freeze_bn=settings.batch_norm_kept,
    )
    weights = settings.weights or default_weights(photographs, print)
    pretrained = Pretrained(weights, input_size=settings.input_size)
    vary = variation(pretrained.info, False) if settings.augments else None
    transform = pretrained.transform(grey=not photographs)
    source = sources.load(settings.data, transform, settings.per_class, settings.seed, settings.skip_bad, vary)
    journey = Journey(pretrained, source, settings.epochs, settings.batch_size, settings.seed, False, settings.device)
    outcomes = [journey.go(way) for way in ways]
    return Gone(outcomes, source.classes, len(source.train), len(source.validation))
