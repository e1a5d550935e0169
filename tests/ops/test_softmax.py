"""Softmax and log_softmax: by hand; infinities and NaN; loops against formula; gradients; errors."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.autograd import Tensor, apply
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import softmax
from minicnn.ops.registry import algorithm

NAN, INF = np.nan, np.inf
ALGORITHMS = ("formula", "loops")
OPERATIONS = ("softmax", "log_softmax")
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}
CASES = [
    ((5,), 0),
    ((3, 7), 1),
    ((3, 7), 0),
    ((2, 3, 5), 1),
    ((2, 3, 5), -3),
    ((1, 1), -1),
    ((2, 1, 3), 1),
    ((2, 3, 2, 5), 1),
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(softmax=request.param, log_softmax=request.param):
        yield request.param


def forward(name, x, dim=-1):
    return getattr(softmax, f"{name}_forward")(x, dim=dim)


def grad_input(name, dy, y, dim=-1):
    return getattr(softmax, f"{name}_grad_input")(dy, y, dim=dim)


def draw(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return (3 * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_softmax_by_hand(each_algorithm):
    x = np.log(np.array([[1.0, 2, 5], [4, 4, 8]]))
    assert_close(softmax.softmax_forward(x, dim=1), np.array([[1, 2, 5], [2, 2, 4]]) / 8)
    assert_close(softmax.softmax_forward(x, dim=0), np.array([[1 / 5, 1 / 3, 5 / 13], [4 / 5, 2 / 3, 8 / 13]]))
    assert_close(softmax.log_softmax_forward(x), np.log(np.array([[1, 2, 5], [2, 2, 4]]) / 8))


def test_gradients_by_hand(each_algorithm):
    y, dy = np.array([0.25, 0.75]), np.array([4.0, 8])
    assert_close(softmax.softmax_grad_input(dy, y), np.array([0.25 * (4 - 7), 0.75 * (8 - 7)]))
    assert_close(softmax.log_softmax_grad_input(dy, np.log(y)), np.array([4 - 0.25 * 12, 8 - 0.75 * 12]))


def test_large_numbers(each_algorithm):
    """The maximum is subtracted: exp(1000) alone is infinite."""
    x = np.array([1000.0, 1000 + np.log(3), -1000])
    assert_close(softmax.softmax_forward(x), np.array([0.25, 0.75, 0]))
    assert_close(softmax.log_softmax_forward(x), np.array([np.log(0.25), np.log(0.75), -2000 - np.log(4)]), rtol=1e-12)
    assert_close(softmax.softmax_forward(np.full(2, -1e308)), np.array([0.5, 0.5]))
    assert_close(softmax.softmax_forward(np.array([-1.7e308, 1.7e308])), np.array([0.0, 1]))
    assert_close(softmax.log_softmax_forward(np.array([-1.7e308, 1.7e308])), np.array([-INF, 0]))


def test_small_probabilities_keep_their_logarithm(each_algorithm):
    """log(softmax(x)) would be minus infinity."""
    assert_close(softmax.log_softmax_forward(np.array([0.0, -1e4], np.float32)), np.array([0, -1e4], np.float32))


@pytest.mark.parametrize(
    ("row", "probabilities", "logarithms"),
    [
        ([0, -INF, 0], [0.5, 0, 0.5], [-np.log(2), -INF, -np.log(2)]),
        ([-INF, 3, -INF], [0, 1, 0], [-INF, 0, -INF]),
        ([-INF, -INF, -INF], [NAN] * 3, [NAN] * 3),
        ([INF, 0, 0], [NAN] * 3, [NAN] * 3),
        ([0, NAN, 1], [NAN] * 3, [NAN] * 3),
        ([NAN, -INF, 0], [NAN] * 3, [NAN] * 3),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinity_and_nan(each_algorithm, row, probabilities, logarithms, dtype):
    """As in PyTorch; other rows are not touched."""
    x = np.array([[1, 1, 1], row, [1, 1, 1]], dtype)
    third = [1 / 3] * 3
    y = softmax.softmax_forward(x)
    assert_close(y, np.array([third, probabilities, third], dtype), rtol=1e-6, nan_ok=True)
    log_y = softmax.log_softmax_forward(x)
    expected = np.array([np.log(third), logarithms, np.log(third)], dtype)
    assert_close(log_y, expected, rtol=1e-6, nan_ok=True)


def test_gradient_where_a_probability_is_zero(each_algorithm):
    x, dy = np.array([0, -INF, np.log(3)]), np.array([1.0, 100, 2])
    y = softmax.softmax_forward(x)
    assert_close(softmax.softmax_grad_input(dy, y), np.array([0.25 * -0.75, 0, 0.75 * 0.25]))
    log_y = softmax.log_softmax_forward(x)
    assert_close(softmax.log_softmax_grad_input(dy, log_y), np.array([1 - 103 / 4, 100, 2 - 309 / 4]))


# ---- against other ways of computing it -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "dim"), CASES)
def test_probabilities(each_algorithm, shape, dim, dtype):
    x, _ = draw(shape, dtype)
    y = softmax.softmax_forward(x, dim=dim)
    rtol = TOLERANCE[x.dtype]
    assert (y > 0).all()
    assert_close(y.sum(axis=dim), np.ones_like(y.sum(axis=dim)), rtol=rtol)
    assert_close(y, np.exp(x) / np.exp(x).sum(axis=dim, keepdims=True), rtol=10 * rtol)
    assert_close(np.exp(softmax.log_softmax_forward(x, dim=dim)), y, rtol=10 * rtol)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "dim"), CASES)
def test_loops_equal_formula(name, shape, dim, dtype):
    x, dy = draw(shape, dtype)
    with algorithm(**{name: "formula"}):
        expected = forward(name, x, dim)
        expected_dx = grad_input(name, dy, expected, dim)
    with algorithm(**{name: "loops"}):
        assert_close(forward(name, x, dim), expected, rtol=10 * TOLERANCE[x.dtype])
        assert_close(grad_input(name, dy, expected, dim), expected_dx, rtol=10 * TOLERANCE[x.dtype], atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(-4, 3), st.floats(-100, 100), st.integers(0, 99)
)
def test_any_shape(shape, dim, shift, seed):
    """Both agree, a shift of x changes nothing, and the gradient sums to 0 along dim."""
    dim = dim % len(shape)
    x, dy = draw(shape, seed=seed)
    found = {}
    for name in OPERATIONS:
        for which in ALGORITHMS:
            with algorithm(**{name: which}):
                y = forward(name, x, dim)
                assert_close(forward(name, x + shift, dim), y, rtol=1e-11)
                found[name, which] = y, grad_input(name, dy, y, dim)
        for one, other in zip(found[name, "loops"], found[name, "formula"], strict=True):
            assert_close(one, other, rtol=1e-12)
        dx = found[name, "loops"][1]
        assert_close(dx.sum(axis=dim), np.zeros_like(dx.sum(axis=dim)), atol=1e-11)


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["every second", "negative strides", "transposed", "read only"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_any_strides(each_algorithm, name, view):
    def seen(base):
        if view == "every second":
            return np.repeat(base, 2, axis=-1)[..., ::2]
        if view == "negative strides":
            return base[..., ::-1].copy()[..., ::-1]
        if view == "transposed":
            return np.ascontiguousarray(base.T).T
        frozen = base.copy()
        frozen.flags.writeable = False
        return frozen

    x, dy = draw((3, 4, 5))
    kept = x.copy(), dy.copy()
    for dim in (0, 1, 2):
        y = forward(name, x, dim)
        assert_close(forward(name, seen(x), dim), y, rtol=1e-14)
        assert_close(grad_input(name, seen(dy), seen(y), dim), grad_input(name, dy, y, dim), rtol=1e-14)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(dy, kept[1])


@pytest.mark.parametrize("name", OPERATIONS)
def test_empty_batch(each_algorithm, name):
    x = np.empty((0, 4), np.float32)
    y = forward(name, x)
    assert (y.shape, y.dtype) == ((0, 4), np.float32)
    dx = grad_input(name, y, y)
    assert (dx.shape, dx.dtype) == ((0, 4), np.float32)


@pytest.mark.parametrize("name", OPERATIONS)
def test_float16_runs_through_the_formula(name):
    x, dy = draw((3, 5), np.float16)
    y = forward(name, x)
    assert_close(y, forward(name, x.astype(np.float64)).astype(np.float16), rtol=4e-3)
    expected = grad_input(name, dy.astype(np.float64), y.astype(np.float64))
    assert_close(grad_input(name, dy, y), expected.astype(np.float16), rtol=4e-3)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_threads_do_not_change_a_bit():
    x, dy = draw((37, 41), np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            ys = [forward(name, x) for name in OPERATIONS]
            dxs = [grad_input(name, dy, y) for name, y in zip(OPERATIONS, ys, strict=True)]
            results.append([v.tobytes() for v in (*ys, *dxs)])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("shape", "dim"), [case for case in CASES if case[0][case[1]] > 1])
def test_gradient(each_algorithm, name, shape, dim):
    x, _ = draw(shape)
    assert gradcheck(lambda x: apply(name, x, dim=dim), [x / 3])


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_tape_saves_y_only(name):
    x = Tensor(np.array([[0.0, np.log(3)]]), requires_grad=True)
    y = apply(name, x, dim=1)
    assert [key for key, value in y.node.saved.items() if isinstance(value, np.ndarray)] == ["y"]
    y.backward(np.array([[1.0, 0]]))
    expected = {"softmax": [[0.1875, -0.1875]], "log_softmax": [[0.75, -0.75]]}[name]
    assert_close(x.grad.array, np.array(expected))


@pytest.mark.parametrize("name", OPERATIONS)
def test_record_without_a_wanted_gradient(name):
    _, saved = getattr(softmax, f"{name}_record")((False,), np.zeros((2, 2)))
    assert saved["y"] is None
    assert getattr(softmax, f"{name}_backward")((False,), saved, np.zeros((2, 2))) == (None,)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("x", "dim", "error", "text"),
    [
        (np.zeros((2, 3)), 2, ArgumentError, ": dim is not an axis; seen dim=2, x (2, 3); rule: -2 <= dim < 2"),
        (np.zeros((2, 3)), -3, ArgumentError, "dim is not an axis; seen dim=-3"),
        (np.zeros((2, 3)), None, ArgumentError, "dim is not an axis; seen dim=None"),
        (np.zeros((2, 3)), 0.0, ArgumentError, "dim is not an axis; seen dim=0.0"),
        (np.zeros((2, 3)), True, ArgumentError, "dim is not an axis; seen dim=True"),
        (np.zeros(()), 0, ShapeError, ": x must have at least 1 axis; seen x ()"),
        (np.zeros((2, 0)), 1, ShapeError, ": x is empty along dim; seen dim=1, x (2, 0); rule: one entry or more"),
        (np.zeros((2, 3), np.int64), 1, DTypeError, ": x has a dtype that is not floating point; seen x int64"),
    ],
)
def test_bad_input(name, x, dim, error, text):
    with pytest.raises(error) as caught:
        forward(name, x, dim)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")


@pytest.mark.parametrize("name", OPERATIONS)
def test_bad_backward(name):
    with pytest.raises(ShapeError) as caught:
        grad_input(name, np.zeros((2, 1)), np.zeros((2, 3)))
    assert str(caught.value) == f"{name}.grad_input: dy does not have the shape of y; seen dy (2, 1), y (2, 3)"
    with pytest.raises(DTypeError, match="dy and y have different dtypes"):
        grad_input(name, np.zeros((2, 3), np.float32), np.zeros((2, 3)))
