"""The pictures of a judgement, as PNG bytes: curves of scores, reliability, F1 of the classes, to be read in grey."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.training.calibration import Calibration
from minicnn.training.detection_result import LIMITS, RECALLS, THRESHOLDS, DetectionMetrics
from minicnn.training.drawing import STYLES, figure, percent, png, safe, tidy
from minicnn.training.metrics import Metrics
from minicnn.training.score_curves import GRID, ScoreCurve, ScoreCurves

SHOWN = 3  # classes with a line of their own: those with the smallest areas
MOST_BARS = 40  # classes in the picture of F1; of more, the worst
_THIN = {"color": "0.75", "linewidth": 0.8}


def score_picture(curves: ScoreCurves) -> bytes:
    """ROC on the left, precision against recall on the right; every class thin, means and worst classes named."""
    drawn = figure(9, 4.2)
    roc, pr = drawn.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=(0, (1, 3)))
    there = [curve for curve in curves.per_class if curve is not None]
    _lines(roc, there, curves, lambda c: c.true_positive_rate, lambda c: c.auc, "AUC")
    _lines(pr, there, curves, lambda c: c.precision, lambda c: c.average_precision, "AP")
    tidy(roc, "false positive rate", "true positive rate", "ROC, one class against the rest")
    tidy(pr, "recall", "precision", "precision and recall")
    roc.legend(frameon=False, fontsize=8, loc="lower right")
    pr.legend(frameon=False, fontsize=8, loc="lower left")
    for axes in (roc, pr):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.04)
    return png(drawn)


def _lines(axes: Any, there: list[ScoreCurve], curves: ScoreCurves, line: Any, area: Any, unit: str) -> None:
    for curve in there:
        axes.plot(GRID, line(curve), **_THIN)
    dashes = ((0, (1, 1)), (0, (4, 1, 1, 1)), (0, (6, 2)))
    for curve, dash in zip(sorted(there, key=area)[:SHOWN], dashes, strict=False):
        axes.plot(GRID, line(curve), color="#b35900", linewidth=1.3, linestyle=dash, label=_label(curve, area, unit))
    for mean, style in ((curves.micro, STYLES[1]), (curves.macro, STYLES[2])):
        if mean is not None:
            plain = {key: style[key] for key in ("color", "linestyle")}
            axes.plot(GRID, line(mean), linewidth=1.8, label=_label(mean, area, unit), **plain)


def _label(curve: ScoreCurve, area: Any, unit: str) -> str:
    return f"{safe(curve.name, 20)}: {unit} {area(curve):.3f}"


def reliability_picture(calibration: Calibration) -> bytes:
    """Above, the share that is right beside the mean probability, in bins; below, how many images each bin has."""
    drawn = figure(5.2, 6.0)
    top, bottom = drawn.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    edges, there = calibration.edges, calibration.counts > 0
    left, width = edges[:-1][there], np.diff(edges)[there]
    accuracy, confidence = calibration.accuracy[there], calibration.confidence[there]
    bar = {"align": "edge", "edgecolor": "black", "linewidth": 0.6}
    top.bar(left, accuracy, width, color="#7fb8d8", label="share that is right", **bar)
    gap = np.abs(confidence - accuracy)
    low = np.minimum(accuracy, confidence)
    top.bar(left, gap, width, low, color="none", hatch="////", label="distance to the mean probability", **bar)
    top.plot(confidence, confidence, color="black", marker="D", markersize=4, linestyle="", label="mean probability")
    top.plot([0, 1], [0, 1], color="0.4", linewidth=0.9, linestyle="--")
    tidy(top, "", "share that is right", f"reliability: ECE {calibration.ece:.3f}")
    drawn.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    top.set_ylim(0, 1.02)
    bottom.bar(left, calibration.counts[there], width, color="0.6", **bar)
    tidy(bottom, "probability of the class that the image is called", "images")
    bottom.set_xlim(0, 1)
    for axes in (top.yaxis, bottom.xaxis):
        axes.set_major_formatter(percent())
    return png(drawn)


def classes_picture(metrics: Metrics) -> bytes:
    """F1 of each class as bars, the worst first, with precision and recall as marks."""
    rows = sorted((row for row in metrics.per_class if row.support), key=lambda row: row.f1)[:MOST_BARS]
    drawn = figure(6.4, max(1.2 + 0.24 * len(rows), 2.0))
    axes = drawn.subplots()
    places = np.arange(len(rows))[::-1]
    axes.barh(places, [row.f1 for row in rows], color="0.82", edgecolor="black", linewidth=0.5, label="F1")
    axes.plot([row.precision for row in rows], places, linestyle="", marker="<", color="#0072a8", label="precision")
    axes.plot([row.recall for row in rows], places, linestyle="", marker=">", color="#b35900", label="recall")
    axes.set_yticks(places, [safe(row.name, 24) for row in rows], fontsize=8)
    tidy(axes, "", "", "classes, the worst first")
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(percent())
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return png(drawn)


def detection_picture(metrics: DetectionMetrics) -> bytes:
    """Mean precision against recall at three thresholds; average precision and F1 against the threshold."""
    drawn = figure(9, 3.8)
    curve, by_threshold = drawn.subplots(1, 2)
    for iou, style in zip((0.9, 0.75, 0.5), STYLES, strict=True):
        at = int(np.argmin(np.abs(THRESHOLDS - iou)))
        values = metrics.precision[at, :, :, 0, len(LIMITS) - 1]
        values = values[:, (values > -1).all(axis=0)]
        plain = {key: style[key] for key in ("color", "linestyle")}
        label = f"IoU {iou:.2f}: AP {metrics.average_precision(iou):.3f}"
        curve.plot(RECALLS, values.mean(axis=1), label=label, linewidth=1.8, **plain)
    tidy(curve, "recall", "precision", "mean over classes")
    ap = [metrics.average_precision(iou) for iou in THRESHOLDS]
    f1 = [metrics.average_f1(iou) for iou in THRESHOLDS]
    by_threshold.plot(THRESHOLDS, ap, label=f"AP, mean {metrics.stats['AP']:.3f}", **STYLES[2])
    by_threshold.plot(THRESHOLDS, f1, label=f"best F1, mean {metrics.stats['F1']:.3f}", **STYLES[1])
    tidy(by_threshold, "IoU that a box must have", "", "stricter to the right")
    for axes in (curve, by_threshold):
        axes.set_ylim(-0.02, 1.04)
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    return png(drawn)
