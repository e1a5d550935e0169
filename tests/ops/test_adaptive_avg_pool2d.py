"""Adaptive average pooling: hand-made expectations; loops against formula; gradients; errors."""

from __future__ import annotations

import math
from fractions import Fraction

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.autograd import Tensor, apply
from minicnn.backends.images import Images
from minicnn.errors import AlgorithmError, ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import adaptive_avg_pool2d, avg_pool2d
from minicnn.ops.registry import algorithm

NAN = np.nan
ALGORITHMS = ("formula", "loops")
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}

# shape of x, output size: divisors, remainders, more outputs than pixels, one-sized axes, planes of 1 to 49 pixels
CASES = [
    ((2, 3, 7, 7), 1),
    ((2, 3, 1, 1), 1),
    ((2, 3, 1, 3), 1),
    ((1, 2, 2, 2), 1),
    ((1, 2, 5, 1), 1),
    ((2, 2, 8, 6), (4, 3)),
    ((1, 2, 7, 5), (3, 2)),
    ((1, 2, 10, 7), (4, 7)),
    ((1, 1, 3, 2), (5, 7)),
    ((1, 2, 6, 5), (None, 2)),
    ((1, 2, 6, 5), (1, None)),
    ((1, 2, 6, 5), (1, 5)),
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(adaptive_avg_pool2d=request.param):
        yield request.param


def image(rows, dtype=np.float64) -> np.ndarray:
    return np.array(rows, dtype)[None, None]


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_global_mean(each_algorithm):
    x = np.stack([image([[1, 2, 3], [4, 5, 6]])[0], image([[6, 0, 0], [0, 0, 0]])[0]])
    y = adaptive_avg_pool2d.forward(x, output_size=1)
    assert_close(y, np.array([3.5, 1.0]).reshape(2, 1, 1, 1))
    dx = adaptive_avg_pool2d.grad_input(np.array([6.0, 12.0]).reshape(2, 1, 1, 1), x.shape)
    assert_close(dx, np.array([1.0, 2.0]).reshape(2, 1, 1, 1) * np.ones((2, 1, 2, 3)))


def test_windows_share_a_column_where_the_size_does_not_divide(each_algorithm):
    """5 columns in 2 windows: 0, 1, 2 and 2, 3, 4."""
    x = image([[1, 2, 3, 4, 5]])
    assert_close(adaptive_avg_pool2d.forward(x, output_size=(1, 2)), image([[2, 4]]))
    dx = adaptive_avg_pool2d.grad_input(image([[3, 30]]), x.shape)
    assert_close(dx, image([[1, 1, 11, 10, 10]]))


def test_more_outputs_than_pixels(each_algorithm):
    """2 pixels in 3 windows: 0; 0 and 1; 1."""
    x = image([[10], [20]])
    assert_close(adaptive_avg_pool2d.forward(x, output_size=(3, 1)), image([[10], [15], [20]]))
    dx = adaptive_avg_pool2d.grad_input(image([[1], [20], [300]]), x.shape)
    assert_close(dx, image([[11], [310]]))


def test_the_image_itself(each_algorithm):
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 5))
    for size in ((3, 5), (None, None), [None, 5]):
        assert np.array_equal(adaptive_avg_pool2d.forward(x, output_size=size), x)


def test_equals_average_pooling_where_the_size_divides(each_algorithm):
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 8))
    assert_close(
        adaptive_avg_pool2d.forward(x, output_size=(3, 2)), avg_pool2d.forward(x, kernel_size=(2, 4)), rtol=1e-13
    )


def test_nan_and_infinity_stay_in_their_windows(each_algorithm):
    x = image([[NAN, 1, 2, 4, np.inf, 1]])
    assert_close(adaptive_avg_pool2d.forward(x, output_size=(1, 3)), image([[NAN, 3, np.inf]]), nan_ok=True)
    dx = adaptive_avg_pool2d.grad_input(image([[2, NAN, 4]]), x.shape)
    assert_close(dx, image([[1, 1, NAN, NAN, 2, 2]]), nan_ok=True)


@pytest.mark.parametrize("place", range(7))
def test_nan_anywhere_reaches_the_global_mean(each_algorithm, place):
    x = np.ones((1, 1, 1, 7))
    x[..., place] = NAN
    assert np.isnan(adaptive_avg_pool2d.forward(x, output_size=1)).all()


def test_a_large_image_keeps_its_mean_in_float32(each_algorithm):
    x = np.random.default_rng(0).random((1, 1, 301, 299)).astype(np.float32)
    expected = x.astype(np.float64).mean(axis=(2, 3), keepdims=True).astype(np.float32)
    assert_close(adaptive_avg_pool2d.forward(x, output_size=1), expected, rtol=1e-5)


