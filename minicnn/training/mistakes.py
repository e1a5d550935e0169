"""What a network gets wrong: its worst mistakes, and which classes it takes for which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError
from minicnn.training.metrics import check_classification


@dataclass(frozen=True)
class Mistake:
    """One image that is called wrong.

    Attributes
    ----------
    index : int
        Which image.
    target, prediction : int
        The true class, and the one that it is called.
    probability : float
        Of the prediction.
    target_probability : float
        Of the true class.
    """

    index: int
    target: int
    prediction: int
    probability: float
    target_probability: float


@dataclass(frozen=True)
class ConfusedPair:
    """One class taken for another.

    Attributes
    ----------
    target, prediction : int
        The true class, and the one that its images are called.
    count : int
        How many of them.
    share : float
        Of the images of the true class.
    examples : tuple of int
        Some of these images, the surest mistakes first.
    """

    target: int
    prediction: int
    count: int
    share: float
    examples: tuple[int, ...]


def worst_mistakes(targets: Any, probabilities: Any, most: int = 24) -> list[Mistake]:
    """The mistakes that the network is surest of; of equally sure ones the first image comes first.

    Parameters
    ----------
    targets : int array (N,)
    probabilities : float array (N, classes)
    most : int
    """
    targets, probabilities, predictions = _checked("worst_mistakes", targets, probabilities, most)
    wrong = np.flatnonzero(predictions != targets)
    sure = probabilities[wrong, predictions[wrong]]
    return [
        Mistake(
            int(i),
            int(targets[i]),
            int(predictions[i]),
            float(probabilities[i, predictions[i]]),
            float(probabilities[i, targets[i]]),
        )
        for i in wrong[np.argsort(-sure, kind="stable")][:most]
    ]


def confused_pairs(targets: Any, probabilities: Any, most: int = 10, examples: int = 4) -> list[ConfusedPair]:
    """The most frequent pairs of true class and wrong prediction; of equally frequent ones the lower classes first.

    Parameters
    ----------
    targets : int array (N,)
    probabilities : float array (N, classes)
    most, examples : int
        Pairs, and images of each.
    """
    targets, probabilities, predictions = _checked("confused_pairs", targets, probabilities, most)
    wrong = np.flatnonzero(predictions != targets)
    wrong = wrong[np.argsort(-probabilities[wrong, predictions[wrong]], kind="stable")]
    keys = targets[wrong].astype(np.int64) * probabilities.shape[1] + predictions[wrong]
    found, counts = np.unique(keys, return_counts=True)
    images = np.bincount(targets, minlength=probabilities.shape[1])
    pairs = []
    for i in np.argsort(-counts, kind="stable")[:most]:
        target, prediction = divmod(int(found[i]), probabilities.shape[1])
        shown = tuple(int(k) for k in wrong[keys == found[i]][:examples])
        pairs.append(ConfusedPair(target, prediction, int(counts[i]), float(counts[i] / images[target]), shown))
    return pairs


def _checked(called: str, targets: Any, probabilities: Any, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    check_classification(called, targets, probabilities, probabilities.shape[-1] if probabilities.ndim else 0)
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise ArgumentError("most is not valid", called=called, seen=f"most={most!r}", rule="most >= 0")
    return targets, probabilities, probabilities.argmax(axis=1)
