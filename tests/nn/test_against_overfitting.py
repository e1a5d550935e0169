"""Penalties, dropout of channels, clipping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import nn, optim
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, DivergedError, ShapeError


def test_penalties_and_their_gradients():
    w, v = nn.Parameter(np.array([[1.0, -2.0, 0.0]])), nn.Parameter(np.array([3.0]))
    for penalty, value, gradient in (
        (nn.l1_penalty, 0.1 * 6, [[0.1, -0.1, 0.0]]),
        (nn.l2_penalty, 0.1 * 14, [[0.2, -0.4, 0.0]]),
    ):
        w.grad = None
        loss = penalty([w, v], 0.1)
        loss.backward()
        assert_close(loss.item(), value)
        assert_close(w.grad.array, np.array(gradient))


def test_l2_is_weight_decay_of_twice_the_strength():
    paths = []
    for decay, strength in ((0.2, 0.0), (0.0, 0.1)):
        p = nn.Parameter(np.array([1.0, -2.0]))
        optimizer = optim.SGD([p], 0.1, momentum=0.9, weight_decay=decay)
        for _ in range(5):
            optimizer.zero_grad()
            (((p - 3.0) ** 2).sum() + nn.l2_penalty(p, strength)).backward()
            optimizer.step()
        paths.append(p.array)
    assert_close(*paths)


def test_whole_channels_are_dropped():
    minicnn.manual_seed(0)
    layer = nn.Dropout2d(0.25)
    x = Tensor(np.ones((50, 40, 3, 2), np.float32), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    channels = y.array.reshape(2000, 6)
    assert (channels == channels[:, :1]).all()
    assert set(np.unique(channels)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((channels[:, 0] == 0).mean() - 0.25) < 0.03
    assert np.array_equal(x.grad.array, y.array)
    minicnn.manual_seed(0)
    assert np.array_equal(layer(x).array, y.array)
    layer.eval()
    assert layer(x) is x


def test_dropped_channels_at_the_ends():
    x = Tensor(np.ones((2, 3, 2, 2), np.float32))
    assert not nn.Dropout2d(1.0)(x).array.any()
    assert nn.Dropout2d(0.0)(x) is x
    with pytest.raises(ShapeError, match=r"dropout2d: the input is not images; seen x \(2, 3\)"):
        nn.functional.dropout2d(Tensor(np.ones((2, 3))))
    with pytest.raises(ArgumentError, match=r"^Dropout2d: p is not a probability; seen p=1.5"):
        nn.Dropout2d(1.5)


def test_clipping_a_gradient_that_is_not_finite():
    p = nn.Parameter(np.ones(2))
    p.grad = Tensor(np.array([math.nan, 1.0]))
    with pytest.raises(DivergedError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.array[1] == 1
    nn.utils.clip_grad_norm_(p, 1.0)
    assert np.isnan(p.grad.array).all()
