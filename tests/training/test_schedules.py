from __future__ import annotations

import math

import pytest

from minicnn.errors import ArgumentError
from minicnn.training import constant, cosine, exponential, multistep, one_cycle, step, warm_up


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


def test_steps_come_where_a_float_is_a_bit_too_small():
    """30 epochs of 7 steps, a step every 10 epochs: the first step of epochs 11 and 21."""
    factors = [step(1 / 3, 0.5)(i / 210) for i in range(210)]
    assert factors == [1.0] * 70 + [0.5] * 70 + [0.25] * 70
    assert [step(0.1)(i / 10) for i in range(10)] == [pytest.approx(0.1**i) for i in range(10)]


def test_multistep():
    factors = [multistep((0.7, 0.3, 0.7), 0.5)(i / 10) for i in range(10)]
    assert factors == [1.0] * 3 + [0.5] * 4 + [0.125] * 3


def test_exponential_ends_at_its_last():
    assert exponential(0.01)(0) == 1
    assert exponential(0.01)(0.5) == pytest.approx(0.1)
    assert exponential(0.01)(1) == pytest.approx(0.01)


def test_one_cycle():
    factor = one_cycle(0.25, first=0.1, last=0.0)
    assert [factor(p) for p in (0, 0.125, 0.25, 0.625, 1)] == [pytest.approx(v) for v in (0.1, 0.55, 1, 0.5, 0)]


def test_warm_up_before_any_other():
    factor = warm_up(0.5, multistep((0.5,)), start=0.2)
    assert [factor(p) for p in (0, 0.25, 0.5, 0.7, 0.8)] == [pytest.approx(v) for v in (0.2, 0.6, 1, 1, 0.1)]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: step(-0.1), "step: every is not valid; seen every=-0.1; rule: every > 0"),
        (lambda: step(0), "step: every is not valid; seen every=0; rule: every > 0"),
        (lambda: step(0.5, -1), "step: gamma is not valid; seen gamma=-1; rule: gamma >= 0"),
        (
            lambda: multistep((0.5, 30)),
            "multistep: milestone is not valid; seen milestone=30; rule: milestone >= 0, mile",
        ),
        (
            lambda: multistep(0.5),
            "multistep: milestones are not valid; seen 0.5; rule: a list of shares of the training",
        ),
        (lambda: exponential(0), "exponential: last is not valid; seen last=0; rule: last > 0"),
        (lambda: one_cycle(1.0), "one_cycle: rise is not valid; seen rise=1.0; rule: 0 < rise < 1"),
        (lambda: warm_up(1.0, constant()), "warm_up: share is not valid; seen share=1.0; rule: 0 <= share < 1"),
        (lambda: warm_up(0.1, constant(), math.nan), "warm_up: start is not valid; seen start=nan; rule: start >= 0"),
    ],
)
def test_bad_settings(call, text):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value).startswith(text)
