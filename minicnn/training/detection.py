"""How good a detection is, on boxes given as arrays: average precision, average recall and F1, as COCO defines them.

For each class, each threshold of overlap and each range of areas (Lin et al. 2014, and the text of COCO's evaluation):

1. In each image, boxes that were found, best score first, take the true box that they overlap most, if
   :math:`\\mathrm{IoU} = |A \\cap B| / |A \\cup B|` is at least the threshold and nobody has taken it before.
2. A found box with a partner is right, one without is wrong. Neither counts where the true box is to be ignored (a
   crowd, or of another area), nor where a box without a partner has another area. A crowd has any number of partners,
   and overlap with it is measured against the found box alone.
3. Over all images, best score first, precision and recall are counted after each box. Precision is made falling from
   the right, read at recall 0, 0.01, ..., 1, and averaged: average precision. The last recall, with the best 1, 10, 100
   boxes of each image, is the average recall.

Means are over thresholds 0.50, 0.55, ..., 0.95 and over classes that have true boxes. COCO has no F1: here it is the
largest :math:`2PR / (P + R)` along the curve (before it is made falling), averaged in the same way.

::

    truth = Boxes(images=[0, 0, 1], labels=[0, 1, 0], boxes=[[10, 10, 30, 30], [40, 8, 60, 20], [0, 0, 16, 16]])
    found = Boxes([0, 1], [0, 0], [[11, 10, 30, 29], [2, 0, 18, 16]], scores=[0.9, 0.8])
    print(measure_detection(truth, found, ["cat", "dog"]))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.errors import ArgumentError
from minicnn.training.detection_boxes import Boxes, check_boxes, overlaps
from minicnn.training.detection_result import AREAS, LIMITS, RECALLS, THRESHOLDS, DetectionMetrics

__all__ = ["AREAS", "LIMITS", "RECALLS", "THRESHOLDS", "Boxes", "DetectionMetrics", "measure_detection", "overlaps"]


def measure_detection(
    truth: Boxes, found: Boxes, classes: Sequence[str], progress: bool | None = None
) -> DetectionMetrics:
    """Measure found boxes against true ones.

    Parameters
    ----------
    truth : Boxes
        Without scores; with `crowd`, and perhaps with areas of their own (COCO's are those of the segmentation).
    found : Boxes
        With scores.
    classes : sequence of str
        Names of the classes; a label is a number in it.
    progress : bool or None
        Whether a bar is shown; None: only on a terminal.

    Returns
    -------
    DetectionMetrics

    Raises
    ------
    ArgumentError, DataError, ShapeError
        A box with negative sides, numbers that are not finite, a label out of range, scores that are missing.
    """
    names = [str(name) for name in classes]
    check_boxes(truth, found, len(names))
    if not len(truth.images):
        raise ArgumentError("nothing to measure", called="measure_detection", seen="0 true boxes", rule="at least one")
    shape = (len(THRESHOLDS), len(names), len(AREAS))
    precision = np.full((len(THRESHOLDS), len(RECALLS), len(names), len(AREAS), len(LIMITS)), -1.0)
    recall = np.full((*shape, len(LIMITS)), -1.0)
    f1 = np.full(shape, -1.0)
    from tqdm import tqdm

    hidden = None if progress is None else not progress
    for label in tqdm(range(len(names)), "boxes", disable=hidden, leave=False, delay=2):
        scores, order, right, ignored, positives = _match_class(truth, found, label)
        for area in np.flatnonzero(positives):
            for i, limit in enumerate(LIMITS):
                taken = order < limit  # of each image the best
                best_first = np.argsort(-scores[taken], kind="stable")
                hit = right[area][:, taken][:, best_first]
                counts = ~ignored[area][:, taken][:, best_first]
                true = np.cumsum(hit & counts, axis=1, dtype=float)
                false = np.cumsum(~hit & counts, axis=1, dtype=float)
                rc, pr = true / positives[area], true / (true + false + np.spacing(1))
                recall[:, label, area, i] = rc[:, -1] if rc.shape[1] else 0
                precision[:, :, label, area, i] = _interpolated(rc, pr)
                if limit == LIMITS[-1]:
                    harmonic = 2 * pr * rc / np.maximum(pr + rc, np.spacing(1))
                    f1[:, label, area] = harmonic.max(axis=1, initial=0)
    true_boxes = np.bincount(truth.labels[~truth.crowd], minlength=len(names))
    return DetectionMetrics(names, precision, recall, f1, true_boxes, np.bincount(found.labels, minlength=len(names)))


def _match_class(truth: Boxes, found: Boxes, label: int) -> tuple[np.ndarray, ...]:
    """All found boxes of one class: score, place in its image (0: best), right, ignored; and true boxes that count.

    `right` and `ignored` are bool (areas, thresholds, found), what counts is int (areas,).
    """
    true_index = _by_image(truth, np.flatnonzero(truth.labels == label))
    found_index = _by_image(found, np.flatnonzero(found.labels == label))
    columns: list[tuple[np.ndarray, ...]] = []
    positives = np.zeros(len(AREAS), int)
    nothing = np.zeros(0, int)
    for image in sorted(true_index.keys() | found_index.keys()):
        mine, theirs = found_index.get(image, nothing), true_index.get(image, nothing)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][: LIMITS[-1]]
        ignore = truth.crowd[theirs] | ~_inside(truth.areas[theirs])  # (areas, true boxes)
        positives += (~ignore).sum(axis=1)
        iou = overlaps(found.boxes[mine], truth.boxes[theirs], truth.crowd[theirs])
        right, ignored = _match(iou, ignore, truth.crowd[theirs])
        ignored |= ~right & ~_inside(found.areas[mine])[:, None]
        columns.append((found.scores[mine], np.arange(len(mine)), right, ignored))
    empty = np.zeros((len(AREAS), len(THRESHOLDS), 0), bool)
    if not columns:
        return np.zeros(0), nothing, empty, empty, positives
    scores, order, right, ignored = (np.concatenate(parts, axis=-1) for parts in zip(*columns, strict=True))
    return scores, order, right, ignored, positives


def _match(iou: np.ndarray, ignore: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who takes whom in one image: for iou (found, true) and ignore (areas, true), right and ignored per threshold.

    The best partner is the last of the largest overlap among the boxes that count, and only without any such among
    those to be ignored: as in COCO's own program, where the boxes to be ignored stand last.
    """
    shape = (len(AREAS), len(THRESHOLDS), len(iou))
    right, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    if not ignore.shape[1]:
        return right, ignored
    taken = np.zeros((*shape[:2], ignore.shape[1]), bool)
    least = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    last = ignore.shape[1] - 1
    areas, thresholds = np.indices(shape[:2])
    for d in range(len(iou)):
        free = (iou[d] >= least) & (~taken | crowd)
        counts = free & ~ignore[:, None]
        candidates = np.where(counts.any(axis=-1, keepdims=True), counts, free)
        partner = last - np.where(candidates, iou[d], -1)[..., ::-1].argmax(axis=-1)
        has = candidates.any(axis=-1)
        right[:, :, d] = has
        ignored[:, :, d] = has & ignore[areas, partner]
        taken[areas[has], thresholds[has], partner[has]] = True
    return right, ignored


def _inside(areas: np.ndarray) -> np.ndarray:
    """Which boxes lie in each of the ranges of areas; both ends belong to a range."""
    low, high = np.array(list(AREAS.values())).T[:, :, None]
    return (areas >= low) & (areas <= high)


def _by_image(boxes: Boxes, index: np.ndarray) -> dict[int, np.ndarray]:
    """The numbers in `index`, in their order, by image."""
    order = index[np.argsort(boxes.images[index], kind="stable")]
    images, starts = np.unique(boxes.images[order], return_index=True)
    return {int(i): part for i, part in zip(images, np.split(order, starts[1:]), strict=False)}  # no image: one part


def _interpolated(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Precision at `RECALLS`, for curves (thresholds, boxes): the largest at that recall or above; 0 where none is."""
    result = np.zeros((len(THRESHOLDS), len(RECALLS)))
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for t, (rc, pr) in enumerate(zip(recall, falling, strict=True)):
        at = np.searchsorted(rc, RECALLS, side="left")
        reached = at < len(rc)
        result[t, reached] = pr[at[reached]]
    return result
