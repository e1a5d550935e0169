"""Boxes of many images as arrays, checked, and how much two of them overlap."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.errors import DataError, ShapeError


class Boxes:
    """Boxes of any number of images, one row a box; arrays are copied.

    Parameters
    ----------
    images : int array (n,)
        The image of each box, any numbers.
    labels : int array (n,)
        The class of each box.
    boxes : float array (n, 4)
        Left, top, right, bottom in pixels: x0 <= x1, y0 <= y1. (COCO's files have left, top, width, height.)
    scores : float array (n,), optional
        Of boxes that were found: any finite numbers; only their order counts.
    crowd : bool array (n,), optional
        Of true boxes: those that stand for many things in one; they are ignored, with what lies in them.
    areas : float array (n,), optional
        In pixels; without, those of the boxes.

    Attributes
    ----------
    images, labels, boxes, scores, crowd, areas : array
        `scores` are all 1 where none were given, and `has_scores` is False.
    """

    def __init__(
        self, images: Any, labels: Any, boxes: Any, scores: Any = None, *, crowd: Any = None, areas: Any = None
    ) -> None:
        n = len(np.atleast_1d(np.asarray(images)))
        self.images, self.labels = _integers("images", images, n), _integers("labels", labels, n)
        self.boxes = _numbers("boxes", boxes, (n, 4))
        self.has_scores = scores is not None
        self.scores = np.ones(n) if scores is None else _numbers("scores", scores, (n,))
        self.crowd = np.zeros(n, bool) if crowd is None else _numbers("crowd", crowd, (n,)) != 0
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        bad = np.flatnonzero((sides < 0).any(axis=1))
        if len(bad):
            raise DataError(
                "a box with negative area",
                called="Boxes",
                seen=f"box {bad[0]}: {self.boxes[bad[0]].tolist()}",
                rule="(x0, y0, x1, y1) with x0 <= x1, y0 <= y1",
                hint="boxes given as left, top, width, height? add left and top to the other two",
            )
        self.areas = sides.prod(axis=1) if areas is None else _numbers("areas", areas, (n,))
        if len(bad := np.flatnonzero(self.areas < 0)):
            raise DataError(
                "a negative area", called="Boxes", seen=f"box {bad[0]}: {self.areas[bad[0]]}", rule="areas >= 0"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Boxes({len(self)} boxes in {len(np.unique(self.images))} images)"


def overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of each found box with each true one.

    Parameters
    ----------
    found : float array (D, 4)
    true : float array (G, 4)
    crowd : bool array (G,), optional
        With these, the intersection is divided by the area of the found box.

    Returns
    -------
    float64 array (D, G)
        0 where boxes do not overlap, or have no area.
    """
    sides = np.minimum(found[:, None, 2:], true[None, :, 2:]) - np.maximum(found[:, None, :2], true[None, :, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    area_found = (found[:, 2:] - found[:, :2]).prod(axis=1)[:, None]
    area_true = (true[:, 2:] - true[:, :2]).prod(axis=1)[None]
    union = area_found + area_true - shared
    if crowd is not None:
        union = np.where(crowd[None], area_found, union)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def check_boxes(truth: Boxes, found: Boxes, classes: int) -> None:
    """Raise where boxes cannot be measured against each other."""
    called = "measure_detection"
    if not found.has_scores and len(found):
        raise DataError("found boxes have no scores", called=called, hint="Boxes(images, labels, boxes, scores)")
    for name, boxes in (("true", truth), ("found", found)):
        if len(boxes) and (boxes.labels.min() < 0 or boxes.labels.max() >= classes):
            raise DataError(
                f"a label of the {name} boxes is out of range",
                called=called,
                seen=f"labels {boxes.labels.min()} .. {boxes.labels.max()}, {classes} classes",
                rule="0 <= label < number of classes",
            )


def _integers(name: str, values: Any, n: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (n,) or (n and array.dtype.kind not in "iu"):
        raise ShapeError(
            f"{name} do not fit", called="Boxes", seen=f"{array.shape} {array.dtype}", rule=f"integers ({n},)"
        )
    return array.astype(np.int64)


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values)
    if not array.size and not shape[0]:
        return np.zeros(shape)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise ShapeError(
            f"{name} do not fit the images",
            called="Boxes",
            seen=f"{array.shape} {array.dtype}",
            rule=f"numbers {shape}",
        )
    array = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(array).reshape(shape[0], -1).all(axis=1))
    if len(bad):
        raise DataError(
            f"{name} are not finite",
            called="Boxes",
            seen=f"box {bad[0]}: {array[bad[0]].tolist()}",
            rule="finite numbers",
        )
    return array
