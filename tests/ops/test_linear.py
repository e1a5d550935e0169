"""The fully connected layer: by hand; matmul and loops against formula; gradients; errors."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.autograd import Tensor, apply
from minicnn.errors import DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import linear
from minicnn.ops.registry import algorithm

NAN = np.nan
ALGORITHMS = ("formula", "loops", "matmul", "tiled")
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}

# shape of x, number of outputs: one-sized and prime sizes, a vector, several leading axes, more than one piece of work
CASES = [
    ((1, 1), 1),
    ((7, 5), 3),
    ((4, 8), 4),
    ((3, 1), 5),
    ((5,), 3),
    ((2, 3, 4), 7),
    ((2, 1, 3, 2), 2),
    ((13, 300), 17),
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(linear=request.param):
        yield request.param


def draw(shape, outputs, dtype=np.float64, seed=0):
    """x, w, b and dy."""
    rng = np.random.default_rng(seed)
    shapes = shape, (outputs, shape[-1]), (outputs,), (*shape[:-1], outputs)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def passes(x, w, b, dy):
    return (
        linear.forward(x, w, b),
        linear.forward(x, w),
        linear.grad_input(dy, w),
        linear.grad_weight(dy, x),
        linear.grad_bias(dy),
    )


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_formula_d1_3(each_algorithm):
    """y = sum x[i] w[i] + b, for two outputs."""
    x, w, b = np.array([[1.0, 2, 3]]), np.array([[1.0, 10, 100], [2, 0, 1]]), np.array([0.5, -1])
    assert_close(linear.forward(x, w, b), np.array([[321.5, 4]]))
    assert_close(linear.forward(x, w), np.array([[321.0, 5]]))


def test_gradients_by_hand(each_algorithm):
    x, w, dy = (
        np.array([[1.0, 2], [3, 4]]),
        np.array([[1.0, 10], [2, 20], [3, 30]]),
        np.array([[1.0, 0, 10], [0, 1, 0]]),
    )
    assert_close(linear.grad_input(dy, w), np.array([[31.0, 310], [2, 20]]))
    assert_close(linear.grad_weight(dy, x), np.array([[1.0, 2], [3, 4], [10, 20]]))
    assert_close(linear.grad_bias(dy), np.array([1.0, 1, 10]))


def test_nan_stays_in_its_row(each_algorithm):
    x = np.ones((6, 3))
    x[2, 1] = NAN
    expected = np.zeros((6, 5))
    expected[2] = NAN
    assert_close(linear.forward(x, np.zeros((5, 3))), expected, nan_ok=True)
    gradient = np.zeros((5, 3))
    gradient[:, 1] = NAN
    assert_close(linear.grad_weight(np.zeros((6, 5)), x), gradient, nan_ok=True)


# ---- against other ways of computing it -----------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "outputs"), CASES)
def test_against_numpy(each_algorithm, shape, outputs):
    x, w, b, dy = draw(shape, outputs)
    rows, gradients = x.reshape(-1, shape[-1]), dy.reshape(-1, outputs)
    assert_close(linear.forward(x, w, b), x @ w.T + b, rtol=1e-12)
    assert_close(linear.grad_input(dy, w), dy @ w, rtol=1e-12)
    assert_close(linear.grad_weight(dy, x), gradients.T @ rows, rtol=1e-12)
    assert_close(linear.grad_bias(dy), gradients.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", ["loops", "matmul", "tiled"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "outputs"), CASES)
def test_equal_to_formula(name, shape, outputs, dtype):
    arrays = draw(shape, outputs, dtype)
    with algorithm(linear="formula"):
        expected = passes(*arrays)
    with algorithm(linear=name):
        found = passes(*arrays)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=TOLERANCE[arrays[0].dtype])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 4), max_size=3), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_any_shape(leading, inputs, outputs, seed):
    """All algorithms agree, and <dy, y> = <dx, x> = <dw, w> without a bias."""
    arrays = draw((*leading, inputs), outputs, seed=seed)
    found = []
    for name in ALGORITHMS:
        with algorithm(linear=name):
            found.append(passes(*arrays))
    for result in found[1:]:
        for one, other in zip(result, found[0], strict=True):
            assert_close(one, other, rtol=1e-12)
    x, w, _, dy = arrays
    _, y, dx, dw, _ = found[2]
    assert_close((dx * x).sum(), (dy * y).sum(), rtol=1e-11, atol=1e-11)
    assert_close((dw * w).sum(), (dy * y).sum(), rtol=1e-11, atol=1e-11)


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["every second", "negative strides", "transposed", "read only"])
def test_any_strides(each_algorithm, view):
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

    arrays = draw((3, 5, 6), 4)
    for one, other in zip(passes(*map(seen, arrays)), passes(*arrays), strict=True):
        assert_close(one, other, rtol=1e-14)


def test_inputs_are_not_written_to(each_algorithm):
    for rows in (1, 3):
        arrays = draw((rows, 4), 5)
        before = [x.copy() for x in arrays]
        for result in passes(*arrays):
            result += 1  # nor may a result share memory with an input
        for x, kept in zip(arrays, before, strict=True):
            assert np.array_equal(x, kept)


def test_empty_batch(each_algorithm):
    x, w, b, dy = draw((0, 3), 4, np.float32)
    y, _, dx, dw, db = passes(x, w, b, dy)
    assert (y.shape, y.dtype) == ((0, 4), np.float32)
    assert (dx.shape, dx.dtype) == ((0, 3), np.float32)
    assert_close(dw, np.zeros((4, 3), np.float32))
    assert_close(db, np.zeros(4, np.float32))


def test_float16_runs_through_the_formula():
    arrays = draw((5, 6), 4, np.float16)
    with algorithm(linear="formula"):
        expected = passes(*(x.astype(np.float64) for x in arrays))
    for one, other in zip(passes(*arrays), expected, strict=True):
        assert_close(one, other.astype(np.float16), rtol=4e-3)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("name", ["loops", "matmul", "tiled"])
def test_threads_do_not_change_a_bit(name):
    arrays = draw((67, 530), 41, np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            with algorithm(linear=name):
                results.append([x.tobytes() for x in passes(*arrays)])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "outputs"), CASES[:-1])
def test_gradient(each_algorithm, shape, outputs):
    x, w, b, _ = draw(shape, outputs)
    assert gradcheck(lambda x, w, b: apply("linear", x, w, b), [x, w, b])
    assert gradcheck(lambda x, w: apply("linear", x, w, None), [x, w])


def test_the_tape_saves_what_a_wanted_gradient_needs():
    """dw needs x, dx needs w, db neither."""
    x, w, b, dy = draw((2, 3), 4)
    for needs, kept in [
        ((True, False, False), {"w"}),
        ((False, True, False), {"x"}),
        ((False, False, True), set()),
        ((True, True, True), {"x", "w"}),
    ]:
        _, saved = linear.record(needs, x, w, b)
        assert {name for name, value in saved.items() if isinstance(value, np.ndarray)} == kept
        assert [g is not None for g in linear.backward(needs, saved, dy)] == list(needs)


def test_on_the_tape():
    x, w, b = (Tensor(np.array(v), requires_grad=True) for v in ([[1.0, 2]], [[3.0, 4]], [5.0]))
    y = apply("linear", x, w, b)
    y.backward(np.array([[10.0]]))
    assert y.item() == 16
    assert_close(x.grad.array, np.array([[30.0, 40]]))
    assert_close(w.grad.array, np.array([[10.0, 20]]))
    assert_close(b.grad.array, np.array([10.0]))


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "b_shape", "text"),
    [
        (
            (2, 4),
            (5, 3),
            (5,),
            "linear: the features of x and w differ; seen x (2, 4), w (5, 3); rule: x: (..., I), w: (J, I); "
            "hint: give 3 features",
        ),
        ((2, 3, 4, 4), (5, 48), (5,), "hint: flatten the images first: x.reshape(N, -1)"),
        ((2, 3), (5, 3), (3,), "linear: b does not fit w; seen b (3,), w (5, 3); rule: b: (J,) with J = w.shape[0]"),
        ((2, 3), (5, 3), (1, 5), "b does not fit w"),
        ((2, 3), (3,), (3,), "w must have 2 axes, none empty; seen w (3,); rule: w: (J, I)"),
        ((2, 3), (0, 3), (0,), "w must have 2 axes, none empty"),
        ((), (5, 3), (5,), "x has no last axis, or an empty one; seen x (), w (5, 3)"),
        ((2, 0), (5, 3), (5,), "x has no last axis, or an empty one"),
    ],
)
def test_bad_shapes(x_shape, w_shape, b_shape, text):
    with pytest.raises(ShapeError) as caught:
        linear.forward(np.zeros(x_shape), np.zeros(w_shape), np.zeros(b_shape))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_dtypes():
    with pytest.raises(DTypeError, match="x and w have different dtypes; seen x float32, w float64"):
        linear.forward(np.zeros((2, 3), np.float32), np.zeros((4, 3)))
    with pytest.raises(DTypeError, match="x and b have different dtypes"):
        linear.forward(np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(4, np.float32))
    with pytest.raises(DTypeError, match="x has a dtype that is not floating point; seen x uint8"):
        linear.forward(np.zeros((2, 3), np.uint8), np.zeros((4, 3)))


def test_bad_backward():
    with pytest.raises(ShapeError) as caught:
        linear.grad_input(np.zeros((2, 3)), np.zeros((4, 5)))
    assert "linear.grad_input: the outputs of dy and w differ; seen dy (2, 3), w (4, 5)" in str(caught.value)
    with pytest.raises(ShapeError) as caught:
        linear.grad_weight(np.zeros((2, 3)), np.zeros((3, 5)))
    assert "linear.grad_weight: dy and x have different leading axes; seen dy (2, 3), x (3, 5)" in str(caught.value)
    with pytest.raises(ShapeError, match=r"linear\.grad_bias: dy has no last axis"):
        linear.grad_bias(np.array(1.0))
