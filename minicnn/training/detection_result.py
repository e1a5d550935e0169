"""The numbers of a detection: COCO's twelve, F1, and one row a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of intersection over union
RECALLS = np.linspace(0, 1, 101)
LIMITS = (1, 10, 100)  # boxes of an image and class that count
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class DetectionMetrics:
    """A detection, measured; -1 stands where a class has no true box.

    Attributes
    ----------
    classes : list of str
    precision : float64 array (10 thresholds, 101 recalls, classes, 4 areas, 3 limits)
        As `COCOeval.eval["precision"]`.
    recall : float64 array (10, classes, 4, 3)
        As `COCOeval.eval["recall"]`.
    f1 : float64 array (10, classes, 4)
        The largest F1 along each curve, with 100 boxes an image.
    true_boxes, found_boxes : int array (classes,)
        Without crowds.
    """

    classes: list[str]
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    true_boxes: np.ndarray
    found_boxes: np.ndarray

    def average_precision(self, iou: float | None = None, area: str = "all", label: int | None = None) -> float:
        """Mean over recalls, thresholds (or at one, `iou`) and classes (or of one, `label`); -1 where there is none."""
        return _mean(self.precision[self._rows(iou), :, _one(label), list(AREAS).index(area), -1])

    def average_recall(self, limit: int = 100, area: str = "all", label: int | None = None) -> float:
        """Mean over thresholds and classes of the recall with the best `limit` boxes of an image."""
        return _mean(self.recall[:, _one(label), list(AREAS).index(area), LIMITS.index(limit)])

    def average_f1(self, iou: float | None = None, area: str = "all", label: int | None = None) -> float:
        """Mean over thresholds and classes of the largest F1."""
        return _mean(self.f1[self._rows(iou), _one(label), list(AREAS).index(area)])

    @property
    def stats(self) -> dict[str, float]:
        """COCO's twelve numbers, in their order, then F1 over all thresholds and at 0.5."""
        sizes = ("small", "medium", "large")
        return {
            "AP": self.average_precision(),
            "AP50": self.average_precision(0.5),
            "AP75": self.average_precision(0.75),
            **{f"AP_{size}": self.average_precision(area=size) for size in sizes},
            **{f"AR{limit}": self.average_recall(limit) for limit in LIMITS},
            **{f"AR_{size}": self.average_recall(area=size) for size in sizes},
            "F1": self.average_f1(),
            "F1_50": self.average_f1(0.5),
        }

    def as_dict(self) -> dict[str, Any]:
        """All numbers and one row a class, ready for JSON."""
        rows = [
            {
                "name": name,
                "AP": self.average_precision(label=i),
                "AP50": self.average_precision(0.5, label=i),
                "AR100": self.average_recall(label=i),
                "F1_50": self.average_f1(0.5, label=i),
                "true_boxes": int(self.true_boxes[i]),
                "found_boxes": int(self.found_boxes[i]),
            }
            for i, name in enumerate(self.classes)
        ]
        return {**self.stats, "per_class": rows}

    def __str__(self) -> str:
        width = max(9, *(len(name) for name in self.classes))
        values = self.as_dict()
        lines = [f"{'class':{width}}      AP    AP50   AR100   F1@50    true   found"]
        for row in values["per_class"]:
            numbers = "  ".join(f"{_text(row[key]):>6}" for key in ("AP", "AP50", "AR100", "F1_50"))
            lines.append(f"{row['name']:{width}}  {numbers}  {row['true_boxes']:6,}  {row['found_boxes']:6,}")
        means = "  ".join(f"{_text(values[key]):>6}" for key in ("AP", "AP50", "AR100", "F1_50"))
        total = f"{self.true_boxes.sum():6,}  {self.found_boxes.sum():6,}"
        return "\n".join([*lines, f"{'all':{width}}  {means}  {total}"])

    def _rows(self, iou: float | None) -> Any:
        return slice(None) if iou is None else np.isclose(THRESHOLDS, iou)


def _one(label: int | None) -> Any:
    return slice(None) if label is None else slice(label, label + 1)


def _mean(values: np.ndarray) -> float:
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0


def _text(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"
