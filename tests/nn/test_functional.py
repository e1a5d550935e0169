"""nn.functional beyond what the layers use: one_hot, dropout, batch_norm."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, DTypeError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import softmax

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


@pytest.mark.parametrize("labels", [[2, 0], np.array([2, 0], np.uint8), Tensor(np.array([2, 0]))])
def test_one_hot(labels):
    rows = F.one_hot(labels, 3)
    assert rows.dtype == np.float32
    assert rows.array.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_one_hot_of_any_shape():
    labels = np.array([[0, 1], [1, 0]])
    assert F.one_hot(labels, 2, np.float64).array.tolist() == [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    assert F.one_hot(np.zeros(0, np.int64), 5).shape == (0, 5)


def test_one_hot_goes_into_losses():
    labels = np.array([3, 0, 1])
    expected = F.cross_entropy(Tensor(X), labels).array
    assert_close(F.cross_entropy(Tensor(X), F.one_hot(labels, 4)).array, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "classes", "error", "text"),
    [
        ([0, 3], 3, ArgumentError, "one_hot: a label is out of range; seen 0..3; rule: 0 <= label < 3"),
        ([-1, 2], 3, ArgumentError, "one_hot: a label is out of range; seen -1..2; rule: 0 <= label < 3"),
        ([0.0, 1.0], 3, DTypeError, "one_hot: labels are not whole numbers; seen float64; rule: integers"),
        ([True, False], 2, DTypeError, "one_hot: labels are not whole numbers; seen bool; rule: integers"),
        ([0], 0, ArgumentError, "one_hot: num_classes is not valid; seen num_classes=0; rule: num_classes >= 1"),
    ],
)
def test_one_hot_refuses(labels, classes, error, text):
    with pytest.raises(error) as caught:
        F.one_hot(np.array(labels), classes)
    assert str(caught.value) == text


def test_log_softmax():
    assert_close(F.log_softmax(Tensor(X), 1).array, softmax.log_softmax_forward(X, dim=1))
    assert_close(np.exp(F.log_softmax(Tensor(X), 0).array), F.softmax(Tensor(X), 0).array, rtol=1e-6)


def test_dropout():
    x = Tensor(X)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0) is x
    with pytest.raises(ArgumentError, match=r"^dropout: p is not a probability; seen p=2; rule: 0 <= p <= 1$"):
        F.dropout(x, 2)


def test_batch_norm_without_statistics():
    images = Tensor(X.reshape(3, 2, 2, 1))
    with pytest.raises(
        ArgumentError, match=r"^batch_norm: evaluation needs running statistics; seen running_mean=None"
    ):
        F.batch_norm(images, None, None)
    y = F.batch_norm(images, None, None, training=True).array
    assert_close(y.mean(axis=(0, 2, 3)), np.zeros(2, np.float32), atol=1e-6)
