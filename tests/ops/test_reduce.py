"""Sum, mean, max: by hand, ties, NaN, empty arrays; compiled algorithms against formula; gradients; errors."""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from minicnn.autograd import Tensor, apply
from minicnn.backends.images import Images
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import reduce
from minicnn.ops.reduce import vector
from minicnn.ops.registry import algorithm, operation

INF, NAN = np.inf, np.nan
ALGORITHMS = ("formula", "loops", "vector")
NAMES = ("sum", "mean", "max")

# shape of x, dim
CASES = [
    ((5,), None),
    ((5,), 0),
    ((), None),
    ((), 0),
    ((2, 3), 1),
    ((2, 3), -2),
    ((2, 3, 5, 7), None),
    ((2, 3, 5, 7), 1),
    ((2, 3, 5, 7), (0, 2, 3)),
    ((2, 3, 5, 7), (-1, 0)),
    ((2, 3, 5, 7), ()),
    ((1, 3, 1), 0),
    ((1, 1), (0, 1)),
    ((11, 13), (1,)),
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(**dict.fromkeys(NAMES, request.param)):
        yield request.param


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def both(name: str, x: np.ndarray, seed: int = 1, **options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, dy and dx."""
    y, saved = operation(name).record((True,), x, **options)
    dy = normal(y.shape, x.dtype, seed)
    return y, dy, operation(name).backward((True,), saved, dy)[0]


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_by_hand(each_algorithm):
    x = np.array([[1.0, 2, 6], [7, 3, 5]])
    assert_close(reduce.sum_forward(x), np.array(24.0))
    assert_close(reduce.sum_forward(x, dim=0), np.array([8.0, 5, 11]))
    assert_close(reduce.sum_forward(x, dim=-1, keepdim=True), np.array([[9.0], [15]]))
    assert_close(reduce.mean_forward(x), np.array(4.0))
    assert_close(reduce.mean_forward(x, dim=1), np.array([3.0, 5]))
    assert_close(reduce.max_forward(x), np.array(7.0))
    assert_close(reduce.max_forward(x, dim=0, keepdim=True), np.array([[7.0, 3, 6]]))


def test_gradients_by_hand(each_algorithm):
    x, dy = np.array([[1.0, 2, 6], [7, 3, 5]]), np.array([1.0, 10])
    assert_close(reduce.sum_grad_input(dy, (2, 3), dim=1), np.array([[1.0, 1, 1], [10, 10, 10]]))
    assert_close(reduce.mean_grad_input(3 * dy, (2, 3), dim=1), np.array([[1.0, 1, 1], [10, 10, 10]]))
    assert_close(reduce.mean_grad_input(np.array([[12.0]]), (2, 3), keepdim=True), np.full((2, 3), 2.0))
    y = reduce.max_forward(x, dim=1)
    assert_close(reduce.max_grad_input(dy, x, y, dim=1), np.array([[0.0, 0, 1], [10, 0, 0]]))


# ---- ties and NaN ---------------------------------------------------------------------------------------------------


def test_along_one_axis_the_first_of_several_maxima_takes_the_gradient(each_algorithm):
    x, dy = np.array([[3.0, 1, 3], [2, 2, 2]]), np.array([1.0, 10])
    y = reduce.max_forward(x, dim=1)
    assert_close(reduce.max_grad_input(dy, x, y, dim=1), np.array([[1.0, 0, 0], [10, 0, 0]]))
    y = reduce.max_forward(x, dim=0, keepdim=True)
    dx = reduce.max_grad_input(np.array([[1.0, 10, 100]]), x, y, dim=0, keepdim=True)
    assert_close(dx, np.array([[1.0, 0, 100], [0, 10, 0]]))


def test_over_all_axes_or_a_tuple_several_maxima_share(each_algorithm):
    x = np.array([[3.0, 1, 3], [2, 3, 3]])
    dx = reduce.max_grad_input(np.array(8.0), x, np.array(3.0))
    assert_close(dx, np.array([[2.0, 0, 2], [0, 2, 2]]))
    dx = reduce.max_grad_input(np.array([6.0, 8]), x, np.array([3.0, 3]), dim=(1,))
    assert_close(dx, np.array([[3.0, 0, 3], [0, 4, 4]]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_travels(each_algorithm, dtype):
    x = np.array([[1, NAN, INF, NAN], [1, 2, -INF, INF]], dtype)
    assert_close(reduce.max_forward(x, dim=1), np.array([NAN, INF], dtype), nan_ok=True)
    assert_close(reduce.max_forward(x[:, ::-1], dim=1), np.array([NAN, INF], dtype), nan_ok=True)
    assert_close(reduce.sum_forward(x, dim=1), np.array([NAN, NAN], dtype), nan_ok=True)  # inf - inf, without a warning
    assert_close(reduce.mean_forward(x, dim=0), np.array([1, NAN, NAN, NAN], dtype), nan_ok=True)
    y = reduce.max_forward(x, dim=1)
    dy = np.array([4, 6], dtype)
    assert_close(reduce.max_grad_input(dy, x, y, dim=1), np.array([[0, 4, 0, 0], [0, 0, 0, 6]], dtype))
    assert_close(reduce.max_grad_input(dy, x, y, dim=(1,)), np.array([[0, 2, 0, 2], [0, 0, 0, 6]], dtype))


def test_an_infinite_gradient_stays_at_the_maximum(each_algorithm):
    x = np.array([1.0, 2, 2])
    assert_close(reduce.max_grad_input(np.array(INF), x, np.array(2.0)), np.array([0, INF, INF]))


def test_minus_infinity_alone(each_algorithm):
    x = np.full((2, 3), -INF)
    assert_close(reduce.max_forward(x, dim=1), np.full(2, -INF))


# ---- compiled against formula ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("shape", "dim"), CASES)
@pytest.mark.parametrize("name", NAMES)
def test_compiled_equal_formula(name, shape, dim, keepdim, dtype):
    x, results = np.asarray(np.round(normal(shape, dtype), 1)), []  # rounded: ties happen
    for which in ALGORITHMS:
        with algorithm(**{name: which}):
            results.append(both(name, x, dim=dim, keepdim=keepdim))
    for compiled in results[1:]:
        for found, formula in zip(compiled, results[0], strict=True):
            assert isinstance(found, np.ndarray)
            assert isinstance(formula, np.ndarray)
            assert_close(found, formula, rtol=1e-5 if dtype == np.float32 else 1e-10)
        assert compiled[2].shape == shape


@settings(deadline=None, max_examples=60)
@given(array_shapes(max_dims=4, max_side=5), st.data(), st.booleans(), st.sampled_from(NAMES))
def test_any_axes(shape, data, keepdim, name):
    """Against a loop in Python over every element of y."""
    dim = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    x = normal(shape)
    y, dy, dx = both(name, x, dim=dim, keepdim=keepdim)
    kept = tuple(1 if axis in dim else size for axis, size in enumerate(shape))
    assert y.shape == (kept if keepdim else tuple(size for axis, size in enumerate(shape) if axis not in dim))
    expected, expected_dx = np.empty(kept), np.empty(shape)
    for place in np.ndindex(*kept):
        where = tuple(slice(None) if axis in dim else at for axis, at in enumerate(place))
        values, gradient = x[where], dy.reshape(kept)[place]
        expected[place] = {"sum": sum, "mean": lambda v: sum(v) / len(v), "max": max}[name](values.ravel().tolist())
        shares = {"sum": 1.0, "mean": 1 / values.size, "max": values == expected[place]}
        expected_dx[where] = gradient * shares[name]
    assert_close(y.reshape(kept), expected)
    assert_close(dx, expected_dx)


@pytest.fixture
def runs(monkeypatch):
    """The algorithm `vector`, which must not leave the work to NumPy."""
    monkeypatch.setattr(vector, "formula", None)
    with algorithm(**dict.fromkeys(NAMES, "vector")):
        yield


def laid(x: np.ndarray, layout: str) -> np.ndarray:
    """x, lying otherwise in memory."""
    if layout == "first axis last":
        return np.moveaxis(np.asarray(np.moveaxis(x, 0, -1), order="C"), -1, 0)
    if layout == "part":
        return np.pad(x, [(1, 2)] * x.ndim)[(slice(1, -2),) * x.ndim]
    return Images.copy(x).array if layout == "images" else x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["as it is", "part", "images", "first axis last"])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((40_011,), None),  # a run in several pieces
        ((1009, 43), 0),  # several pieces of runs; of 16 columns some come twice
        ((17, 3, 611), 1),  # several blocks of columns
        ((300, 71), 1),
        ((23, 16, 7, 50), (1, 3)),  # what is reduced and what is kept alternate
        ((23, 18, 7, 50), (0, 2)),
        ((17, 19, 5, 21), (0, 2, 3)),
        ((17, 19, 5, 21), None),
    ],
)
def test_runs(runs, shape, dim, layout, dtype):
    """Sums are as exact as of float64, whatever the axes and their order in memory."""
    if layout == "images" and len(shape) != 4:
        return
    x = np.round(normal(shape, dtype), 1) + dtype(1)
    seen = laid(x, layout)
    axes = tuple(range(x.ndim)) if dim is None else dim
    assert_close(reduce.sum_forward(seen, dim=dim), x.sum(axes, np.float64).astype(dtype), rtol=1.2e-7)
    assert_close(reduce.mean_forward(seen, dim=dim), x.mean(axes, np.float64).astype(dtype), rtol=1.2e-7)
    assert_close(reduce.max_forward(seen, dim=dim), x.max(axes), rtol=0)
    kept = reduce.max_forward(seen, dim=dim, keepdim=True)
    assert_close(kept, x.max(axes, keepdims=True), rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [16, 31, 64, 131, 600])
def test_each_number_of_a_run_counts_once(runs, size, dtype):
    x = np.eye(size, dtype=dtype)
    for dim in (0, 1):
        assert (reduce.sum_forward(x, dim=dim) == 1).all()
        assert (reduce.max_forward(x, dim=dim) == 1).all()
        assert np.isnan(reduce.max_forward(np.where(x == 1, dtype(NAN), 1), dim=dim)).all()
        assert (reduce.max_forward(np.where(x == 1, dtype(-1), dtype(-INF)), dim=dim) == -1).all()


def test_vector_runs_where_there_is_much_to_do():
    for name in NAMES:
        op = operation(name)
        for dtype, size, expected in (
            (np.float32, 2**20, "vector"),
            (np.float64, 2**10, "formula"),
            (np.int64, 2**20, "formula"),
        ):
            x = np.broadcast_to(dtype(0), (size,))
            assert op.pick(op.problem("forward", (x,), {"dim": (0,), "keepdim": False})).name == expected


def test_a_sum_of_many_float32_keeps_its_precision(each_algorithm):
    """A plain running sum of 2**21 times 0.1 is off by more than 1 %."""
    x = np.full(2**21, 0.1, np.float32)
    assert abs(float(reduce.sum_forward(x)) / (2**21 * float(x[0])) - 1) < 1e-4
    assert abs(float(reduce.mean_forward(x)) / float(x[0]) - 1) < 1e-4


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["channels last", "negative strides", "every second column", "broadcast", "read only"])
@pytest.mark.parametrize("name", NAMES)
def test_any_strides(each_algorithm, name, view):
    base = normal((2, 3, 4, 5))
    frozen = base.copy()
    frozen.flags.writeable = False
    x = {
        "channels last": np.ascontiguousarray(base.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "negative strides": base[::-1, :, :, ::-1].copy()[::-1, :, :, ::-1],
        "every second column": np.repeat(base, 2, axis=3)[..., ::2],
        "broadcast": np.broadcast_to(base[:, :1], base.shape),
        "read only": frozen,
    }[view]
    for dim in (None, 1, (0, 2)):
        for one, other in zip(both(name, x, dim=dim), both(name, x.copy(), dim=dim), strict=True):
            assert_close(one, other)


def test_gradients_are_arrays_of_their_own(each_algorithm):
    dy = np.array([1.0, 2])
    assert reduce.sum_grad_input(dy, (2, 3), dim=1).flags.writeable
    reduce.sum_grad_input(dy, (2, 1), dim=1)[:] = 0
    assert_close(dy, np.array([1.0, 2]))


def test_inputs_are_not_written_to(each_algorithm):
    for name in NAMES:
        x = normal((3, 4))
        both(name, x, dim=1)
        assert np.array_equal(x, normal((3, 4)))


def test_of_nothing(each_algorithm):
    empty = np.empty((0, 3))
    assert_close(reduce.sum_forward(empty), np.array(0.0))
    assert_close(reduce.sum_forward(empty, dim=0), np.zeros(3))
    assert_close(reduce.mean_forward(empty, dim=0), np.full(3, NAN), nan_ok=True)
    for name in NAMES:
        y, _, dx = both(name, empty, dim=1)
        assert y.shape == (0,)
        assert dx.shape == (0, 3)
    assert reduce.mean_grad_input(np.ones(3), (0, 3), dim=0).shape == (0, 3)


def test_integers_and_booleans_are_counted():
    hits = np.array([[True, False], [True, True]])
    assert_close(reduce.sum_forward(hits), np.array(3))
    assert_close(reduce.sum_forward(hits, dim=0), np.array([2, 1]))
    assert_close(reduce.max_forward(np.array([3, 7, 5])), np.array(7))
    assert (Tensor(np.array([1, 2, 3])) == Tensor(np.array([1, 0, 3]))).sum().item() == 2


def test_float16_runs_through_the_formula():
    x = np.array([1, 2, 6], np.float16)
    for name, value in (("sum", 9), ("mean", 3), ("max", 6)):
        y, _, dx = both(name, x)
        assert_close(y, np.array(value, np.float16))
        assert dx.dtype == np.float16


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("compiled", ALGORITHMS[1:])
@pytest.mark.parametrize("shape", [(70_011,), (3, 30_007), (2009, 37)])
def test_threads_do_not_change_a_bit(shape, compiled):
    x, before, results = normal(shape, np.float32), numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            with algorithm(**dict.fromkeys(NAMES, compiled)):
                found = [both(name, x, dim=dim) for name in NAMES for dim in (None, 0)]
            results.append([a.tobytes() for arrays in found for a in arrays])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("shape", "dim"), CASES)
@pytest.mark.parametrize("name", NAMES)
def test_gradient(each_algorithm, name, shape, dim, keepdim):
    assert gradcheck(lambda x: apply(name, x, dim=dim, keepdim=keepdim), [normal(shape)], sample=20)


def test_max_along_an_axis_also_tells_where():
    x = Tensor(np.array([[1.0, 4, 4], [NAN, 5, NAN]]), requires_grad=True)
    values, indices = x.max(1)
    assert_close(values.array, np.array([4, NAN]), nan_ok=True)
    assert indices.array.tolist() == [1, 0]
    assert not indices.requires_grad
    values.backward(np.array([1.0, 10]))
    assert_close(x.grad.array, np.array([[0.0, 1, 0], [10, 0, 0]]))
    assert x.max(1, keepdim=True)[1].shape == (2, 1)
    assert x.max((0, 1)).shape == ()


def test_sum_and_mean_save_no_array():
    x = normal((3, 4))
    for name in NAMES:
        _, saved = operation(name).record((True,), x, dim=1)
        assert sorted(k for k, v in saved.items() if isinstance(v, np.ndarray)) == (["x", "y"] if name == "max" else [])
        y, saved = operation(name).record((False,), x, dim=1)
        assert not [k for k, v in saved.items() if isinstance(v, np.ndarray)]
        assert operation(name).backward((False,), saved, y) == (None,)


# ---- errors ---------------------------------------------------------------------------------------------------------

BAD = [
    ({"dim": 4}, ArgumentError, "no axis 4 in an array with 2 axes; seen dim=4; rule: -2..1"),
    ({"dim": -3}, ArgumentError, "no axis -3 in an array with 2 axes"),
    ({"dim": (0, 2)}, ArgumentError, "no axis 2 in an array with 2 axes"),
    ({"dim": (1, -1)}, ArgumentError, "an axis is named twice; seen dim=(1, -1)"),
    ({"dim": 1.0}, ArgumentError, "dim is not a whole number; seen dim=1.0"),
    ({"dim": True}, ArgumentError, "dim is not a whole number; seen dim=True"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_errors(name, options, error, text):
    with pytest.raises(error, match=re.escape(f"{name}: {text}")):
        apply(name, Tensor(np.ones((2, 3))), **options)


def test_further_errors():
    with pytest.raises(ShapeError, match=re.escape("max: there is no maximum of nothing; seen x (0, 3), dim=0")):
        reduce.max_forward(np.empty((0, 3)), dim=0)
    with pytest.raises(ShapeError, match="there is no maximum of nothing"):
        reduce.max_forward(np.empty(0))
    with pytest.raises(DTypeError, match="mean: x has a dtype that is not floating point; seen x int64"):
        reduce.mean_forward(np.arange(3))
    with pytest.raises(DTypeError, match="sum: x is not an array of numbers; seen list"):
        reduce.sum_forward([1.0])
    with pytest.raises(DTypeError, match="sum: x is not an array of numbers; seen <U1"):
        reduce.sum_forward(np.array(["a"]))
    with pytest.raises(
        ShapeError, match=re.escape("sum.grad_input: dy does not have the shape of y; seen dy (2,), y (3,)")
    ):
        reduce.sum_grad_input(np.ones(2), (2, 3), dim=0)
    with pytest.raises(ShapeError, match=re.escape("seen dy (3,), y (1, 3)")):
        reduce.mean_grad_input(np.ones(3), (2, 3), dim=0, keepdim=True)
    with pytest.raises(ShapeError, match=re.escape("max.grad_input: dy does not have the shape of y")):
        reduce.max_grad_input(np.ones(3), np.ones((2, 3)), np.ones(2), dim=1)
