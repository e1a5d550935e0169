"""Mean squared error: by hand; loops against formula; gradients; errors."""

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
from minicnn.ops import mse
from minicnn.ops.mse.loops import BLOCK
from minicnn.ops.registry import algorithm

NAN = np.nan
ALGORITHMS = ("formula", "loops")
REDUCTIONS = ("mean", "sum", "none")
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 1, 4), (BLOCK,), (2, BLOCK + 1)]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(mse=request.param):
        yield request.param


def draw(shape, reduction, dtype=np.float64, seed=0):
    """x, target, dy."""
    rng = np.random.default_rng(seed)
    shapes = shape, shape, shape if reduction == "none" else ()
    return [np.asarray(rng.standard_normal(s), dtype) for s in shapes]


def passes(x, target, dy, reduction):
    return (
        mse.forward(x, target, reduction=reduction),
        mse.grad_input(dy, x, target, reduction=reduction),
        mse.grad_target(dy, x, target, reduction=reduction),
    )


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_by_hand(each_algorithm):
    x, target = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0], [0, 5]])
    assert_close(mse.forward(x, target), np.array(3.5))
    assert_close(mse.forward(x, target, reduction="sum"), np.array(14.0))
    assert_close(mse.forward(x, target, reduction="none"), np.array([[0.0, 4], [9, 1]]))


def test_gradients_by_hand(each_algorithm):
    x, target, ten = np.array([1.0, 2, 3, 4]), np.array([1.0, 0, 0, 5]), np.array(10.0)
    assert_close(mse.grad_input(ten, x, target), np.array([0.0, 10, 15, -5]))
    assert_close(mse.grad_input(ten, x, target, reduction="sum"), np.array([0.0, 40, 60, -20]))
    dx = mse.grad_input(np.array([1.0, 1, 2, 10]), x, target, reduction="none")
    assert_close(dx, np.array([0.0, 4, 12, -20]))
    assert_close(mse.grad_target(ten, x, target), np.array([0.0, -10, -15, 5]))


def test_nan_travels(each_algorithm):
    x, target = np.array([1.0, NAN, 3]), np.zeros(3)
    assert_close(mse.forward(x, target), np.array(NAN), nan_ok=True)
    assert_close(mse.grad_input(np.array(3.0), x, target), np.array([2, NAN, 6]), nan_ok=True)


def test_mean_of_nothing_is_nan(each_algorithm):
    """As in PyTorch."""
    x = np.empty((0, 3), np.float32)
    assert_close(mse.forward(x, x), np.array(NAN, np.float32), nan_ok=True)
    assert_close(mse.forward(x, x, reduction="sum"), np.array(0, np.float32))
    for reduction in REDUCTIONS:
        dy = x if reduction == "none" else np.array(1, np.float32)
        dx = mse.grad_input(dy, x, x, reduction=reduction)
        assert (dx.shape, dx.dtype) == ((0, 3), np.float32)


def test_many_float32_squares():
    """A plain float32 sum stops growing at 2^24."""
    x = np.ones((2**24 + 2**20,), np.float32)
    assert_close(mse.forward(x, np.zeros_like(x), reduction="sum"), np.array(x.size, np.float32), rtol=1e-7)


# ---- against other ways of computing it -----------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_loops_equal_formula(shape, dtype, reduction):
    arrays = draw(shape, reduction, dtype)
    with algorithm(mse="formula"):
        expected = passes(*arrays, reduction)
    with algorithm(mse="loops"):
        found = passes(*arrays, reduction)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        assert_close(one, other, rtol=TOLERANCE[np.dtype(dtype)])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 6), max_size=4), st.sampled_from(REDUCTIONS), st.integers(0, 99))
