"""Transforms of transforms, decided by chance: `RandomApply`, `RandomChoice`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minicnn.data.checks import real
from minicnn.data.randomness import sample_generator
from minicnn.data.transforms.compose import Compose, Transform, check_transforms
from minicnn.data.transforms.sampling import probability
from minicnn.errors import ArgumentError


class RandomApply(Transform):
    """All of some transforms, or none of them.

    Parameters
    ----------
    transforms : sequence of callables
        Applied one after the other.
    p : float
        Probability of "all".
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.transforms = check_transforms("RandomApply", transforms)
        self.p = probability("RandomApply", p)

    def __call__(self, image: Any, /) -> Any:
        """The image, or the image after all transforms."""
        return Compose(self.transforms)(image) if sample_generator().random() < self.p else image


class RandomChoice(Transform):
    """One of several transforms; also of those for batches, such as `MixUp` and `CutMix`.

    Parameters
    ----------
    transforms : sequence of callables
        One or more.
    p : sequence of float, optional
        Weight of each, of any sum above zero; by default all are equally likely.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]], p: Sequence[float] | None = None) -> None:
        self.transforms = check_transforms("RandomChoice", transforms)
        weights = [1.0] * len(self.transforms) if p is None else [real("RandomChoice", "p", weight) for weight in p]
        if len(weights) != len(self.transforms) or sum(weights) <= 0 or min(weights) < 0:
            raise ArgumentError(
                "weights that choose nothing",
                called="RandomChoice",
                seen=f"{len(self.transforms)} transforms, p={p!r}",
                rule="one weight for each transform, none below zero, not all zero",
            )
        self.p = [weight / sum(weights) for weight in weights]

    def __call__(self, *sample: Any) -> Any:
        """What the chosen transform gives."""
        return self.transforms[sample_generator().choice(len(self.p), p=self.p)](*sample)
