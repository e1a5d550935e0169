"""Element-wise operations: by hand, edges of the domain, broadcasting; loops against formula; gradients; errors."""

from __future__ import annotations

import math
import re

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from minicnn.autograd import Tensor, apply
from minicnn.backends.images import Images
from minicnn.errors import AlgorithmError, ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import elementwise as ew
from minicnn.ops.axes import unbroadcast
from minicnn.ops.registry import algorithm, operation

INF, NAN = np.inf, np.nan
ALGORITHMS = ("formula", "loops")
BINARY = ("add", "sub", "mul", "div")
UNARY = ("pow", "exp", "log", "sigmoid", "tanh")

# shapes of two operands: equal, missing axes, axes of one, both repeated, numbers, empty
PAIRS = [
    ((3,), (3,)),
    ((), ()),
    ((2, 3), ()),
    ((), (5,)),
    ((2, 3, 5, 7), (3, 1, 1)),
    ((1, 3, 1, 1), (2, 3, 5, 7)),
    ((4, 1), (1, 5)),
    ((2, 1, 3), (7, 1)),
    ((1, 1), (1,)),
    ((0, 3), (1, 3)),
    ((0, 3), (3,)),
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(**dict.fromkeys(BINARY + UNARY, request.param)):
        yield request.param


def positive(shape, dtype=np.float64, seed=0) -> np.ndarray:
    """Values in [0.5, 2), where all functions are smooth."""
    return np.asarray(np.random.default_rng(seed).uniform(0.5, 2, shape), dtype)


def call(name: str, pass_name: str):
    return getattr(ew, f"{name}_{pass_name}")


def all_passes(name: str, a: np.ndarray, b: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, ...]:
    """Forward and both gradients of a binary operation, from the arrays that each of them takes."""
    extra = {"add": ((a.shape,), (b.shape,)), "sub": ((a.shape,), (b.shape,))}
    extra |= {"mul": ((b, a.shape), (a, b.shape)), "div": ((b, a.shape), (a, b))}
    grads = (call(name, f"grad_{side}")(dy, *rest) for side, rest in zip("ab", extra[name], strict=True))
    return call(name, "forward")(a, b), *grads


def options(name: str) -> dict:
    return {"exponent": 1.7} if name == "pow" else {}


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_arithmetic_by_hand(each_algorithm):
    a, b, dy = np.array([6.0, -3]), np.array([2.0, 4]), np.array([1.0, 10])
    expected = {
        "add": ([8, 1], [1, 10], [1, 10]),
        "sub": ([4, -7], [1, 10], [-1, -10]),
        "mul": ([12, -12], [2, 40], [6, -30]),
        "div": ([3, -0.75], [0.5, 2.5], [-1.5, 1.875]),
    }
    for name, values in expected.items():
        for result, value in zip(all_passes(name, a, b, dy), values, strict=True):
            assert_close(result, np.array(value, float))


def test_functions_by_hand(each_algorithm):
    x = np.array([0.5, 1.0, 4.0])
    assert_close(ew.pow_forward(x, exponent=2), np.array([0.25, 1, 16]))
    assert_close(ew.pow_forward(x, exponent=-0.5), np.array([math.sqrt(2), 1, 0.5]))
    assert_close(ew.pow_grad_input(np.array([1.0, 10, 100]), x, exponent=3), np.array([0.75, 30, 4800]))
    assert_close(ew.exp_forward(x), np.array([math.exp(v) for v in x]))
    assert_close(ew.log_forward(x), np.array([math.log(v) for v in x]))
    assert_close(ew.log_grad_input(np.array([1.0, 2, 3]), x), np.array([2, 2, 0.75]))
    assert_close(ew.sigmoid_forward(np.array([0.0, math.log(3), -math.log(3)])), np.array([0.5, 0.75, 0.25]))
    assert_close(ew.sigmoid_grad_input(np.array([16.0]), np.array([0.25])), np.array([3.0]))
    assert_close(ew.tanh_forward(x), np.array([math.tanh(v) for v in x]))
    assert_close(ew.tanh_grad_input(np.array([4.0]), np.array([0.5])), np.array([3.0]))
    assert_close(ew.exp_grad_input(np.array([4.0]), np.array([0.5])), np.array([2.0]))


def test_an_operand_that_was_repeated_gets_the_sum(each_algorithm):
    """Three rows of dy add up for b (1, 2), all of it for a number."""
    dy = np.array([[1.0, 2], [10, 20], [100, 200]])
    a = np.array([[1.0, 2], [3, 4], [5, 6]])
    assert_close(ew.add_grad_b(dy, (1, 2)), np.array([[111.0, 222]]))
    assert_close(ew.add_grad_b(dy, (2,)), np.array([111.0, 222]))
    assert_close(ew.sub_grad_b(dy, ()), np.array(-333.0))
    assert_close(ew.mul_grad_b(dy, a, (2,)), np.array([531.0, 1284]))
    assert_close(ew.div_grad_a(dy, a * 0 + 2, (3, 1)), np.array([[1.5], [15], [150]]))
    assert_close(ew.div_grad_b(dy, a, np.array([2.0])), np.array([-(531 + 1284) / 4]))


def test_unbroadcast_adds_only_over_repeated_axes():
    dy = np.arange(24.0).reshape(2, 3, 4)
    assert unbroadcast(dy, (2, 3, 4)) is dy
    assert_close(unbroadcast(dy, (3, 4)), dy[0] + dy[1])
    assert_close(unbroadcast(dy, (3, 1)), (dy[0] + dy[1]).sum(axis=1)[:, None])
    assert_close(unbroadcast(dy, (2, 1, 4)), (dy[:, :1] + dy[:, 1:2] + dy[:, 2:]))
    assert_close(unbroadcast(np.ones((0, 3)), (1, 3)), np.zeros((1, 3)))


# ---- edges of the domain --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_division_by_zero_is_silent(each_algorithm, dtype):
    a, zero = np.array([1, -1, 0, NAN], dtype), np.zeros(4, dtype)
    assert_close(ew.div_forward(a, zero), np.array([INF, -INF, NAN, NAN], dtype), nan_ok=True)
    assert_close(ew.div_grad_a(a, zero, (4,)), np.array([INF, -INF, NAN, NAN], dtype), nan_ok=True)
    assert_close(ew.div_grad_b(np.ones(2, dtype), a[:2], zero[:2]), np.array([-INF, INF], dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithm_outside_its_domain_is_silent(each_algorithm, dtype):
    x = np.array([0, -1, INF, NAN, 1], dtype)
    assert_close(ew.log_forward(x), np.array([-INF, NAN, INF, NAN, 0], dtype), nan_ok=True)
    assert_close(ew.log_grad_input(np.ones(5, dtype), x), np.array([INF, -1, 0, NAN, 1], dtype), nan_ok=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_does_not_overflow(each_algorithm, dtype):
    x = np.array([-1e4, -800, -100, -20, 20, 100, 800, 1e4, -INF, INF, NAN], dtype)
    y = ew.sigmoid_forward(x)
    assert_close(y[4:], np.array([1 / (1 + math.exp(-20)), 1, 1, 1, 0, 1, NAN], dtype), rtol=1e-7, nan_ok=True)
    assert y[0] == y[1] == 0
    assert abs(y[3] / math.exp(-20) - 1) < 1e-6  # small values keep their relative precision
    if dtype == np.float64:
        assert abs(y[2] / math.exp(-100) - 1) < 1e-12
    assert_close(ew.sigmoid_grad_input(np.ones(2, dtype), y[[0, 7]]), np.zeros(2, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_and_tanh_at_the_ends(each_algorithm, dtype):
    x = np.array([-INF, -1e4, 0, 1e4, INF, NAN], dtype)
    assert_close(ew.exp_forward(x), np.array([0, 0, 1, INF, INF, NAN], dtype), nan_ok=True)
    assert_close(ew.tanh_forward(x), np.array([-1, -1, 0, 1, 1, NAN], dtype), nan_ok=True)


def test_powers_at_zero_and_below(each_algorithm):
    x, ones = np.array([0.0, -2, 2, NAN]), np.ones(4)
    assert_close(ew.pow_forward(x, exponent=0), np.array([1.0, 1, 1, 1]))
    assert_close(ew.pow_grad_input(ones, x, exponent=0), np.zeros(4))
    assert_close(ew.pow_forward(x, exponent=3), np.array([0.0, -8, 8, NAN]), nan_ok=True)
    assert_close(ew.pow_grad_input(ones[:3], x[:3], exponent=1), np.ones(3))
    assert_close(ew.pow_grad_input(ones, x, exponent=2), np.array([0, -4, 4, NAN]), nan_ok=True)
    assert_close(ew.pow_forward(x, exponent=0.5), np.array([0, NAN, math.sqrt(2), NAN]), nan_ok=True)
    assert_close(ew.pow_grad_input(ones, x, exponent=0.5), np.array([INF, NAN, 0.125**0.5, NAN]), nan_ok=True)
    assert_close(ew.pow_forward(x, exponent=-1), np.array([INF, -0.5, 0.5, NAN]), nan_ok=True)


def test_a_large_divisor_keeps_its_gradient(each_algorithm):
    """b^2 would overflow in float32: 1e25^2 > 3e38; -a / b / b = -1e-15 does not."""
    b = np.array([1e25], np.float32)
    db = ew.div_grad_b(np.ones(1, np.float32), np.array([1e35], np.float32), b)
    assert_close(db, np.array([-1e-15], np.float32), rtol=1e-5, atol=0)


# ---- loops against formula ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", PAIRS)
@pytest.mark.parametrize("name", BINARY)
def test_two_operands_loops_equal_formula(name, shapes, dtype):
    a, b = positive(shapes[0], dtype), positive(shapes[1], dtype, 1)
    dy = positive(np.broadcast_shapes(*shapes), dtype, 2)
    results = []
    for which in ALGORITHMS:
        with algorithm(**{name: which}):
            results.append(all_passes(name, a, b, dy))
    for loops, formula, shape in zip(results[1], results[0], (dy.shape, *shapes), strict=True):
        assert isinstance(loops, np.ndarray)
        assert formula.shape == shape
        assert_close(loops, formula, rtol=1e-5 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (1, 17, 1, 9), (3, 33, 31, 30), (0, 3, 2, 2)])
def test_a_sum_of_images_is_images(shape, dtype):
    a, b = positive(shape, dtype), positive(shape, dtype, 1)
    with algorithm(add="vector"):
        for one, other in [(Images.of(a).array, Images.of(b).array), (Images.of(a).array, b), (a, Images.of(b).array)]:
            y = all_passes("add", one, other, a)[0]
            assert np.array_equal(y, a + b)
            assert np.count_nonzero(Images.behind(y).flat) == a.size
        assert Images.behind(call("add", "forward")(a, b)) is None
        with pytest.raises(AlgorithmError, match="images of one shape"):
            call("add", "forward")(np.zeros((3, 1)), np.zeros((3, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (13,), (2, 3, 5, 7), (0, 3)])
@pytest.mark.parametrize("name", UNARY)
def test_one_variable_loops_equal_formula(name, shape, dtype):
    x, dy, results = positive(shape, dtype), positive(shape, dtype, 1), []
    for which in ALGORITHMS:
        with algorithm(**{name: which}):
            y = call(name, "forward")(x, **options(name))
            kept = x if name in ("pow", "log") else y
            results.append((y, call(name, "grad_input")(dy, kept, **options(name))))
    for loops, formula in zip(results[1], results[0], strict=True):
        assert isinstance(formula, np.ndarray)
        assert formula.shape == shape
        assert_close(loops, formula, rtol=1e-5 if dtype == np.float32 else 1e-10)


@settings(deadline=None, max_examples=50)
@given(mutually_broadcastable_shapes(num_shapes=2, min_side=1, max_side=4, max_dims=4), st.sampled_from(BINARY))
def test_any_shapes_that_broadcast(shapes, name):
    """The gradient of an operand is that of the same operand written out in full, summed over what it repeats."""
    a, b = (positive(shape, seed=k) for k, shape in enumerate(shapes.input_shapes))
    dy = positive(shapes.result_shape, seed=2)
    full = [np.broadcast_to(x, dy.shape).copy() for x in (a, b)]
    y, da, db = all_passes(name, a, b, dy)
    y_full, da_full, db_full = all_passes(name, *full, dy)
    assert_close(y, y_full)
    for part, whole, x in ((da, da_full, a), (db, db_full, b)):
        lead = whole.reshape((1,) * (8 - whole.ndim) + whole.shape)
        for axis, size in enumerate((1,) * (8 - x.ndim) + x.shape):
            if size == 1:
                lead = lead.sum(axis=axis, keepdims=True)
        assert_close(part, lead.reshape(x.shape))


# ---- arrays ---------------------------------------------------------------------------------------------------------


def views(base: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of equal values in unequal memory."""
    frozen = base.copy()
    frozen.flags.writeable = False
    return {
        "every second column": np.repeat(base, 2, axis=3)[..., ::2],
        "negative strides": base[:, ::-1, :, ::-1].copy()[:, ::-1, :, ::-1],
        "channels last": np.ascontiguousarray(base.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "read only": frozen,
    }


@pytest.mark.parametrize("view", tuple(views(np.zeros((1, 1, 1, 1)))))
def test_any_strides(each_algorithm, view):
    shape = (2, 3, 4, 5)
    a, b, dy = (positive(shape, seed=k) for k in range(3))
    for name in BINARY:
        seen = all_passes(name, *(views(x)[view] for x in (a, b, dy)))
        for one, other in zip(seen, all_passes(name, a, b, dy), strict=True):
            assert_close(one, other)
    for name in UNARY:
        assert_close(call(name, "forward")(views(a)[view], **options(name)), call(name, "forward")(a, **options(name)))
        gradient = call(name, "grad_input")(views(dy)[view], a, **options(name))
        assert_close(gradient, call(name, "grad_input")(dy, views(a)[view], **options(name)))


def test_the_layout_is_kept(each_algorithm):
    x = views(positive((2, 3, 4, 5)))["channels last"]
    assert ew.add_forward(x, x).strides == x.strides
    assert ew.tanh_forward(x).strides == x.strides


def test_inputs_are_not_written_to(each_algorithm):
    arrays = [positive((3, 4), seed=k) for k in range(3)]
    for name in BINARY:
        for result in all_passes(name, *arrays):
            assert result.shape == (3, 4)
    for name in UNARY:
        call(name, "forward")(arrays[0], **options(name))
        call(name, "grad_input")(arrays[2], arrays[0], **options(name))
    for k, x in enumerate(arrays):
        assert np.array_equal(x, positive((3, 4), seed=k))


def test_float16_runs_through_the_formula():
    x = np.array([0.5, 2], np.float16)
    for name in UNARY:
        y = call(name, "forward")(x, **options(name))
        assert y.dtype == np.float16
        assert call(name, "grad_input")(x, y, **options(name)).dtype == np.float16
    for name in BINARY:
        assert all(result.dtype == np.float16 for result in all_passes(name, x, x, x))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_threads_do_not_change_a_bit():
    x, before, results = positive((3, 37, 41), np.float32), numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            with algorithm(**dict.fromkeys(UNARY, "loops")):
                passes = [
                    (call(n, "forward")(x, **options(n)), call(n, "grad_input")(x, x, **options(n))) for n in UNARY
                ]
            results.append([(y.tobytes(), dx.tobytes()) for y, dx in passes])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", PAIRS[:9])
@pytest.mark.parametrize("name", BINARY)
def test_gradient_of_two_operands(each_algorithm, name, shapes):
    assert gradcheck(lambda a, b: apply(name, a, b), [positive(shapes[0]), positive(shapes[1], seed=1)])


@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
@pytest.mark.parametrize("name", UNARY)
def test_gradient_of_one_variable(each_algorithm, name, shape):
    x = positive(shape)
    if name in ("sigmoid", "tanh", "exp"):
        x = 3 * (x - 1.2)
    assert gradcheck(lambda x: apply(name, x, **options(name)), [x])


@pytest.mark.parametrize("exponent", [2, 3, 1, -1, 0.5, -1.5])
def test_gradient_of_powers(each_algorithm, exponent):
    x = positive((3, 4))
    assert gradcheck(lambda x: x**exponent, [-x if exponent in (2, 3) else x])


def test_an_operand_used_twice():
    assert gradcheck(lambda x: x * x / (x + x) - x, [positive((3, 4))])


SAVED = {"add": ((), (), ()), "sub": ((), (), ()), "mul": ("b", "a", "ab"), "div": ("b", "ab", "ab")}


@pytest.mark.parametrize("name", BINARY)
def test_what_the_tape_saves_of_two_operands(name):
    a, b = positive((2, 3)), positive((3,), seed=1)
    for needs, kept in zip([(True, False), (False, True), (True, True)], SAVED[name], strict=True):
        y, saved = operation(name).record(needs, a, b)
        assert sorted(k for k, v in saved.items() if isinstance(v, np.ndarray)) == list(kept)
        gradients = operation(name).backward(needs, saved, y)
        assert tuple(g is not None for g in gradients) == needs


@pytest.mark.parametrize("name", UNARY)
def test_what_the_tape_saves_of_one_variable(name):
    x = positive((2, 3))
    y, saved = operation(name).record((True,), x, **options(name))
    assert [k for k, v in saved.items() if isinstance(v, np.ndarray)] == ["x" if name in ("pow", "log") else "y"]
    _, saved = operation(name).record((False,), x, **options(name))
    assert not [k for k, v in saved.items() if isinstance(v, np.ndarray)]
    assert operation(name).backward((False,), saved, y) == (None,)


def test_gradients_do_not_share_memory_that_is_written():
    """add hands dy on as it is; what the leaves collect is their own."""
    a, b = (Tensor(positive((3,), seed=k), requires_grad=True) for k in range(2))
    dy = np.array([1.0, 2, 3])
    (a + b).backward(dy)
    a.grad.array[:] = 0
    assert_close(b.grad.array, np.array([1.0, 2, 3]))
    assert_close(dy, np.array([1.0, 2, 3]))


# ---- errors ---------------------------------------------------------------------------------------------------------

BAD = [
    (
        lambda: ew.add_forward(np.ones((2, 3)), np.ones((2, 4))),
        ShapeError,
        "add: the shapes do not broadcast; seen a (2, 3), b (2, 4); rule: from the right, axes are equal or one is 1",
    ),
    (lambda: ew.div_forward(np.ones((3, 1)), np.ones((2, 2))), ShapeError, "div: the shapes do not broadcast"),
    (lambda: ew.mul_forward(np.ones(2, np.float32), np.ones(2)), DTypeError, "mul: a and b have different dtypes"),
    (lambda: ew.sub_forward(np.ones(2, int), np.ones(2, int)), DTypeError, "sub: a has a dtype that is not floating"),
    (lambda: Tensor([1.0]) + None, DTypeError, "add: an operand is missing; seen None; rule: two arrays"),
    (
        lambda: ew.add_grad_a(np.ones((2, 3)), (4, 3)),
        ShapeError,
        "add.grad_a: the shapes do not broadcast; seen a (4, 3), b (2, 3)",
    ),
    (
        lambda: ew.sub_grad_b(np.ones(3), (2, 3)),
        ShapeError,
        "sub.grad_b: dy does not have the shape of y; seen dy (3,), y (2, 3)",
    ),
    (lambda: ew.mul_grad_a(np.ones(3), np.ones(4), (4,)), ShapeError, "mul.grad_a: dy does not have the shape of y"),
    (lambda: ew.div_grad_b(np.ones(3), np.ones(4), np.ones(4)), ShapeError, "seen dy (3,), y (4,)"),
    (lambda: ew.exp_forward([1.0]), DTypeError, "exp: x is not an array; seen list"),
    (lambda: ew.log_forward(np.arange(3)), DTypeError, "log: x has a dtype that is not floating point; seen x int64"),
    (
        lambda: ew.tanh_grad_input(np.ones(3), np.ones(2)),
        ShapeError,
        "tanh.grad_input: dy does not have the shape of y",
    ),
    (
        lambda: ew.pow_forward(np.ones(3), exponent=np.ones(3)),
        ArgumentError,
        "pow: the exponent is not a number; seen ndarray; rule: x ** number; hint: for x ** y use (y * x.log()).exp()",
    ),
    (lambda: Tensor([1.0]) ** Tensor([1.0]), ArgumentError, "pow: the exponent is not a number; seen Tensor"),
    (lambda: Tensor([1.0]) ** True, ArgumentError, "pow: the exponent is not a number; seen bool"),
]


@pytest.mark.parametrize(("run", "error", "text"), BAD)
def test_errors(run, error, text):
    with pytest.raises(error, match=re.escape(text)):
        run()
