"""Detection against COCO's own program, and against cases done by hand."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from compare import assert_close

from minicnn.errors import ArgumentError, DataError, ShapeError
from minicnn.training.detection import THRESHOLDS, Boxes, measure_detection, overlaps


def random_boxes(seed: int, images: int = 12, classes: int = 4) -> tuple[Boxes, Boxes]:
    """True boxes of all sizes, some of them crowds; found ones near them and elsewhere, with scores that tie.

    Sides are whole pixels, so that (left, top, width, height) and corners have the same bits. The last class is never
    true, one image has nothing to find, one nothing found.
    """
    rng = np.random.default_rng(seed)
    true, found = [], []
    for image in range(images):
        for _ in range(rng.integers(0, 9) if image else 0):
            label, corner = rng.integers(classes - 1), rng.integers(0, 300, 2)
            side = rng.integers(1, rng.choice([20, 60, 200]), 2)
            true.append((image, label, *corner, *(corner + side), rng.random() < 0.2))
            for _ in range(rng.integers(0, 4) if image != 1 else 0):
                low = corner + rng.integers(-4, 5, 2)
                high = np.maximum(corner + side + rng.integers(-4, 5, 2), low)
                found.append((image, label if rng.random() < 0.9 else classes - 1, *low, *high, rng.integers(9) / 8))
    true, found = np.array(true, float), np.array(found, float)
    ints = true[:, :2].astype(int), found[:, :2].astype(int)
    areas = rng.uniform(0.3, 1, len(true)) * (true[:, 4] - true[:, 2]) * (true[:, 5] - true[:, 3])
    return (
        Boxes(*ints[0].T, true[:, 2:6], crowd=true[:, 6], areas=areas),
        Boxes(*ints[1].T, found[:, 2:6], found[:, 6]),
    )


def coco(truth: Boxes, found: Boxes, classes: int):
    """What pycocotools says."""
    tools = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    def rows(boxes: Boxes) -> list[dict]:
        flat = np.concatenate([boxes.boxes[:, :2], boxes.boxes[:, 2:] - boxes.boxes[:, :2]], axis=1)
        return [
            {
                "id": i + 1,
                "image_id": int(boxes.images[i]),
                "category_id": int(boxes.labels[i]),
                "bbox": flat[i].tolist(),
            }
            for i in range(len(boxes))
        ]

    images = [{"id": int(i)} for i in np.union1d(truth.images, found.images)]
    extra = [{"area": float(truth.areas[i]), "iscrowd": int(truth.crowd[i])} for i in range(len(truth))]
    with contextlib.redirect_stdout(io.StringIO()):
        data = tools.COCO()
        annotations = [row | more for row, more in zip(rows(truth), extra, strict=True)]
        data.dataset = {
            "info": {},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i} for i in range(classes)],
        }
        data.createIndex()
        scored = [row | {"score": float(s)} for row, s in zip(rows(found), found.scores, strict=True)]
        judge = COCOeval(data, data.loadRes(scored), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


@pytest.mark.parametrize("seed", range(4))
def test_it_is_cocos(seed):
    truth, found = random_boxes(seed)
    metrics, theirs = measure_detection(truth, found, list("abcd")), coco(truth, found, 4)
    assert_close(metrics.precision, theirs.eval["precision"])
    assert_close(metrics.recall, theirs.eval["recall"])
    assert_close(list(metrics.stats.values())[:12], list(theirs.stats))
    assert 0.1 < metrics.stats["AP"] < 0.9  # a case that says something


def test_more_boxes_than_count_in_an_image():
    """Of 130 boxes of an image the best 100 count; the true one is found only by the 121st."""
    boxes = np.tile([0.0, 0, 5, 5], (130, 1))
    boxes[120] = [50, 50, 90, 90]
    truth = Boxes([7], [0], [[50, 50, 90, 90]])
    found = Boxes(np.full(130, 7), np.zeros(130, int), boxes, np.linspace(1, 0, 130))
    assert measure_detection(truth, found, ["a"]).stats["AR100"] == 0
    found = Boxes(found.images, found.labels, boxes, np.linspace(0, 1, 130))
    assert measure_detection(truth, found, ["a"]).stats["AR100"] == 1
    assert measure_detection(truth, found, ["a"]).stats["AR1"] == 0


def test_by_hand():
    """Two true boxes; found: one right, then one wrong, then the other right with IoU 0.6, below the fourth threshold.

    Up to 0.6: precision after each box 1, 1/2, 2/3, recall 1/2, 1/2, 1. Recalls 0 .. 0.5 (51 of 101) read 1, the others
    2/3; F1 is best at the end, 2 (2/3) / (5/3) = 0.8. Above 0.6: recall stays 1/2: 51 ones, F1 2 (1/2) / (3/2) = 2/3.
    """
    truth = Boxes([0, 1], [0, 0], [[0, 0, 10, 10], [0, 0, 10, 10]])
    found = Boxes([0, 0, 1], [0, 0, 0], [[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 6]], [0.9, 0.8, 0.7])
    metrics = measure_detection(truth, found, ["a", "never there"])
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert THRESHOLDS[2] <= 0.6 < THRESHOLDS[3]
    assert_close(metrics.stats["AP"], 0.3 * low + 0.7 * high)
    assert_close(metrics.stats["AP50"], low)
    assert_close(metrics.stats["AP75"], high)
    assert_close(metrics.stats["AR100"], 0.3 * 1 + 0.7 * 0.5)
    assert_close(metrics.stats["F1"], 0.3 * 0.8 + 0.7 * 2 / 3)
    assert metrics.stats["AP_large"] == metrics.average_precision(label=1) == -1  # no such boxes
    again = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))
    assert [row["AP"] for row in again["per_class"]] == [pytest.approx(metrics.stats["AP"]), -1]
    assert str(metrics).splitlines()[2].split()[:4] == ["never", "there", "-", "-"]


def test_a_crowd_takes_any_number_and_counts_for_none():
    truth = Boxes([0, 0], [0, 0], [[0, 0, 10, 10], [20, 0, 60, 40]], crowd=[False, True])
    found = Boxes([0] * 3, [0] * 3, [[21, 1, 25, 5], [30, 1, 35, 5], [0, 0, 10, 10]], [0.9, 0.8, 0.7])
    assert measure_detection(truth, found, ["a"]).stats["AP"] == pytest.approx(1)
    truth = Boxes([0, 0], [0, 0], [[0, 0, 10, 10], [20, 0, 60, 40]])
    assert measure_detection(truth, found, ["a"]).stats["AP"] < 0.2


def test_nothing_found():
    metrics = measure_detection(Boxes([0], [1], [[0, 0, 4, 4]]), Boxes([], [], [], []), ["a", "b"])
    assert metrics.stats["AP"] == metrics.stats["AR100"] == metrics.stats["F1"] == 0
    assert metrics.average_precision(label=0) == -1


def test_overlap_of_boxes_without_area_is_nothing():
    boxes = np.array([[0, 0, 0, 0], [0, 0, 4, 4], [2, 2, 6, 6]], float)
    assert_close(overlaps(boxes, boxes), np.array([[0, 0, 0], [0, 1, 4 / 28], [0, 4 / 28, 1]]))


BOX = [[0, 0, 4, 4]]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Boxes([0], [0], [[4, 0, 0, 4]]), DataError, "negative area; seen box 0: [4.0, 0.0, 0.0, 4.0]"),
        (lambda: Boxes([0], [0], BOX, [np.nan]), DataError, "scores are not finite; seen box 0: nan"),
        (lambda: Boxes([0], [0], [[0, 0, np.inf, 4]]), DataError, "boxes are not finite"),
        (lambda: Boxes([0], [0], [[0, 0, 4]]), ShapeError, "boxes do not fit the images; seen (1, 3)"),
        (lambda: Boxes([0], [0.5], BOX), ShapeError, "labels do not fit; seen (1,) float64"),
        (lambda: Boxes([0], [0], BOX, areas=[-1]), DataError, "a negative area"),
        (lambda: measure_detection(Boxes([0], [2], BOX), Boxes([], [], [], []), "ab"), DataError, "labels 2 .. 2, 2 "),
        (lambda: measure_detection(Boxes([0], [0], BOX), Boxes([0], [-1], BOX, [1]), "a"), DataError, "found boxes is"),
        (lambda: measure_detection(Boxes([0], [0], BOX), Boxes([0], [0], BOX), "a"), DataError, "have no scores"),
        (lambda: measure_detection(Boxes([], [], []), Boxes([], [], [], []), "a"), ArgumentError, "nothing to measure"),
    ],
)
def test_bad_boxes(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)
