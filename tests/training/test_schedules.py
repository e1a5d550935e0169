from __future__ import annotations

import math

import pytest

from minicnn.errors import ArgumentError
from minicnn.training import constant, cosine


def test_constant():
    assert [constant()(p) for p in (0.0, 0.5, 0.99)] == [1, 1, 1]


def test_cosine():
    factor = cosine()
    assert factor(0) == 1
    assert factor(0.5) == pytest.approx(0.5)
    assert factor(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor(1) == pytest.approx(0)


def test_warmup_rises_in_a_straight_line_and_then_falls():
    factor = cosine(warmup=0.2)
    assert factor(0) == pytest.approx(0.1)
    assert factor(0.1) == pytest.approx(0.55)
    assert factor(0.2) == pytest.approx(1)
    assert factor(0.6) == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", [-0.1, 1, math.nan])
def test_bad_warmup(warmup):
    with pytest.raises(ArgumentError, match="0 <= warmup < 1"):
        cosine(warmup)
