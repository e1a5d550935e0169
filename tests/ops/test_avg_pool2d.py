"""Average pooling: hand-made expectations, divisors; compiled algorithms against formula; gradients; errors."""

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
from minicnn.ops import avg_pool2d
from minicnn.ops.registry import algorithm

NAN = np.nan
ALGORITHMS = ("formula", "loops", "vector")
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}

# shape of x, options: odd, prime, one-sized and non-square shapes; remainders that no window reaches; overlaps and gaps
CASES = [
    ((2, 3, 8, 8), {"kernel_size": 2}),
    ((2, 3, 7, 11), {"kernel_size": 2}),
    ((1, 2, 13, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((3, 1, 1, 1), {"kernel_size": 1}),
    ((1, 1, 1, 9), {"kernel_size": (1, 4), "stride": (1, 2), "padding": (0, 2)}),
    ((2, 2, 5, 6), {"kernel_size": (3, 2), "stride": 1}),
    ((2, 2, 5, 7), {"kernel_size": (2, 3), "stride": (3, 4), "padding": (1, 0)}),
    ((2, 1, 6, 5), {"kernel_size": 2, "stride": 5}),
    ((2, 2, 6, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 2, 2, 2), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 2, 5, 5), {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}),
    ((1, 2, 6, 7), {"kernel_size": (4, 3), "stride": 3, "padding": (2, 1), "ceil_mode": True}),
    ((2, 1, 4, 5), {"kernel_size": (4, 5)}),
]
BOTH = [(shape, {**options, "count_include_pad": count}) for shape, options in CASES for count in (True, False)]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(avg_pool2d=request.param):
        yield request.param


def image(rows, dtype=np.float64) -> np.ndarray:
    return np.array(rows, dtype)[None, None]


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_means(each_algorithm):
    x = image([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert_close(avg_pool2d.forward(x, kernel_size=2), image([[3.5, 5.5]]))
    assert_close(avg_pool2d.forward(x, kernel_size=(1, 2), stride=1), image([[1.5, 2.5, 3.5], [5.5, 6.5, 7.5]]))


def test_padding_counts_or_not(each_algorithm):
    x = image([[36, 36], [36, 36]])
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    assert_close(avg_pool2d.forward(x, **options), image([[16]]))
    assert_close(avg_pool2d.forward(x, **options, count_include_pad=False), image([[36]]))
    dy = image([[36]])
    assert_close(avg_pool2d.grad_input(dy, x.shape, **options), image([[4, 4], [4, 4]]))
    assert_close(avg_pool2d.grad_input(dy, x.shape, **options, count_include_pad=False), image([[9, 9], [9, 9]]))


def test_divisor_of_a_window_that_hangs_over_the_padded_edge(each_algorithm):
    """Windows start at -1, 1, 3 and 5 in a row of 5 with one padded zero: the last reaches over 5 into nothing."""
    x = image([[6, 6, 6, 6, 6, 6]])
    options = {"kernel_size": (1, 3), "stride": (1, 2), "padding": (0, 1), "ceil_mode": True}
    assert_close(avg_pool2d.forward(x, **options), image([[4, 6, 6, 3]]))
    assert_close(avg_pool2d.forward(x, **options, count_include_pad=False), image([[6, 6, 6, 6]]))
    dx = avg_pool2d.grad_input(image([[6, 6, 6, 6]]), x.shape, **options)
    assert_close(dx, image([[2, 2 + 2, 2, 2 + 2, 2, 2 + 3]]))


def test_ceil_mode_without_padding_divides_by_what_is_there(each_algorithm):
    x = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    for count in (True, False):
        y = avg_pool2d.forward(x, kernel_size=2, ceil_mode=True, count_include_pad=count)
        assert_close(y, image([[3, 4.5], [7.5, 9]]))


def test_overlapping_windows_share_a_gradient(each_algorithm):
    dx = avg_pool2d.grad_input(image([[4, 40], [400, 4000]]), (1, 1, 3, 3), kernel_size=2, stride=1)
    assert_close(dx, image([[1, 11, 10], [101, 1111, 1010], [100, 1100, 1000]]))


def test_a_remainder_gets_no_gradient(each_algorithm):
    dx = avg_pool2d.grad_input(image([[4]]), (1, 1, 3, 3), kernel_size=2)
    assert_close(dx, image([[1, 1, 0], [1, 1, 0], [0, 0, 0]]))


def test_nan_and_infinity_stay_in_their_windows(each_algorithm):
    x = image([[NAN, 1, 2, 4, np.inf, 1]])
    assert_close(avg_pool2d.forward(x, kernel_size=(1, 2)), image([[NAN, 3, np.inf]]), nan_ok=True)
    dx = avg_pool2d.grad_input(image([[2, NAN, 4]]), x.shape, kernel_size=(1, 2))
    assert_close(dx, image([[1, 1, NAN, NAN, 2, 2]]), nan_ok=True)


# ---- against other ways of computing it -----------------------------------------------------------------------------


def plainly(x: np.ndarray, y_shape: tuple[int, ...], options: dict) -> np.ndarray:
    """Every pixel of every window looked at one by one, in Python."""
    kernel, stride, padding = (
        np.broadcast_to(options.get(name, default), 2)
        for name, default in (("kernel_size", 0), ("stride", options["kernel_size"]), ("padding", 0))
    )
    _, _, height, width = x.shape
    y = np.zeros(y_shape)
    for n, c, p, q in np.ndindex(*y_shape):
        total, count = 0.0, 0
        for r, s in np.ndindex(*kernel):
            h, v = p * stride[0] - padding[0] + r, q * stride[1] - padding[1] + s
            inside = 0 <= h < height and 0 <= v < width
            padded = h < height + padding[0] and v < width + padding[1]
            total += x[n, c, h, v] if inside else 0.0
            count += padded if options["count_include_pad"] else inside
        y[n, c, p, q] = total / count
    return y


@pytest.mark.parametrize(("shape", "options"), BOTH)
def test_against_pixels_one_by_one(each_algorithm, shape, options):
    x = np.random.default_rng(0).standard_normal(shape)
    y = avg_pool2d.forward(x, **options)
    assert_close(y, plainly(x, y.shape, options), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "options"), [*BOTH, ((2, 35, 9, 8), {"kernel_size": 3, "stride": 2, "padding": 1})])
@pytest.mark.parametrize("compiled", ALGORITHMS[1:])
def test_compiled_equal_formula(compiled, shape, options, dtype):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(dtype)
    with algorithm(avg_pool2d="formula"):
        expected = avg_pool2d.forward(x, **options)
        dy = rng.standard_normal(expected.shape).astype(dtype)
        expected_dx = avg_pool2d.grad_input(dy, shape, **options)
    with algorithm(avg_pool2d=compiled):
        y = avg_pool2d.forward(x, **options)
        dx = avg_pool2d.grad_input(dy, shape, **options)
    assert_close(y, expected, rtol=TOLERANCE[x.dtype])
    assert_close(dx, expected_dx, rtol=TOLERANCE[x.dtype])


sizes = st.integers(1, 9)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3), st.tuples(sizes, sizes), pairs, pairs, pairs, st.booleans(), st.booleans(), st.integers(0, 99)
)
def test_any_shape(n, size, kernel, stride, half, ceil_mode, count, seed):
    """All equal formula, and backward is the transpose of forward: <dy, A x> = <A^T dy, x>; or both refuse."""
    padding = tuple(min(h, k // 2) for h, k in zip(half, kernel, strict=True))
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": count,
    }
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2, *size))
    found = []
    for name in ALGORITHMS:
        with algorithm(avg_pool2d=name):
            try:
                y = avg_pool2d.forward(x, **options)
            except ShapeError:
                found.append(None)
                continue
            dy = np.random.default_rng(seed).standard_normal(y.shape)
            found.append((y, avg_pool2d.grad_input(dy, x.shape, **options)))
    if found[0] is None:
        assert found == [None] * len(ALGORITHMS)
        return
    for y, dx in found:
        assert_close(y, found[0][0], rtol=1e-13)
        assert_close(dx, found[0][1], rtol=1e-13)
        assert abs((dy * y).sum() - (dx * x).sum()) <= 1e-12 * np.abs(dy * y).sum() + 1e-12


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["every second column", "negative strides", "channels last", "read only"])
def test_any_strides(each_algorithm, view):
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

    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 3, 5, 6))
    y = avg_pool2d.forward(x, **options)
    dy = rng.standard_normal(y.shape)
    assert_close(avg_pool2d.forward(seen(x), **options), y)
    dx = avg_pool2d.grad_input(dy, x.shape, **options)
    assert_close(avg_pool2d.grad_input(seen(dy), x.shape, **options), dx)


