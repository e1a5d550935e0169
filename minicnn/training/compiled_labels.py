"""Labels as the losses of `minicnn.training.compiled` want them: numbers, or one-hot rows; each mistaken for the other
is one clear error.
"""

from __future__ import annotations

import numpy as np

from minicnn.errors import DataError, DTypeError, ShapeError

SPARSE, ONE_HOT = "sparse_categorical_crossentropy", "categorical_crossentropy"


def as_numbers(called: str, y: np.ndarray, loss: str, classes: int) -> np.ndarray:
    """Labels as numbers, int64 (N,).

    Parameters
    ----------
    called : str
        For errors.
    y : array
        With the loss `SPARSE`: integers (N,) or (N, 1). With `ONE_HOT`: (N, classes), one 1 in each row.
    loss : str
    classes : int
    """
    seen = f"y {y.shape} {y.dtype}, loss={loss!r}, {classes} classes"
    return _from_numbers(called, y, classes, seen) if loss == SPARSE else _from_rows(called, y, classes, seen)


def _from_numbers(called: str, y: np.ndarray, classes: int, seen: str) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        raise ShapeError(
            "one-hot labels with a loss for numbers",
            called=called,
            seen=seen,
            rule="integers (N,), 0 <= label < classes",
            hint=f"loss={ONE_HOT!r}, or y.argmax(axis=1)",
        )
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DTypeError("labels are not numbers of classes", called=called, seen=seen, rule="integers (N,)")
    if y.size and (y.min() < 0 or y.max() >= classes):
        raise DataError(
            "labels that do not match the last layer",
            called=called,
            seen=f"labels {y.min()} .. {y.max()}, {classes} classes",
            rule="0 <= label < classes",
            hint=f"Dense({y.max() + 1}, activation='softmax')" if y.min() >= 0 else "",
        )
    return y.astype(np.int64)


def _from_rows(called: str, y: np.ndarray, classes: int, seen: str) -> np.ndarray:
    if y.ndim != 2:
        raise ShapeError(
            "labels that are numbers with a loss for one-hot rows",
            called=called,
            seen=seen,
            rule="(N, classes)",
            hint=f"loss={SPARSE!r}, or np.eye({classes})[y]",
        )
    if y.shape[1] != classes:
        raise ShapeError("labels that do not match the last layer", called=called, seen=seen, rule="(N, classes)")
    if y.dtype.kind not in "fiub" or not (((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()):
        raise DataError("rows that are not one-hot", called=called, seen=seen, rule="one 1 in each row, else 0")
    return y.argmax(axis=1)
