"""ReLU: by hand, the corner, NaN, memory layouts; loops against formula; gradients; errors."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import Tensor, apply
from minicnn.backends.images import Images
from minicnn.errors import DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import relu
from minicnn.ops.registry import algorithm

INF, NAN = np.inf, np.nan
ALGORITHMS = ("formula", "loops", "vector")
SHAPES = [(), (1,), (7,), (3, 1, 5), (2, 3, 5, 7), (1, 1, 1, 1), (0, 3, 2, 2)]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(relu=request.param):
        yield request.param


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def test_by_hand(each_algorithm):
    y = relu.forward(np.array([-2.0, -0.5, 0.0, 0.5, 2.0, -INF, INF]))
    assert_close(y, np.array([0, 0, 0, 0.5, 2, 0, INF]))


def test_the_gradient_passes_where_y_is_positive_and_not_at_the_corner(each_algorithm):
    y = relu.forward(np.array([-2.0, 0.0, -0.0, 1e-300, 3.0]))
    assert_close(relu.grad_input(np.array([1.0, 10, 100, 1000, 10000]), y), np.array([0.0, 0, 0, 1000, 10000]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_travels(each_algorithm, dtype):
    y = relu.forward(np.array([NAN, -1, 1], dtype))
    assert_close(y, np.array([NAN, 0, 1], dtype), nan_ok=True)
    assert_close(relu.grad_input(np.array([2, 3, 4], dtype), y), np.array([2, 0, 4], dtype))
    assert_close(relu.grad_input(np.array([NAN, NAN, NAN], dtype), y), np.array([NAN, 0, NAN], dtype), nan_ok=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compiled", ["loops", "vector"])
def test_compiled_equals_formula(shape, dtype, compiled):
    x, dy = normal(shape, dtype), normal(shape, dtype, 1)
    results = []
    for name in ("formula", compiled):
        with algorithm(relu=name):
            y = relu.forward(x)
            results.append((y, relu.grad_input(dy, y)))
    for loops, formula in zip(results[1], results[0], strict=True):
        assert loops.shape == shape
        assert loops.dtype == formula.dtype == dtype
        assert np.array_equal(loops, formula)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (1, 17, 1, 9), (3, 33, 31, 30), (0, 3, 2, 2)])
def test_images_stay_images(shape, dtype):
    """Border and spare channels are zero afterwards, and the values are those of the formula."""
    x, dy = (Images.of(normal(shape, dtype, seed)).array for seed in (0, 1))
    if x.size:
        x[0, 0, 0, 0] = NAN
    y = relu.forward(x)
    dx = relu.grad_input(dy, y)
    with algorithm(relu="formula"):
        expected = relu.forward(x), relu.grad_input(dy, y)
    for found, wanted in zip((y, dx), expected, strict=True):
        assert np.array_equal(found, wanted, equal_nan=True)
        assert np.count_nonzero(Images.behind(found).flat) == np.count_nonzero(wanted)
    assert np.array_equal(relu.grad_input(dy.copy(), y), dx)


def views(base: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of equal values in unequal memory."""
    frozen = base.copy()
    frozen.flags.writeable = False
    return {
        "every second column": np.repeat(base, 2, axis=3)[..., ::2],
        "negative strides": base[:, ::-1, :, ::-1].copy()[:, ::-1, :, ::-1],
        "channels last": np.ascontiguousarray(base.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "Fortran order": np.asfortranarray(base),
        "read only": frozen,
    }


VIEWS = tuple(views(np.zeros((1, 1, 1, 1))))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("other", VIEWS)
def test_any_strides(each_algorithm, view, other):
    x, dy = normal((2, 3, 5, 4)), normal((2, 3, 5, 4), seed=1)
    y = relu.forward(views(x)[view])
    assert np.array_equal(y, x * (x > 0))
    assert np.array_equal(relu.grad_input(views(dy)[other], y), dy * (x > 0))


def test_the_layout_of_x_is_kept():
    x = views(normal((2, 3, 5, 4)))["channels last"]
    y = relu.forward(x)
    assert y.strides == x.strides
    dx = relu.grad_input(normal(x.shape), y)
    assert dx.strides == x.strides


def test_an_array_that_was_broadcast(each_algorithm):
    x = np.broadcast_to(normal((3, 1)), (2, 3, 4))
    y = relu.forward(x)
    assert np.array_equal(y, np.maximum(x, 0))
    assert y.flags.writeable


def test_inputs_are_not_written_to(each_algorithm):
    x, dy = normal((4, 5)), normal((4, 5), seed=1)
    y = relu.forward(x)
    kept = y.copy()
    relu.grad_input(dy, y)
    assert np.array_equal(x, normal((4, 5)))
    assert np.array_equal(dy, normal((4, 5), seed=1))
    assert np.array_equal(y, kept)


def test_float16_runs_through_the_formula():
    x = np.array([-1, 0, 2], np.float16)
    y = relu.forward(x)
    assert_close(y, np.array([0, 0, 2], np.float16))
    assert_close(relu.grad_input(x, y), np.array([0, 0, 2], np.float16))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_threads_do_not_change_a_bit():
    x, before, results = normal((3, 5, 17, 19), np.float32), numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            y = relu.forward(x)
            results.append((y.tobytes(), relu.grad_input(x, y).tobytes()))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5)])
def test_gradient(each_algorithm, shape):
    x = normal(shape)
    assert gradcheck(lambda x: apply("relu", x), [x + 0.1 * np.sign(x)])


def test_the_tape_saves_y_alone_and_only_where_it_is_wanted():
    x = Tensor(normal((2, 3)), requires_grad=True)
    y = apply("relu", x)
    assert y.node.saved["y"] is y.array
    assert [name for name, value in y.node.saved.items() if isinstance(value, np.ndarray)] == ["y"]
    result, saved = relu.record((False,), x.array)
    assert saved["y"] is None
    assert relu.backward((False,), saved, result) == (None,)


def test_errors():
    with pytest.raises(DTypeError, match=r"^relu: x has a dtype that is not floating point; seen x int64"):
        relu.forward(np.arange(3))
    with pytest.raises(DTypeError, match=r"^relu: x is not an array; seen list"):
        relu.forward([1.0])
    with pytest.raises(ShapeError, match=r"dy does not have the shape of y; seen dy \(3,\), y \(4,\)"):
        relu.grad_input(np.ones(3), np.ones(4))
    with pytest.raises(DTypeError, match="dy and y have different dtypes"):
        relu.grad_input(np.ones(3, np.float32), np.ones(3))
