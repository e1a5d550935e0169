"""ROC and precision-recall curves against scikit-learn and by hand; mistakes by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compare import assert_close
from sklearn import metrics

from minicnn.errors import DataError, ShapeError
from minicnn.training import score_curves as module
from minicnn.training.mistakes import confused_pairs, worst_mistakes
from minicnn.training.score_curves import GRID, score_curves


def scores(n: int = 400, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that know something of them, in steps of 1/20: with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    z = rng.random((n, classes)) + np.eye(classes)[labels] * 0.4
    counts = np.floor(20 * z / z.sum(1, keepdims=True)).astype(int)
    counts[:, 0] += 20 - counts.sum(1)
    return labels, counts / 20


def test_the_areas_are_those_of_scikit_learn():
    labels, p = scores()
    curves = score_curves(labels, p, list("abcd"))
    for average, curve in (("macro", curves.macro), ("micro", curves.micro)):
        assert_close(curve.auc, metrics.roc_auc_score(np.eye(4)[labels], p, average=average, multi_class="ovr"))
        assert_close(curve.average_precision, metrics.average_precision_score(np.eye(4)[labels], p, average=average))
    own = metrics.roc_auc_score(np.eye(4)[labels], p, average=None)
    assert_close([curve.auc for curve in curves.per_class], own)
    for curve in (*curves.per_class, curves.macro, curves.micro):
        assert_close(np.trapezoid(curve.true_positive_rate, GRID), curve.auc, atol=3e-3)
        assert (np.diff(curve.true_positive_rate) >= 0).all()
        assert (np.diff(curve.precision) <= 0).all()
    assert json.loads(json.dumps(curves.as_dict(), allow_nan=False))["per_class"][1]["auc"] == pytest.approx(own[1])


def test_by_hand():
    """Scores 0.9 0.8 0.8 0.1 of +, +, -, -: at 0.8 two of two are found, with one of two others."""
    p = np.array([0.9, 0.8, 0.8, 0.1])
    (_, curve) = score_curves([1, 1, 0, 0], np.stack([1 - p, p], 1)).per_class
    assert_close(curve.auc, 0.875)  # a corner (0, 1/2), then straight to (1/2, 1)
    assert_close(curve.average_precision, 0.5 * 1 + 0.5 * 2 / 3)
    assert_close(curve.true_positive_rate[[0, 50, 100, 200]], [0.5, 0.75, 1, 1])
    assert_close(curve.precision[[0, 100, 101, 200]], [1, 1, 2 / 3, 2 / 3])


def test_classes_that_are_not_there(monkeypatch):
    labels, p = scores()
    some = labels < 2
    curves = score_curves(labels[some], p[some])
    assert [curve is None for curve in curves.per_class] == [False, False, True, True]
    assert_close(curves.macro.auc, np.mean([curves.per_class[0].auc, curves.per_class[1].auc]))
    one = score_curves(np.zeros(5, int), p[:5])
    assert one.macro is None
    assert one.micro is not None
    monkeypatch.setattr(module, "MOST_PAIRS", 10)
    assert score_curves(labels, p).micro is None


@pytest.mark.parametrize(
    ("p", "names", "error", "text"),
    [
        ([[np.nan, 1], [0, 1]], None, DataError, "not finite"),
        ([[3, 1], [0, 1]], None, DataError, "not probabilities"),
        ([[0.5, 0.5], [0, 1]], ["a"], ShapeError, "1 names, 2 classes"),
    ],
)
def test_bad_input(p, names, error, text):
    with pytest.raises(error) as caught:
        score_curves([0, 1], np.array(p, float), names)
    assert text in str(caught.value)


# predictions: 1 (0.8), 1 (0.6), 0, 0 (0.8), 2 (0.8), 0 of a tie with 2
P = [[0.2, 0.8, 0], [0.4, 0.6, 0], [0.9, 0.1, 0], [0.8, 0.1, 0.1], [0, 0.2, 0.8], [0.5, 0, 0.5]]
LABELS = [0, 0, 0, 1, 1, 2]


def test_the_surest_mistakes_come_first():
    worst = worst_mistakes(LABELS, P)
    assert [(m.index, m.target, m.prediction, m.probability) for m in worst] == [
        (0, 0, 1, 0.8),
        (3, 1, 0, 0.8),
        (4, 1, 2, 0.8),
        (1, 0, 1, 0.6),
        (5, 2, 0, 0.5),
    ]
    assert worst[0].target_probability == 0.2
    assert worst_mistakes(LABELS, P, 2) == worst[:2]
    assert worst_mistakes([1, 1], [[0, 1], [0.5, 0.6]]) == []


def test_pairs_by_count_then_by_class():
    pairs = confused_pairs(LABELS, P, examples=1)
    assert [(p.target, p.prediction, p.count, p.examples) for p in pairs] == [
        (0, 1, 2, (0,)),
        (1, 0, 1, (3,)),
        (1, 2, 1, (4,)),
        (2, 0, 1, (5,)),
    ]
    assert_close([p.share for p in pairs], [2 / 3, 1 / 2, 1 / 2, 1])
    with pytest.raises(DataError, match="not finite"):
        confused_pairs([0], [[np.inf, 0]])
