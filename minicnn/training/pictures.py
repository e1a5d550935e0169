"""The pictures of a run, drawn by matplotlib into PNG bytes: learning curves, and the confusion matrix.

They are to be read in grey as well: lines differ in their dash and marker, counts stand as numbers in the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minicnn.training.drawing import STYLES as _STYLES
from minicnn.training.drawing import figure as _figure
from minicnn.training.drawing import percent as _percent
from minicnn.training.drawing import png as _png
from minicnn.training.drawing import safe as _safe
from minicnn.training.history import History
from minicnn.training.metrics import Metrics

MOST_NUMBERS = 30  # classes up to which the counts are written into the matrix
MOST_NAMES = 60  # classes up to which each has its name at the axes
LONGEST_NAME = 24  # letters


def curves(histories: Mapping[str, History], title: str = "") -> bytes:
    """Loss and accuracy against epochs.

    Parameters
    ----------
    histories : mapping
        Of one training: its curves on training and validation images. Of several, by name: the training loss and the
        validation accuracy of each.
    title : str

    Returns
    -------
    bytes
        A PNG.
    """
    figure = _figure(9, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    if len(histories) == 1:
        history = next(iter(histories.values()))
        lines = {"training": "train", "validation": "validation"}
        columns = [(name, history, f"{part}_loss", f"{part}_accuracy") for name, part in lines.items()]
        names = ("loss", "accuracy")
    else:
        columns = [(name, history, "train_loss", "validation_accuracy") for name, history in histories.items()]
        names = ("training loss", "validation accuracy")
    for i, (name, history, of_loss, of_accuracy) in enumerate(columns):
        style: dict[str, Any] = _STYLES[(i - len(columns)) % len(_STYLES)]
        _line(loss, history, of_loss, name, style)
        _line(accuracy, history, of_accuracy, name, style)
    for axes, label in zip((loss, accuracy), names, strict=True):
        axes.set_title(label, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    loss.set_ylim(bottom=0)
    accuracy.set_ylim(0, 1.02)
    accuracy.yaxis.set_major_formatter(_percent())
    accuracy.legend(frameon=False, loc="lower right")
    figure.suptitle(_safe(title, 90), fontsize=12)
    return _png(figure)


def confusion(metrics: Metrics, title: str = "") -> bytes:
    """The confusion matrix: true classes downwards, predicted ones to the right, each row shaded by its shares.

    Parameters
    ----------
    metrics : Metrics
    title : str

    Returns
    -------
    bytes
        A PNG.
    """
    counts, names = metrics.confusion, [_safe(name, LONGEST_NAME) for name in metrics.classes]
    n = len(names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.8 + 0.42 * n, 3.6, 11))
    figure = _figure(side + 1.2, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Greys", vmin=0, vmax=1)
    cell = 55 * side / n  # points that a class has at the axis, about
    step = 1 if n <= MOST_NAMES else 5
    size = float(np.clip(0.5 * cell * step, 5, 10))
    fits = 0.7 * size * max(map(len, names)) < cell * step  # side by side, without turning them
    axes.set_xticks(range(0, n, step), names[::step], rotation=0 if fits else 90, fontsize=size)
    axes.set_yticks(range(0, n, step), names[::step], fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if n <= MOST_NUMBERS:
        longest = len(str(counts.max()))
        number_size = float(np.clip(min(0.5 * cell, 1.2 * cell / longest), 3, 11))
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if share[row, column] > 0.5 else "black"
            text = f"{counts[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=number_size)
    else:  # without numbers, lines lead the eye to the class
        axes.set_xticks(np.arange(0, n, 5) - 0.5, minor=True)
        axes.set_yticks(np.arange(0, n, 5) - 0.5, minor=True)
        axes.grid(which="minor", color="0.85", linewidth=0.5)
        axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, format=_percent())
    bar.set_label("share of the true class")
    summary = f"accuracy {metrics.accuracy:.1%}, macro F1 {metrics.macro_f1:.3f}"
    axes.set_title("\n".join(filter(None, [_safe(title, 60), summary])), fontsize=11)
    return _png(figure)


def _line(axes: Any, history: History, column: str, name: str, style: dict[str, Any]) -> None:
    points = [(epoch.number, value) for epoch in history if (value := getattr(epoch, column)) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), label=name, markersize=4, linewidth=1.6, **style)
