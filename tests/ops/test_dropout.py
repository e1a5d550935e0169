"""Dropout: by hand, the mask's statistics, NaN, memory layouts; loops against formula; gradients; errors."""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import Tensor, apply
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import dropout
from minicnn.ops.registry import algorithm

INF, NAN = np.inf, np.nan
ALGORITHMS = ("formula", "loops")


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(dropout=request.param):
        yield request.param


def generator(seed=0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def problem(shape, dtype=np.float64, p=0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, dy and a mask."""
    rng = generator()
    x, dy = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    return x, dy, np.asarray(dropout.draw_mask(shape, p, rng))


def test_by_hand(each_algorithm):
    mask = np.array([True, False, True, False])
    assert_close(dropout.forward(np.array([1.0, 2, -3, 4]), mask, p=0.75), np.array([4.0, 0, -12, 0]))
    assert_close(dropout.grad_input(np.array([1.0, 2, 3, 4]), mask, p=0.75), np.array([4.0, 0, 12, 0]))


def test_nothing_is_dropped_for_p_0_and_all_for_p_1(each_algorithm):
    x = np.array([1.0, -2, 3])
    kept = dropout.draw_mask((3,), 0, generator())
    assert kept.all()
    assert_close(dropout.forward(x, kept, p=0), x)
    dropped = dropout.draw_mask((3,), 1, generator())
    assert not dropped.any()
    for mask in (kept, dropped):
        assert_close(dropout.forward(x, mask, p=1), np.zeros(3))
        assert_close(dropout.grad_input(x, mask, p=1.0), np.zeros(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_travel_even_where_they_are_dropped(each_algorithm, dtype):
    x = np.array([NAN, NAN, INF, INF, 1], dtype)
    mask = np.array([True, False, True, False, False])
    y = dropout.forward(x, mask, p=0.5)
    assert_close(y, np.array([NAN, NAN, INF, NAN, 0], dtype), nan_ok=True)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_mask_keeps_a_share_of_1_minus_p(p):
    many = 100_000
    mask = dropout.draw_mask((many // 10, 10), p, generator())
    assert mask.dtype == np.bool_
    assert mask.shape == (many // 10, 10)
    deviation = (p * (1 - p) / many) ** 0.5
    assert abs(mask.mean() - (1 - p)) < 5 * deviation
    assert np.abs(mask.mean(axis=0) - (1 - p)).max() < 5 * deviation * 10**0.5
    agree = (mask[:, :-1] == mask[:, 1:]).mean()  # neighbours do not know of each other
    assert abs(agree - (p * p + (1 - p) ** 2)) < 0.01


def test_the_mean_stays():
    mask = dropout.draw_mask((200_000,), 0.4, generator())
    y = dropout.forward(np.ones(200_000), mask, p=0.4)
    assert abs(y.mean() - 1) < 0.01


def test_the_mask_depends_on_the_generator_alone():
    draws = [dropout.draw_mask((50,), 0.5, generator(seed)).tobytes() for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    used = generator(1)
    dropout.draw_mask((50,), 0.5, used)
    assert dropout.draw_mask((50,), 0.5, used).tobytes() != draws[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3, 5, 7), (0, 4)])
def test_loops_equal_formula(shape, dtype):
    x, dy, mask = problem(shape, dtype)
    results = []
    for name in ALGORITHMS:
        with algorithm(dropout=name):
            results.append((dropout.forward(x, mask, p=0.3), dropout.grad_input(dy, mask, p=0.3)))
    for loops, formula in zip(results[1], results[0], strict=True):
        assert loops.shape == shape
        assert_close(loops, formula, rtol=0, atol=0)


@pytest.mark.parametrize("view", ["channels last", "negative strides", "every second"])
def test_any_strides(each_algorithm, view):
    x, _, mask = problem((2, 3, 4, 5))
    expected = np.where(mask, x / 0.7, 0)

    def viewed(a):
        if view == "channels last":
            return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        if view == "negative strides":
            return a[::-1, :, ::-1].copy()[::-1, :, ::-1]
        return np.repeat(a, 2, axis=3)[..., ::2]

    for a, m in ((viewed(x), mask), (x, viewed(mask)), (viewed(x), viewed(mask))):
        assert_close(dropout.forward(a, m, p=0.3), expected)
        assert_close(dropout.grad_input(a, m, p=0.3), expected)


def test_inputs_are_not_written_to(each_algorithm):
    x, dy, mask = problem((4, 5))
    dropout.forward(x, mask, p=0.3)
    dropout.grad_input(dy, mask, p=0.3)
    for now, before in zip((x, dy, mask), problem((4, 5)), strict=True):
        assert np.array_equal(now, before)


def test_float16_runs_through_the_formula():
    y = dropout.forward(np.array([1, 2], np.float16), np.array([True, False]), p=0.5)
    assert_close(y, np.array([2, 0], np.float16))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_threads_do_not_change_a_bit():
    x, _, mask = problem((5, 37, 41), np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(dropout.forward(x, mask, p=0.3).tobytes())
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_gradient(each_algorithm, p):
    x, _, mask = problem((3, 4, 5), p=p)
    assert gradcheck(lambda x: apply("dropout", x, mask=mask, p=p), [x])


def test_the_tape_saves_the_mask_alone():
    x, dy, mask = problem((3, 4))
    tensor = Tensor(x, requires_grad=True)
    y = apply("dropout", tensor, mask=mask, p=0.3)
    assert [name for name, value in y.node.saved.items() if isinstance(value, np.ndarray)] == ["mask"]
    y.backward(dy)
    assert_close(tensor.grad.array, np.where(mask, dy / 0.7, 0))
    _, saved = dropout.record((False,), x, mask=mask, p=0.3)
    assert saved["mask"] is None


ones, yes = np.ones((2, 3)), np.ones((2, 3), bool)
BAD = [
    (ones, yes, -0.1, ArgumentError, "p is not a probability; seen p=-0.1; rule: 0 <= p <= 1"),
    (ones, yes, 1.5, ArgumentError, "p is not a probability; seen p=1.5"),
    (ones, yes, NAN, ArgumentError, "p is not a probability; seen p=nan"),
    (ones, yes, "half", ArgumentError, "p is not a probability; seen p='half'"),
    (ones, yes, True, ArgumentError, "p is not a probability; seen p=True"),
    (ones, ones, 0.5, DTypeError, "mask is not a boolean array; seen float64; hint: draw one with draw_mask"),
    (ones, [True], 0.5, DTypeError, "mask is not a boolean array; seen list"),
    (ones, yes[0], 0.5, ShapeError, "mask does not have the shape of x; seen mask (3,), x (2, 3)"),
    (np.ones((2, 3), int), yes, 0.5, DTypeError, "dropout: x has a dtype that is not floating point; seen x int64"),
]


@pytest.mark.parametrize(("x", "mask", "p", "error", "text"), BAD)
def test_errors(x, mask, p, error, text):
    with pytest.raises(error, match=re.escape(text)):
        dropout.forward(x, mask, p=p)


def test_errors_of_the_gradient_and_of_drawing():
    with pytest.raises(
        ShapeError, match=re.escape("dropout.grad_input: dy does not have the shape of y; seen dy (3,)")
    ):
        dropout.grad_input(np.ones(3), yes, p=0.5)
    with pytest.raises(ArgumentError, match="p is not a probability; seen p=2"):
        dropout.draw_mask((3,), 2, generator())