def test_inputs_are_not_written_to(each_algorithm):
    x, dy = np.ones((1, 2, 4, 4)), np.ones((1, 2, 2, 2))
    avg_pool2d.forward(x, kernel_size=2)
    avg_pool2d.grad_input(dy, x.shape, kernel_size=2)
    assert (x == 1).all()
    assert (dy == 1).all()


def test_empty_batch(each_algorithm):
    y = avg_pool2d.forward(np.empty((0, 3, 6, 6), np.float32), kernel_size=2)
    assert (y.shape, y.dtype) == ((0, 3, 3, 3), np.float32)
    dx = avg_pool2d.grad_input(y, (0, 3, 6, 6), kernel_size=2)
    assert (dx.shape, dx.dtype) == ((0, 3, 6, 6), np.float32)


def test_float16_runs_through_the_formula():
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float16)
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    y = avg_pool2d.forward(x, **options)
    assert_close(y, avg_pool2d.forward(x.astype(np.float64), **options).astype(np.float16), rtol=1e-3)
    dx = avg_pool2d.grad_input(y, x.shape, **options)
    expected = avg_pool2d.grad_input(y.astype(np.float64), x.shape, **options)
    assert_close(dx, expected.astype(np.float16), rtol=4e-3)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("compiled", ALGORITHMS[1:])