def test_any_shape(shape, reduction, seed):
    """The loss is quadratic: <dx, x - target> = 2 <dy, y>; and dtarget = -dx."""
    x, target, dy = draw(tuple(shape), reduction, seed=seed)
    for name in ALGORITHMS:
        with algorithm(mse=name):
            y, dx, dtarget = passes(x, target, dy, reduction)
        assert_close((dx * (x - target)).sum(), 2 * (dy * y).sum(), rtol=1e-12)
        assert_close(dtarget, -dx)


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("view", ["every second", "negative strides", "transposed", "read only"])
def test_any_strides(each_algorithm, view, reduction):
    def seen(base):
        if view == "every second" and base.ndim:
            return np.repeat(base, 2, axis=-1)[..., ::2]
        if view == "negative strides" and base.ndim:
            return base[..., ::-1].copy()[..., ::-1]
        if view == "transposed":
            return np.asarray(base.T.copy().T)
        frozen = base.copy()
        frozen.flags.writeable = False
        return frozen

    arrays = draw((3, 4, 5), reduction)
    before = [v.copy() for v in arrays]
    found = passes(*map(seen, arrays), reduction)
    for one, other in zip(found, passes(*arrays, reduction), strict=True):
        assert_close(one, other, rtol=1e-14)
    for v, kept in zip(arrays, before, strict=True):
        assert np.array_equal(v, kept)


def test_float16_runs_through_the_formula():
    for reduction in REDUCTIONS:
        arrays = draw((4, 5), reduction, np.float16)
        expected = passes(*(v.astype(np.float64) for v in arrays), reduction)
        for one, other in zip(passes(*arrays, reduction), expected, strict=True):
            assert_close(one, np.asarray(other, np.float16), rtol=4e-3)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_threads_do_not_change_a_bit(reduction):
    arrays = draw((3, 5, BLOCK - 1), reduction, np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append([v.tobytes() for v in passes(*arrays, reduction)])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES[:5])
def test_gradient(each_algorithm, shape, reduction):
    x, target, _ = draw(shape, reduction)
    assert gradcheck(lambda x, t: apply("mse", x, t, reduction=reduction), [x, target])


def test_on_the_tape():
    x, target = Tensor(np.array([1.0, 5]), requires_grad=True), Tensor(np.array([0.0, 2]))
    y = apply("mse", x, target)
    assert y.item() == 5
    y.backward()
    assert_close(x.grad.array, np.array([1.0, 3]))
    assert target.grad is None


def test_the_tape_saves_nothing_where_no_gradient_is_wanted():
    x, target = np.zeros(3), np.ones(3)
    _, saved = mse.record((False, False), x, target)
    assert not [key for key, value in saved.items() if isinstance(value, np.ndarray)]
    assert mse.backward((False, False), saved, np.array(1.0)) == (None, None)
    _, saved = mse.record((False, True), x, target)
    dx, dtarget = mse.backward((False, True), saved, np.array(3.0))
    assert dx is None
    assert_close(dtarget, np.full(3, 2.0))


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "target", "options", "error", "text"),
    [
        (
            np.zeros((4, 1)),
            np.zeros(4),
            {},
            ShapeError,
            "mse: x and target have different shapes; seen x (4, 1), target (4,); rule: one shape, nothing is broadcast"
            "; hint: reshape target to the shape of x",
        ),
        (np.zeros((4, 2)), np.zeros((1, 2)), {}, ShapeError, "x and target have different shapes"),
        (np.zeros(3), np.zeros(3, np.float32), {}, DTypeError, "x and target have different dtypes"),
        (np.zeros(3), np.zeros(3, np.int64), {}, DTypeError, "target has a dtype that is not floating point"),
        (
            np.zeros(3),
            np.zeros(3),
            {"reduction": "average"},
            ArgumentError,
            "reduction is not valid; seen reduction='average'; rule: 'mean', 'sum' or 'none'",
        ),
        (np.zeros(3), np.zeros(3), {"reduction": None}, ArgumentError, "reduction is not valid"),
    ],
)
def test_bad_input(x, target, options, error, text):
    with pytest.raises(error) as caught:
        mse.forward(x, target, **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_backward():
    x = np.zeros(3)
    with pytest.raises(ShapeError) as caught:
        mse.grad_input(x, x, x)
    assert str(caught.value) == "mse.grad_input: dy does not have the shape of y; seen dy (3,), y ()"
    with pytest.raises(ShapeError) as caught:
        mse.grad_target(np.array(1.0), x, x, reduction="none")
    assert str(caught.value) == "mse.grad_target: dy does not have the shape of y; seen dy (), y (3,)"