# ---- against other ways of computing it -----------------------------------------------------------------------------


def axis_matrix(size: int, many: int) -> np.ndarray:
    """(many, size): row p averages its window, whose ends are exact fractions."""
    matrix = np.zeros((many, size))
    for p in range(many):
        first, after = math.floor(Fraction(p * size, many)), math.ceil(Fraction((p + 1) * size, many))
        matrix[p, first:after] = 1 / (after - first)
    return matrix


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_against_two_matrix_products(each_algorithm, shape, size):
    """y = A x B^T and dx = A^T dy B with the averaging matrices A of the rows and B of the columns."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    y = adaptive_avg_pool2d.forward(x, output_size=size)
    rows, columns = (v or shape[2 + a] for a, v in enumerate((size, size) if isinstance(size, int) else size))
    a, b = axis_matrix(shape[2], rows), axis_matrix(shape[3], columns)
    assert_close(y, a @ x @ b.T, rtol=1e-13)
    dy = rng.standard_normal(y.shape)
    assert_close(adaptive_avg_pool2d.grad_input(dy, shape), a.T @ dy @ b, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "size"), CASES)
def test_loops_equal_formula(shape, size, dtype):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(dtype)
    with algorithm(adaptive_avg_pool2d="formula"):
        expected = adaptive_avg_pool2d.forward(x, output_size=size)
        dy = rng.standard_normal(expected.shape).astype(dtype)
        expected_dx = adaptive_avg_pool2d.grad_input(dy, shape)
    with algorithm(adaptive_avg_pool2d="loops"):
        y = adaptive_avg_pool2d.forward(x, output_size=size)
        dx = adaptive_avg_pool2d.grad_input(dy, shape)
    assert_close(y, expected, rtol=TOLERANCE[x.dtype], atol=1e-6 if dtype is np.float32 else 1e-14)
    assert_close(dx, expected_dx, rtol=TOLERANCE[x.dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(2, 3, 7, 7), (2, 3, 1, 1), (1, 17, 1, 6), (3, 33, 5, 9), (3, 33, 31, 30), (0, 3, 2, 2)]
)
def test_vector_equals_formula(shape, dtype):
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal(shape).astype(dtype), rng.standard_normal((*shape[:2], 1, 1)).astype(dtype)
    if x.size:
        x[0, 1, 0, 0] = NAN
    results = []
    for name in ("vector", "formula"):
        with algorithm(adaptive_avg_pool2d=name):
            y = adaptive_avg_pool2d.forward(x, output_size=1)
            results.append((y, adaptive_avg_pool2d.grad_input(dy, shape)))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, rtol=TOLERANCE[x.dtype], atol=1e-6 if dtype is np.float32 else 1e-14, nan_ok=True)
    dx = results[0][1]
    assert np.count_nonzero(Images.behind(dx).flat) == np.count_nonzero(dx)


def test_vector_does_global_pooling_only():
    with algorithm(adaptive_avg_pool2d="vector"), pytest.raises(AlgorithmError, match="the output must be 1 x 1"):
        adaptive_avg_pool2d.forward(np.zeros((1, 1, 4, 4)), output_size=2)


sizes = st.integers(1, 11)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 3), sizes, sizes, sizes, sizes, st.integers(0, 99))
def test_any_shape(n, height, width, rows, columns, seed):
    """Loops equal formula, and the whole gradient arrives."""
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((n, 2, height, width)), rng.standard_normal((n, 2, rows, columns))
    found = []
    for name in ALGORITHMS:
        with algorithm(adaptive_avg_pool2d=name):
            y = adaptive_avg_pool2d.forward(x, output_size=(rows, columns))
            found.append((y, adaptive_avg_pool2d.grad_input(dy, x.shape)))
    for a, b in zip(*found, strict=True):
        assert_close(a, b, rtol=1e-12)
    assert abs(found[1][1].sum() - dy.sum()) <= 1e-12 * np.abs(dy).sum()


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, (2, 3)])
@pytest.mark.parametrize("view", ["every second column", "negative strides", "channels last", "read only"])
def test_any_strides(each_algorithm, view, size):
    def seen(base):
        if view == "every second column":
            return np.repeat(base, 2, axis=3)[:, :, :, ::2]
        if view == "negative strides":
            return base[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1]
        if view == "channels last":
            return np.ascontiguousarray(base.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        frozen = base.copy()
        frozen.flags.writeable = False
        return frozen

    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 3, 5, 6))
    y = adaptive_avg_pool2d.forward(x, output_size=size)
    dy = rng.standard_normal(y.shape)
    assert_close(adaptive_avg_pool2d.forward(seen(x), output_size=size), y)
    dx = adaptive_avg_pool2d.grad_input(dy, x.shape)
    assert_close(adaptive_avg_pool2d.grad_input(seen(dy), x.shape), dx)


@pytest.mark.parametrize("size", [1, 2])
def test_inputs_are_not_written_to(each_algorithm, size):
    x, dy = np.ones((1, 2, 4, 4)), np.ones((1, 2, size, size))
    adaptive_avg_pool2d.forward(x, output_size=size)
    adaptive_avg_pool2d.grad_input(dy, x.shape)
    assert (x == 1).all()
    assert (dy == 1).all()


@pytest.mark.parametrize("size", [1, 2])
def test_empty_batch(each_algorithm, size):
    y = adaptive_avg_pool2d.forward(np.empty((0, 3, 6, 6), np.float32), output_size=size)
    assert (y.shape, y.dtype) == ((0, 3, size, size), np.float32)
    dx = adaptive_avg_pool2d.grad_input(y, (0, 3, 6, 6))
    assert (dx.shape, dx.dtype) == ((0, 3, 6, 6), np.float32)


def test_float16_runs_through_the_formula_and_does_not_overflow():
    x = np.full((1, 2, 64, 64), 1000, np.float16)  # the sum is 4,096,000; float16 ends at 65,504
    y = adaptive_avg_pool2d.forward(x, output_size=1)
    assert_close(y, np.full((1, 2, 1, 1), 1000, np.float16))
    assert adaptive_avg_pool2d.grad_input(y, x.shape).dtype == np.float16


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("size", [1, (5, 4)])
def test_threads_do_not_change_a_bit(size):
    x = np.random.default_rng(2).standard_normal((5, 7, 12, 13)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            y = adaptive_avg_pool2d.forward(x, output_size=size)
            results.append((y.tobytes(), adaptive_avg_pool2d.grad_input(y, x.shape).tobytes()))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_gradient(each_algorithm, shape, size):
    x = np.random.default_rng(4).standard_normal(shape)
    assert gradcheck(lambda x: apply("adaptive_avg_pool2d", x, output_size=size), [x])


def test_the_tape_saves_no_array():
    x = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    y = apply("adaptive_avg_pool2d", x, output_size=1)
    assert not [name for name, value in y.node.saved.items() if isinstance(value, np.ndarray)]
    y.backward(image([[8]]))
    assert_close(x.grad.array, image([[2, 2], [2, 2]]))


def test_record_without_a_wanted_gradient():
    y, saved = adaptive_avg_pool2d.record((False,), image([[1, 3]]), output_size=1)
    assert_close(y, image([[2]]))
    assert adaptive_avg_pool2d.backward((False,), saved, y) == (None,)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, -1, 1.5, None, True, "1", (1,), (1, 2, 3), (), (0, 1), (None, 2.0), (None, None, 1)]
)
def test_bad_output_size(size):
    with pytest.raises(ArgumentError) as caught:
        adaptive_avg_pool2d.forward(np.zeros((1, 1, 5, 6)), output_size=size)
    assert str(caught.value) == (
        f"adaptive_avg_pool2d: output_size is not valid; seen output_size={size!r}; "
        "rule: a whole number >= 1, or two of them; None in a pair keeps the size"
    )


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.zeros((3, 8, 8)), ShapeError, "adaptive_avg_pool2d: x must have 4 axes; seen x (3, 8, 8)"),
        (np.zeros((1, 1, 0, 8)), ShapeError, "x has an empty axis; seen x (1, 1, 0, 8)"),
        (np.zeros((1, 1, 8, 8), bool), DTypeError, "x has a dtype that is not floating point; seen x bool"),
    ],
)
def test_bad_input(x, error, text):
    with pytest.raises(error) as caught:
        adaptive_avg_pool2d.forward(x, output_size=1)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("dy", "x_shape", "text"),
    [
        (np.zeros((1, 2, 2, 2)), (1, 1, 4, 4), "dy does not have the shape of y; seen dy (1, 2, 2, 2), y (1, 1, 2, 2)"),
        (np.zeros((1, 1, 2)), (1, 1, 4, 4), "adaptive_avg_pool2d.grad_input: dy must have 4 axes; seen dy (1, 1, 2)"),
        (np.zeros((1, 1, 2, 0)), (1, 1, 4, 4), "dy has an empty axis; seen dy (1, 1, 2, 0)"),
        (np.zeros((1, 1, 2, 2)), (1, 1, 0, 4), "x_shape is not the shape of images; seen x_shape (1, 1, 0, 4)"),
    ],
)
def test_bad_backward(dy, x_shape, text):
    with pytest.raises(ShapeError) as caught:
        adaptive_avg_pool2d.grad_input(dy, x_shape)
    assert text in str(caught.value)