def test_threads_do_not_change_a_bit(compiled):
    options = {"kernel_size": 3, "stride": 1, "padding": 1}
    x = np.random.default_rng(2).standard_normal((5, 33, 31, 30)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            with algorithm(avg_pool2d=compiled):
                y = avg_pool2d.forward(x, **options)
                results.append((y.tobytes(), avg_pool2d.grad_input(y, x.shape, **options).tobytes()))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "options"), BOTH)
def test_gradient(each_algorithm, shape, options):
    x = np.random.default_rng(4).standard_normal(shape)
    assert gradcheck(lambda x: apply("avg_pool2d", x, **options), [x])


def test_the_tape_saves_no_array():
    x = Tensor(np.ones((1, 1, 4, 4)), requires_grad=True)
    y = apply("avg_pool2d", x, kernel_size=2)
    assert not [name for name, value in y.node.saved.items() if isinstance(value, np.ndarray)]
    y.backward(image([[4, 8], [12, 16]]))
    assert_close(x.grad.array, image([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]))


def test_record_without_a_wanted_gradient():
    x = image([[1, 3]])
    y, saved = avg_pool2d.record((False,), x, kernel_size=(1, 2))
    assert_close(y, image([[2]]))
    assert avg_pool2d.backward((False,), saved, y) == (None,)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"kernel_size": 0}, ArgumentError, "avg_pool2d: kernel_size is not valid; seen kernel_size=0"),
        ({"kernel_size": 2, "stride": (1, 0)}, ArgumentError, "stride is not valid; seen stride=(1, 0)"),
        ({"kernel_size": 2, "padding": -1}, ArgumentError, "padding is not valid; seen padding=-1"),
        (
            {"kernel_size": (5, 2), "padding": (1, 2)},
            ArgumentError,
            "padding is more than half the kernel; seen padding (1, 2), kernel_size (5, 2); rule: 2 * padding <= "
            "kernel_size; hint: pad by at most (2, 1)",
        ),
        ({"kernel_size": 2, "ceil_mode": 1}, ArgumentError, "ceil_mode is not valid; seen ceil_mode=1; rule: True or"),
        ({"kernel_size": 2, "count_include_pad": None}, ArgumentError, "count_include_pad is not valid"),
        ({"kernel_size": (1, 7)}, ShapeError, "the kernel is larger than the padded input in width"),
        ({"kernel_size": 8, "stride": 2, "ceil_mode": True}, ShapeError, "the kernel is larger than the padded input"),
    ],
)
def test_bad_options(options, error, text):
    with pytest.raises(error) as caught:
        avg_pool2d.forward(np.zeros((1, 1, 5, 6)), **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.zeros((3, 8, 8)), ShapeError, "avg_pool2d: x must have 4 axes; seen x (3, 8, 8); rule: x: (N, C, H, W)"),
        (np.zeros((1, 1, 0, 8)), ShapeError, "x has an empty axis; seen x (1, 1, 0, 8)"),
        (np.zeros((1, 1, 8, 8), np.uint8), DTypeError, "x has a dtype that is not floating point; seen x uint8"),
    ],
)
def test_bad_input(x, error, text):
    with pytest.raises(error) as caught:
        avg_pool2d.forward(x, kernel_size=2)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("dy", "x_shape", "text"),
    [
        (np.zeros((1, 1, 2, 3)), (1, 1, 4, 4), "seen dy (1, 1, 2, 3), y (1, 1, 2, 2)"),
        (np.zeros((1, 2, 2, 2)), (1, 1, 4, 4), "avg_pool2d.grad_input: dy does not have the shape of y"),
        (np.zeros((1, 1, 2, 2)), (1, 1, 4), "x_shape is not the shape of images; seen x_shape (1, 1, 4)"),
        (np.zeros((1, 1, 2, 2)), (-1, 1, 4, 4), "x_shape is not the shape of images"),
    ],
)
def test_bad_backward(dy, x_shape, text):
    with pytest.raises(ShapeError) as caught:
        avg_pool2d.grad_input(dy, x_shape, kernel_size=2)
    assert text in str(caught.value)
