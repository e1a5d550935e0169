"""Metrics against counts made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compare import assert_close

from minicnn.errors import ArgumentError, DataError, ShapeError
from minicnn.training import measure

TARGETS = np.array([0, 0, 0, 1, 1, 2])
#         predictions 0  0  1  1  0  1; class 3 has no image and no prediction
SCORES = np.array(
    [
        [0.9, 0.1, 0.0, 0.0],
        [0.6, 0.2, 0.1, 0.1],
        [0.3, 0.5, 0.1, 0.1],
        [0.1, 0.7, 0.1, 0.1],
        [0.4, 0.1, 0.3, 0.2],
        [0.1, 0.5, 0.1, 0.3],
    ],
    np.float32,
)


def test_values_by_hand():
    metrics = measure(TARGETS, SCORES, ["a", "b", "c", "d"])
    assert metrics.accuracy == 3 / 6
    assert metrics.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert_close([row.precision for row in metrics.per_class], [2 / 3, 1 / 3, 0, 0])
    assert_close([row.recall for row in metrics.per_class], [2 / 3, 1 / 2, 0, 0])
    assert_close([row.f1 for row in metrics.per_class], [2 / 3, 2 / 5, 0, 0])
    assert [row.support for row in metrics.per_class] == [3, 2, 1, 0]
    assert metrics.precision == pytest.approx((2 / 3 + 1 / 3) / 4)
    assert metrics.recall == pytest.approx((2 / 3 + 1 / 2) / 4)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 2 / 5) / 4)


def test_top_k_counts_only_where_there_are_more_classes():
    # the true class is among the three highest scores in all rows but two: rows 4 (b is last) and 5 (c ties with a)
    assert set(measure(TARGETS, SCORES).top_k) == {3}
    scores = np.eye(6)[[0, 1, 2]] + np.arange(6)[::-1] * 0.01
    top = measure([0, 4, 5], scores).top_k
    assert top == {3: 1 / 3, 5: 2 / 3}
    assert measure([0, 1], np.eye(2)).top_k == {}


def test_the_first_of_equal_scores_is_the_prediction():
    assert measure([0, 1], np.zeros((2, 2))).confusion.tolist() == [[1, 0], [1, 0]]


def test_as_dict_is_json():
    metrics = measure(TARGETS, SCORES)
    again = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))
    assert again["accuracy"] == 0.5
    assert again["macro_f1"] == metrics.macro_f1
    assert again["confusion"][0] == [2, 1, 0, 0]
    assert again["per_class"][1] == {"name": "1", "precision": 1 / 3, "recall": 0.5, "f1": 0.4, "support": 2}


def test_text_names_every_class():
    lines = str(measure(TARGETS, SCORES, ["ant", "bee", "cat", "dog"])).splitlines()
    assert [line.split()[0] for line in lines] == ["class", "ant", "bee", "cat", "dog", "macro", "accuracy"]
    assert lines[2].split()[1:] == ["0.333", "0.500", "0.400", "2"]
    assert "50.0%" in lines[-1]


@pytest.mark.parametrize(
    ("targets", "scores", "error", "text"),
    [
        ([0, 2], np.eye(2), DataError, "a label is out of range; seen labels 0 .. 2, 2 classes"),
        ([-1, 0], np.eye(2), DataError, "labels -1 .. 0, 2 classes"),
        ([0], np.eye(2), ShapeError, "targets (1,) int64, probabilities (2, 2)"),
        ([0.0, 1.0], np.eye(2), ShapeError, "float64"),
        ([], np.zeros((0, 2)), ShapeError, "float64"),
        (np.zeros(0, int), np.zeros((0, 2)), DataError, "at least one image"),
        ([0, 0], np.zeros((2, 1)), ArgumentError, "two classes or more"),
        ([0, 1], np.full((2, 2), np.nan), DataError, "not finite"),
    ],
)
def test_bad_input(targets, scores, error, text):
    with pytest.raises(error) as caught:
        measure(targets, scores)
    assert text in str(caught.value)
