"""A learning curve: accuracy against the number of images to train on. Would more images help?

::

    def train(part, seed):
        minicnn.manual_seed(seed)
        model = models.cnn(...)
        trainer = Trainer(model, optim.Adam(model.parameters()), nn.CrossEntropyLoss())
        trainer.fit(DataLoader(part, 32, shuffle=True, seed=seed), epochs=10)
        return trainer.evaluate(validation).metrics.accuracy

    curve = learning_curve(train, dataset, sizes=[50, 100, 200, 400], repeats=3)
    print(curve)

Where the line still rises at its right end, more images are worth their price; where it lies flat, another network is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.data import Subset
from minicnn.errors import ArgumentError, DataError
from minicnn.training.drawing import STYLES, figure, percent, png, safe, tidy


@dataclass(frozen=True)
class LearningCurve:
    """What came of each number of images.

    Attributes
    ----------
    sizes : int array (S,)
    accuracies : float array (S, repeats)
    """

    sizes: np.ndarray
    accuracies: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean accuracy of each size."""
        return self.accuracies.mean(axis=1)

    @property
    def std(self) -> np.ndarray:
        """Deviation of each size (n - 1); 0 with one repeat."""
        return self.accuracies.std(axis=1, ddof=1) if self.accuracies.shape[1] > 1 else np.zeros(len(self.sizes))

    def as_dict(self) -> dict[str, Any]:
        """Lists, ready for JSON."""
        return {
            "sizes": self.sizes.tolist(),
            "accuracies": self.accuracies.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }

    def __str__(self) -> str:
        lines = ["images  accuracy  deviation"]
        rows = zip(self.sizes, self.mean, self.std, strict=True)
        return "\n".join([*lines, *(f"{size:6,}  {mean:8.1%}  {std:9.1%}" for size, mean, std in rows)])

    def picture(self, title: str = "") -> bytes:
        """A PNG: the mean with its deviation, each run as a point, the number of images on a logarithmic axis."""
        drawn = figure(5.6, 3.8)
        axes = drawn.subplots()
        tidy(axes, "images to train on", "accuracy", safe(title, 60) or "learning curve")
        for column in self.accuracies.T:
            axes.plot(self.sizes, column, linestyle="", marker="x", markersize=4, color="0.6")
        axes.errorbar(self.sizes, self.mean, self.std, capsize=3, linewidth=1.6, markersize=4, **STYLES[2])
        axes.set_xscale("log")
        axes.set_xticks(self.sizes, [f"{size:,}" for size in self.sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(percent())
        return png(drawn)


def learning_curve(
    train: Callable[[Subset, int], float],
    dataset: Any,
    sizes: Sequence[int],
    repeats: int = 1,
    seed: int = 0,
    progress: bool | None = None,
) -> LearningCurve:
    """Train on more and more of a data set.

    Parameters
    ----------
    train : callable
        `train(part, seed)`: trains a new network on a part of the data set, and gives its accuracy (0..1) on images
        that are not in it.
    dataset : data set
        With `targets`.
    sizes : sequence of int
        Numbers of images, rising. A part holds all classes in the shares of the whole, as near as its size allows, and
        every larger part of the same repeat holds the smaller ones.
    repeats : int
        Runs of each size, each with other images and another seed.
    seed : int
        The first repeat's; the others have seed + 1, ...
    progress : bool or None
        Whether a bar is shown; None: only on a terminal.
    """
    called, targets = "learning_curve", np.asarray(dataset.targets)
    whole = all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) for size in sizes)
    classes = len(np.unique(targets))
    if not len(sizes) or not whole or list(sizes) != sorted(set(sizes)) or not classes <= sizes[0]:
        raise ArgumentError(
            "sizes are not valid",
            called=called,
            seen=str(list(sizes)),
            rule=f"rising integers, one image a class ({classes}) or more",
        )
    if sizes[-1] > len(targets):
        raise DataError("not so many images", called=called, seen=f"size {sizes[-1]}", rule=f"{len(targets)} at most")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ArgumentError("repeats is not valid", called=called, seen=f"repeats={repeats!r}", rule="repeats >= 1")
    from tqdm import tqdm

    accuracies = np.empty((len(sizes), repeats))
    hidden = None if progress is None else not progress
    with tqdm(total=accuracies.size, desc="learning curve", disable=hidden, leave=False) as bar:
        for repeat in range(repeats):
            order = nested_order(targets, seed + repeat)
            for i, size in enumerate(sizes):
                accuracy = float(train(Subset(dataset, np.sort(order[:size])), seed + repeat))
                if not 0 <= accuracy <= 1:
                    raise DataError("not an accuracy", called=called, seen=f"train(...) gave {accuracy}", rule="0..1")
                accuracies[i, repeat] = accuracy
                bar.update()
    return LearningCurve(np.array(sizes), accuracies)


def nested_order(targets: np.ndarray, seed: int) -> np.ndarray:
    """An order of all images of which every beginning has the classes in their shares, and all of them at once."""
    generator = np.random.Generator(np.random.PCG64(seed))
    place = np.empty(len(targets))
    for label in np.unique(targets):
        own = generator.permutation(np.flatnonzero(targets == label))
        place[own] = np.arange(len(own)) / len(own)  # the first of each class come first, then evenly spread
    return np.lexsort((generator.permutation(len(targets)), place))
