"""How good a classification is: accuracy, precision, recall, F1, the confusion matrix, top-k; by scikit-learn.

All classes count, also those that no image has: their precision, recall and F1 are 0 and pull the macro means down, and
the confusion matrix has a row for them. So two results with the same classes can always be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, DataError, ShapeError

TOP = (3, 5)  # the k of top-k; where there are not more than k classes it is 1 and is left out


@dataclass(frozen=True)
class ClassMetrics:
    """One class.

    Attributes
    ----------
    name : str
    precision : float
        Share of the images called so that are so; 0 where none is called so.
    recall : float
        Share of the class's images that were found; 0 where the class has none.
    f1 : float
        Harmonic mean of the two.
    support : int
        Images of the class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Metrics:
    """A classification, measured.

    Attributes
    ----------
    accuracy : float
        Share of images that are classified right.
    precision, recall, macro_f1 : float
        Means over classes (macro): each class counts the same.
    per_class : tuple of ClassMetrics
    confusion : int64 array (classes, classes)
        `confusion[true, predicted]`: number of images.
    top_k : dict
        For k in 3, 5, below the number of classes: share of images whose class is among the k most probable ones.
    """

    accuracy: float
    precision: float
    recall: float
    macro_f1: float
    per_class: tuple[ClassMetrics, ...]
    confusion: np.ndarray
    top_k: dict[int, float]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return [row.name for row in self.per_class]

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, text, lists and dicts, ready for JSON."""
        return {
            "accuracy": self.accuracy,
            "macro_precision": self.precision,
            "macro_recall": self.recall,
            "macro_f1": self.macro_f1,
            "top_k": {str(k): value for k, value in self.top_k.items()},
            "per_class": [vars(row).copy() for row in self.per_class],
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        width = max(len("macro mean"), *(len(name) for name in self.classes))
        lines = [f"{'class':{width}}  precision  recall     F1  images"]
        lines += [
            f"{row.name:{width}}  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:5.3f}  {row.support:6,}"
            for row in self.per_class
        ]
        total = int(self.confusion.sum())
        lines += [
            f"{'macro mean':{width}}  {self.precision:9.3f}  {self.recall:6.3f}  {self.macro_f1:5.3f}  {total:6,}"
        ]
        tops = "".join(f", top-{k} {value:.1%}" for k, value in self.top_k.items())
        return "\n".join([*lines, f"accuracy {self.accuracy:.1%}{tops}"])


def measure(targets: Any, probabilities: Any, classes: Sequence[str] | None = None) -> Metrics:
    """Measure a classification; the prediction is the most probable class, the first one of a tie.

    Parameters
    ----------
    targets : int array (N,)
        The true classes.
    probabilities : float array (N, classes)
        Probabilities or scores: only their order counts.
    classes : sequence of str, optional
        Names of the classes; "0", "1", ... without.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    columns = probabilities.shape[-1] if probabilities.ndim else 0
    names = [str(i) for i in range(columns)] if classes is None else [str(name) for name in classes]
    check_classification("metrics.measure", targets, probabilities, len(names))
    predictions = probabilities.argmax(axis=1)

    from sklearn import metrics

    labels = np.arange(len(names))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        targets, predictions, labels=labels, average=None, zero_division=0
    )
    return Metrics(
        accuracy=float(metrics.accuracy_score(targets, predictions)),
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        per_class=tuple(
            ClassMetrics(name, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, name in enumerate(names)
        ),
        confusion=metrics.confusion_matrix(targets, predictions, labels=labels).astype(np.int64),
        top_k={
            k: float(metrics.top_k_accuracy_score(targets, probabilities, k=k, labels=labels))
            for k in TOP
            if k < len(names)
        },
    )


def check_names(called: str, classes: Sequence[str] | None, count: int) -> list[str]:
    """The names of the classes; "0", "1", ... where there are none."""
    names = [str(i) for i in range(count)] if classes is None else [str(name) for name in classes]
    if len(names) != count:
        raise ShapeError(
            "names and classes do not fit",
            called=called,
            seen=f"{len(names)} names, {count} classes",
            rule="one a class",
        )
    return names


def check_classification(called: str, targets: np.ndarray, probabilities: np.ndarray, classes: int) -> None:
    """Raise unless targets (N,) are labels of so many classes, and probabilities (N, classes) finite numbers."""
    if targets.ndim != 1 or targets.dtype.kind not in "iu" or probabilities.shape != (len(targets), classes):
        raise ShapeError(
            "targets, probabilities and classes do not fit each other",
            called=called,
            seen=f"targets {targets.shape} {targets.dtype}, probabilities {probabilities.shape}, {classes} classes",
            rule="integers (N,), floats (N, classes), one name a class",
        )
    if not len(targets):
        raise DataError("nothing to measure", called=called, seen="0 images", rule="at least one image")
    if classes < 2:
        raise ArgumentError("not a classification", called=called, seen=f"{classes} class", rule="two classes or more")
    if targets.min() < 0 or targets.max() >= classes:
        raise DataError(
            "a label is out of range",
            called=called,
            seen=f"labels {targets.min()} .. {targets.max()}, {classes} classes",
            rule="0 <= label < number of classes",
        )
    if probabilities.dtype.kind not in "fiu" or not np.isfinite(probabilities).all():
        raise DataError("probabilities are not finite", called=called, seen="NaN or infinity", rule="finite numbers")
