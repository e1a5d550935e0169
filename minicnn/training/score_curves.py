"""ROC and precision-recall curves of each class against the rest, and their means; by scikit-learn.

For a class, its images are the positives and its probability the score. A threshold on the score gives one point of
each curve:

- ROC: true positive rate (share of positives above it) against false positive rate (share of the others above it);
  below it lies the AUC, 0.5 for guessing;
- precision-recall: share of positives among those above it, against the share of positives found; average precision is
  the mean of the precisions, each weighted by the step of recall that it brings.

"macro" is the mean over classes that have images, and others besides: each class counts the same. "micro" takes all
pairs of image and class as one problem of two classes: each image counts the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.training.calibration import check_probabilities
from minicnn.training.metrics import check_names

GRID = np.linspace(0, 1, 201)  # where curves are kept; areas are measured on the whole curves
MOST_PAIRS = 5_000_000  # pairs of image and class that are sorted for the micro mean; with more, it is left out


@dataclass(frozen=True)
class ScoreCurve:
    """The two curves of one class, or a mean of many.

    Attributes
    ----------
    name : str
    auc, average_precision : float
    true_positive_rate : float array (201,)
        At false positive rates 0, 0.005, ..., 1.
    precision : float array (201,)
        At recalls 0, 0.005, ..., 1: the largest precision at that recall or above.
    """

    name: str
    auc: float
    average_precision: float
    true_positive_rate: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class ScoreCurves:
    """All curves.

    Attributes
    ----------
    per_class : tuple of ScoreCurve or None
        None for a class without images, or with all of them.
    macro : ScoreCurve or None
        None where no class has a curve.
    micro : ScoreCurve or None
        None with more than 5 million pairs of image and class.
    """

    per_class: tuple[ScoreCurve | None, ...]
    macro: ScoreCurve | None
    micro: ScoreCurve | None

    def as_dict(self) -> dict[str, Any]:
        """The areas, ready for JSON."""

        def areas(curve: ScoreCurve | None) -> dict[str, float] | None:
            return None if curve is None else {"auc": curve.auc, "average_precision": curve.average_precision}

        return {
            "macro": areas(self.macro),
            "micro": areas(self.micro),
            "per_class": [areas(curve) for curve in self.per_class],
        }


def score_curves(targets: Any, probabilities: Any, classes: Sequence[str] | None = None) -> ScoreCurves:
    """The curves of all classes.

    Parameters
    ----------
    targets : int array (N,)
    probabilities : float array (N, classes)
        Rows that add up to 1.
    classes : sequence of str, optional
        "0", "1", ... without.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    check_probabilities("score_curves", targets, probabilities)
    names = check_names("score_curves", classes, probabilities.shape[1])
    curves = [_curve(name, targets == i, probabilities[:, i]) for i, name in enumerate(names)]
    there = [curve for curve in curves if curve is not None]
    macro = micro = None
    if there:
        macro = ScoreCurve(
            "macro mean",
            float(np.mean([curve.auc for curve in there])),
            float(np.mean([curve.average_precision for curve in there])),
            np.mean([curve.true_positive_rate for curve in there], axis=0),
            np.mean([curve.precision for curve in there], axis=0),
        )
    if probabilities.size <= MOST_PAIRS:
        micro = _curve("micro mean", (targets[:, None] == np.arange(len(names))).ravel(), probabilities.ravel())
    return ScoreCurves(tuple(curves), macro, micro)


def _curve(name: str, positive: np.ndarray, scores: np.ndarray) -> ScoreCurve | None:
    if positive.all() or not positive.any():
        return None
    from sklearn import metrics

    false, true, _ = metrics.roc_curve(positive, scores)
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last point, (1, 0), is no threshold's
    # From right to left precision may rise and fall; the best that is to be had at a recall or above is kept.
    rising, best = recall[::-1], np.maximum.accumulate(precision)[::-1]
    at = np.searchsorted(rising, GRID, side="left")
    return ScoreCurve(
        name,
        float(metrics.auc(false, true)),
        float(metrics.average_precision_score(positive, scores)),
        _upper(false, true),
        best[np.minimum(at, len(best) - 1)],
    )


def _upper(false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The curve on the grid: straight between its corners, and where it rises straight up, its upper end."""
    last = np.append(false[1:] != false[:-1], True)
    value = np.interp(GRID, false[last], true[last])
    value[0] = true[false == 0].max()
    return value
