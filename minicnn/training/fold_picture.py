"""The picture of a cross-validation, as PNG bytes: each fold's accuracy by epochs, and where they end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.training import pictures


def picture(histories: Sequence[Sequence[float]], accuracies: Sequence[float], title: str = "") -> bytes:
    """Left: validation accuracy against epochs, a line a fold, and their mean. Right: a point a fold, mean, deviation.

    Parameters
    ----------
    histories : for each fold, the validation accuracy after each epoch
    accuracies : for each fold, the last one
    title : str

    Returns
    -------
    bytes
        A PNG.
    """
    figure = pictures._figure(9, 3.8)
    curves, ends = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    epochs = np.arange(1, len(histories[0]) + 1)
    for history in histories:
        curves.plot(epochs, history, color="0.6", linewidth=1, marker=".", markersize=4)
    curves.plot(
        epochs, np.mean(histories, axis=0), color="#1a1a1a", linewidth=2, marker="o", markersize=4, label="mean"
    )
    curves.set_xlabel("epoch")
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.set_title("validation accuracy of each fold", fontsize=11)
    curves.legend(frameon=False, loc="lower right")
    mean, deviation = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))
    ends.axhspan(mean - deviation, mean + deviation, color="0.9")
    ends.axhline(mean, color="#1a1a1a", linewidth=1.6)
    ends.plot(range(1, len(accuracies) + 1), accuracies, "o", color="#0072b2")
    ends.set_xlabel("fold")
    ends.xaxis.get_major_locator().set_params(integer=True)
    ends.set_title(f"{mean:.1%} ± {deviation:.1%}", fontsize=11)
    for axes in (curves, ends):
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    curves.yaxis.set_major_formatter(pictures._percent())
    figure.suptitle(pictures._safe(title, 90), fontsize=12)
    return pictures._png(figure)
