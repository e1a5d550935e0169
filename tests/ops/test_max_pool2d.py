"""Max pooling: hand-made expectations, ties, NaN, padding; loops against formula; gradients; errors."""

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
from minicnn.ops import max_pool2d
from minicnn.ops.registry import algorithm

INF, NAN = np.inf, np.nan
ALGORITHMS = ("formula", "loops", "vector")

# shape of x, options: odd, prime, one-sized and non-square shapes; remainders that no window reaches; overlaps and gaps
CASES = [
    ((2, 3, 8, 8), {"kernel_size": 2}),
    ((2, 3, 7, 11), {"kernel_size": 2}),
    ((1, 2, 13, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((3, 1, 1, 1), {"kernel_size": 1}),
    ((1, 1, 1, 9), {"kernel_size": (1, 4), "stride": (1, 2), "padding": (0, 2)}),
    ((2, 2, 5, 6), {"kernel_size": (3, 2), "stride": 1}),
    ((2, 2, 5, 7), {"kernel_size": (2, 3), "stride": (3, 4), "padding": (1, 0)}),
    ((1, 3, 11, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": (2, 3)}),
    ((2, 1, 6, 5), {"kernel_size": 2, "stride": 5}),
    ((2, 2, 6, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 2, 2, 2), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 2, 5, 5), {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}),
    ((1, 2, 9, 8), {"kernel_size": (2, 3), "stride": 3, "padding": 1, "dilation": 2, "ceil_mode": True}),
    ((2, 1, 4, 5), {"kernel_size": (4, 5)}),
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(max_pool2d=request.param):
        yield request.param


def image(rows, dtype=np.float64) -> np.ndarray:
    return np.array(rows, dtype)[None, None]


def distinct(shape, dtype=np.float64, seed=0) -> np.ndarray:
    """A random permutation, so that no two values tie; half of them negative."""
    count = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(count) - count // 2).reshape(shape).astype(dtype)


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_the_printed_formula(each_algorithm):
    """D1.2: y[i,j] = max_{k,l} x[i+k-1, j+l-1], stride 1."""
    x = image([[1, 5, 2], [4, 3, 9], [8, 6, 7]])
    y, winner = max_pool2d.forward(x, kernel_size=2, stride=1)
    assert_close(y, image([[5, 9], [8, 9]]))
    assert winner.dtype == np.int64
    assert winner.tolist() == [[[[1, 5], [6, 5]]]]


def test_pooling_along_one_axis(each_algorithm):
    """D4.2: p[i,j] = max(y[i,j], ..., y[i,j+s-1])."""
    y, _ = max_pool2d.forward(image([[1, 3, 2, 5, 4]]), kernel_size=(1, 3), stride=1)
    assert_close(y, image([[3, 5, 5]]))


def test_stride_is_the_kernel_size_if_not_given(each_algorithm):
    y, winner = max_pool2d.forward(image(np.arange(24).reshape(4, 6)), kernel_size=(2, 3))
    assert_close(y, image([[8, 11], [20, 23]]))
    assert winner.tolist() == [[[[8, 11], [20, 23]]]]


def test_padding_never_wins_over_negative_values(each_algorithm):
    """ResNet's own pool (3x3, stride 2, padding 1): padding with zeros would give 0 everywhere here."""
    x = image([[-4, -3, -8], [-7, -9, -2], [-6, -5, -1]])
    y, winner = max_pool2d.forward(x, kernel_size=3, stride=2, padding=1)
    assert_close(y, image([[-3, -2], [-5, -1]]))
    assert winner.tolist() == [[[[1, 5], [7, 8]]]]
    dx = max_pool2d.grad_input(image([[1, 10], [100, 1000]]), winner, x.shape, kernel_size=3, stride=2, padding=1)
    assert_close(dx, image([[0, 1, 0], [0, 0, 10], [0, 100, 1000]]))


def test_dilation_skips_pixels(each_algorithm):
    x = image([[1, 9, 2, 9], [9, 9, 9, 9], [4, 9, 3, 5]])
    y, winner = max_pool2d.forward(x, kernel_size=2, stride=1, dilation=2)
    assert_close(y, image([[4, 9]]))
    assert winner.tolist() == [[[[8, 1]]]]


def test_ceil_mode_keeps_the_remainder(each_algorithm):
    x = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    floor, _ = max_pool2d.forward(x, kernel_size=2)
    ceil, winner = max_pool2d.forward(x, kernel_size=2, ceil_mode=True)
    assert_close(floor, image([[5]]))
    assert_close(ceil, image([[5, 6], [8, 9]]))
    assert winner.tolist() == [[[[4, 5], [7, 8]]]]


def test_ceil_mode_drops_a_window_that_would_start_in_the_right_padding(each_algorithm):
    y, _ = max_pool2d.forward(image([[1, 2, 3]]), kernel_size=(1, 2), stride=(1, 3), padding=(0, 1), ceil_mode=True)
    assert_close(y, image([[1, 3]]))
    y, _ = max_pool2d.forward(image([[1, 2]]), kernel_size=(1, 2), stride=(1, 3), padding=(0, 1), ceil_mode=True)
    assert_close(y, image([[1]]))


# ---- who wins -------------------------------------------------------------------------------------------------------


def test_the_first_maximum_wins_a_tie(each_algorithm):
    x = image([[7, 7, 0], [7, 7, 0], [0, 0, 0]])
    options = {"kernel_size": 2, "stride": 1}
    y, winner = max_pool2d.forward(x, **options)
    assert_close(y, image([[7, 7], [7, 7]]))
    assert winner.tolist() == [[[[0, 1], [3, 4]]]]
    dx = max_pool2d.grad_input(image([[1, 10], [100, 1000]]), winner, x.shape, **options)
    assert_close(dx, image([[1, 10, 0], [100, 1000, 0], [0, 0, 0]]))


def test_a_constant_image_ties_everywhere(each_algorithm):
    x = np.full((1, 2, 3, 3), -2.5)
    _, winner = max_pool2d.forward(x, kernel_size=3, stride=2, padding=1)
    assert winner.tolist() == [[[[0, 1], [3, 4]]] * 2]


def test_signed_zeros_tie(each_algorithm):
    _, winner = max_pool2d.forward(image([[-0.0, 0.0], [0.0, -0.0]]), kernel_size=2)
    assert winner.tolist() == [[[[0]]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_wins_and_the_last_of_several(each_algorithm, dtype):
    x = image([[1, NAN, 3, INF], [NAN, 5, NAN, 2], [1, 2, 3, 4], [4, 4, 4, 4]], dtype)
    y, winner = max_pool2d.forward(x, kernel_size=2)
    assert_close(y, image([[NAN, NAN], [4, 4]], dtype), nan_ok=True)
    assert winner.tolist() == [[[[4, 6], [12, 11]]]]
    dx = max_pool2d.grad_input(image([[1, 2], [3, 4]], dtype), winner, x.shape, kernel_size=2)
    assert_close(dx, image([[0, 0, 0, 0], [1, 0, 2, 0], [0, 0, 0, 4], [3, 0, 0, 0]], dtype))


def test_an_image_of_nan_with_padding(each_algorithm):
    y, winner = max_pool2d.forward(image(np.full((3, 3), NAN)), kernel_size=3, stride=2, padding=1)
    assert np.isnan(y).all()
    assert winner.tolist() == [[[[4, 5], [7, 8]]]]  # the last pixel of each window that is inside


def test_minus_infinity_picks_the_first_pixel_inside(each_algorithm):
    x = image(np.full((3, 3), -INF))
    y, winner = max_pool2d.forward(x, kernel_size=3, stride=2, padding=1)
    assert (y == -INF).all()
    assert winner.tolist() == [[[[0, 1], [3, 4]]]]
    dx = max_pool2d.grad_input(image([[1, 2], [3, 4]]), winner, x.shape, kernel_size=3, stride=2, padding=1)
    assert_close(dx, image([[1, 2, 0], [3, 4, 0], [0, 0, 0]]))


def test_minus_infinity_picks_the_first_pixel_inside_with_dilation(each_algorithm):
    """Windows of the places -1 and 2, 0 and 3, 1 and 4: the first inside are 2, 0 and 1."""
    x = np.full(4, -INF)
    y, winner = max_pool2d.forward(image([x]), kernel_size=(1, 2), stride=1, padding=(0, 1), dilation=3)
    assert (y == -INF).all()
    assert winner.tolist() == [[[[2, 0, 1]]]]
    _, winner = max_pool2d.forward(image(x[:, None]), kernel_size=(2, 1), stride=1, padding=(1, 0), dilation=3)
    assert winner.tolist() == [[[[2], [0], [1]]]]


def test_infinity_beats_numbers(each_algorithm):
    y, winner = max_pool2d.forward(image([[1e300, -INF], [INF, 2]]), kernel_size=2)
    assert_close(y, image([[INF]]))
    assert winner.item() == 2


def test_windows_that_share_a_winner_add_up(each_algorithm):
    x = image([[0, 0, 0], [0, 9, 0], [0, 0, 0]])
    _, winner = max_pool2d.forward(x, kernel_size=2, stride=1)
    dx = max_pool2d.grad_input(image([[1, 10], [100, 1000]]), winner, x.shape, kernel_size=2, stride=1)
    assert_close(dx, image([[0, 0, 0], [0, 1111, 0], [0, 0, 0]]))


def test_nan_in_one_gradient_stays_with_its_winner(each_algorithm):
    x = image([[1, 2, 4, 3]])
    _, winner = max_pool2d.forward(x, kernel_size=(1, 2))
    dx = max_pool2d.grad_input(image([[NAN, 1]]), winner, x.shape, kernel_size=(1, 2))
    assert_close(dx, image([[0, NAN, 1, 0]]), nan_ok=True)


# ---- against other ways of computing it -----------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "options"), CASES)
def test_against_a_padded_image(each_algorithm, shape, options):
    """The maximum over sliding windows of an image padded with minus infinity, wide enough for every window."""
    x = distinct(shape)
    y, winner = max_pool2d.forward(x, **options)
    (r, s), stride, padding, dilation = (
        np.broadcast_to(options.get(name, default), 2)
        for name, default in (("kernel_size", 0), ("stride", options["kernel_size"]), ("padding", 0), ("dilation", 1))
    )
    spans = (dilation[0] * (r - 1) + 1, dilation[1] * (s - 1) + 1)
    sides = [(0, 0), (0, 0), *((padding[a], padding[a] + stride[a] + spans[a]) for a in (0, 1))]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, sides, constant_values=-INF), spans, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    assert_close(y, windows[:, :, : y.shape[2], : y.shape[3]].max(axis=(4, 5)))
    flat = x.reshape(*shape[:2], -1)
    assert_close(np.take_along_axis(flat, winner.reshape(*shape[:2], -1), axis=2).reshape(y.shape), y)


@pytest.mark.parametrize("name", ["loops", "vector"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_compiled_equals_formula(shape, options, dtype, name):
    """Bit for bit, ties included: values are few, so that most windows have several maxima."""
    rng = np.random.default_rng(1)
    x = rng.integers(-2, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.1] = NAN
    x[rng.random(shape) < 0.3] = -INF
    with algorithm(max_pool2d="formula"):
        expected, expected_winner = max_pool2d.forward(x, **options)
        dy = rng.standard_normal(expected.shape).astype(dtype)
        expected_dx = max_pool2d.grad_input(dy, expected_winner, shape, **options)
    with algorithm(max_pool2d=name):
        y, winner = max_pool2d.forward(x, **options)
        dx = max_pool2d.grad_input(dy, winner, shape, **options)
    assert_close(y, expected, rtol=0, atol=0, nan_ok=True)
    assert np.array_equal(winner, expected_winner)
    assert_close(dx, expected_dx, rtol=0, atol=0)


sizes = st.integers(1, 9)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 3), st.tuples(sizes, sizes), pairs, pairs, pairs, pairs, st.booleans(), st.integers(0, 99))
def test_any_shape(n, size, kernel, stride, half, dilation, ceil_mode, seed):
    """All algorithms agree, the winner holds the maximum, and the whole gradient arrives; or both refuse."""
    padding = tuple(min(h, k // 2) for h, k in zip(half, kernel, strict=True))
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": ceil_mode,
    }
    x = distinct((n, 2, *size), seed=seed)
    found = []
    for name in ALGORITHMS:
        with algorithm(max_pool2d=name):
            try:
                y, winner = max_pool2d.forward(x, **options)
            except ShapeError:
                found.append(None)
                continue
            dy = np.random.default_rng(seed).standard_normal(y.shape)
            found.append((y, winner, max_pool2d.grad_input(dy, winner, x.shape, **options)))
    if found[0] is None:
        assert found == [None] * len(ALGORITHMS)
        return
    for exact, *others in zip(*found, strict=True):
        for other in others:
            assert np.array_equal(exact, other)
    y, winner, dx = found[1]
    flat = x.reshape(n, 2, size[0] * size[1])
    places = winner.reshape(n, 2, y.shape[2] * y.shape[3])
    assert np.array_equal(np.take_along_axis(flat, places, axis=2), y.reshape(places.shape))
    assert abs(dx.sum() - dy.sum()) <= 1e-12 * np.abs(dy).sum()


# ---- arrays ---------------------------------------------------------------------------------------------------------


def views(base: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of equal values in unequal memory."""
    wide = np.repeat(base, 2, axis=3)
    flipped = base[:, :, ::-1, ::-1].copy()
    last = np.ascontiguousarray(base.transpose(0, 2, 3, 1))
    frozen = base.copy()
    frozen.flags.writeable = False
    return {
        "every second column": wide[:, :, :, ::2],
        "negative strides": flipped[:, :, ::-1, ::-1],
        "channels last": last.transpose(0, 3, 1, 2),
        "read only": frozen,
    }


@pytest.mark.parametrize("view", ["every second column", "negative strides", "channels last", "read only"])
def test_any_strides(each_algorithm, view):
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    x = distinct((2, 3, 5, 6))
    y, winner = max_pool2d.forward(x, **options)
    dy = distinct(y.shape, seed=3)
    seen, seen_winner = max_pool2d.forward(views(x)[view], **options)
    assert np.array_equal(seen, y)
    assert np.array_equal(seen_winner, winner)
    dx = max_pool2d.grad_input(views(dy)[view], views(winner)[view], x.shape, **options)
    assert np.array_equal(dx, max_pool2d.grad_input(dy, winner, x.shape, **options))


def test_inputs_are_not_written_to(each_algorithm):
    x = distinct((1, 2, 5, 5))
    before = x.copy()
    y, winner = max_pool2d.forward(x, kernel_size=2, stride=1)
    dy, saved = distinct(y.shape), winner.copy()
    max_pool2d.grad_input(dy, winner, x.shape, kernel_size=2, stride=1)
    assert np.array_equal(x, before)
    assert np.array_equal(dy, distinct(y.shape))
    assert np.array_equal(winner, saved)


def test_empty_batch(each_algorithm):
    y, winner = max_pool2d.forward(np.empty((0, 3, 6, 6), np.float32), kernel_size=2)
    assert y.shape == winner.shape == (0, 3, 3, 3)
    assert (y.dtype, winner.dtype) == (np.float32, np.int64)
    dx = max_pool2d.grad_input(y, winner, (0, 3, 6, 6), kernel_size=2)
    assert (dx.shape, dx.dtype) == ((0, 3, 6, 6), np.float32)


def test_float16_runs_through_the_formula():
    x = distinct((1, 2, 5, 5), np.float16)
    y, winner = max_pool2d.forward(x, kernel_size=3, stride=2, padding=1)
    expected, expected_winner = max_pool2d.forward(x.astype(np.float64), kernel_size=3, stride=2, padding=1)
    assert_close(y, expected.astype(np.float16))
    assert np.array_equal(winner, expected_winner)
    assert max_pool2d.grad_input(y, winner, x.shape, kernel_size=3, stride=2, padding=1).dtype == np.float16


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_threads_do_not_change_a_bit():
    options = {"kernel_size": 3, "stride": 1, "padding": 1}
    x = np.random.default_rng(2).standard_normal((6, 17, 30, 31)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            y, winner = max_pool2d.forward(x, **options)
            results.append((y, winner, max_pool2d.grad_input(x, winner, x.shape, **options)))
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "options"), CASES)
def test_gradient(each_algorithm, shape, options):
    assert gradcheck(lambda x: apply("max_pool2d", x, **options), [distinct(shape) * 0.1])


def test_the_tape_saves_the_winner_and_not_the_image():
    x = Tensor(distinct((1, 1, 4, 4)), requires_grad=True)
    y = apply("max_pool2d", x, kernel_size=2)
    saved = y.node.saved
    assert saved["winner"].shape == (1, 1, 2, 2)
    assert [name for name, value in saved.items() if isinstance(value, np.ndarray)] == ["winner"]
    y.backward(np.ones((1, 1, 2, 2)))
    assert sorted(np.flatnonzero(x.grad.array)) == sorted(saved["winner"].ravel())


def test_nothing_is_saved_where_no_gradient_is_wanted():
    x = distinct((1, 1, 4, 4))
    y, saved = max_pool2d.record((False,), x, kernel_size=2)
    assert_close(y, max_pool2d.forward(x, kernel_size=2)[0])
    assert saved["winner"] is None
    assert max_pool2d.backward((False,), saved, y) == (None,)


# ---- errors ---------------------------------------------------------------------------------------------------------

BAD = [
    ({"kernel_size": 0}, ArgumentError, "max_pool2d: kernel_size is not valid; seen kernel_size=0"),
    ({"kernel_size": 2.5}, ArgumentError, "kernel_size=2.5; rule: a whole number >= 1, or two"),
    ({"kernel_size": (2, 2, 2)}, ArgumentError, "kernel_size=(2, 2, 2)"),
    ({"kernel_size": 2, "stride": 0}, ArgumentError, "stride is not valid; seen stride=0"),
    ({"kernel_size": 2, "padding": -1}, ArgumentError, "padding is not valid; seen padding=-1"),
    ({"kernel_size": 2, "dilation": 0}, ArgumentError, "dilation is not valid; seen dilation=0"),
    ({"kernel_size": 2, "ceil_mode": "yes"}, ArgumentError, "ceil_mode is not valid; seen ceil_mode='yes'; rule: True"),
    (
        {"kernel_size": 3, "padding": 2},
        ArgumentError,
        "padding is more than half the kernel; seen padding (2, 2), kernel_size (3, 3); "
        "rule: 2 * padding <= kernel_size; hint: pad by at most (1, 1)",
    ),
    ({"kernel_size": (4, 3), "padding": 2, "dilation": 2}, ArgumentError, "padding is more than half the kernel"),
    ({"kernel_size": (1, 7)}, ShapeError, "the kernel is larger than the padded input in width"),
    ({"kernel_size": (7, 1)}, ShapeError, "the kernel is larger than the padded input in height"),
    (
        {"kernel_size": 8, "stride": 2, "ceil_mode": True},
        ShapeError,
        "rule: with ceil_mode: dilation * (kernel - 1) + 1 < size + 2 * padding + stride",
    ),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_bad_options(options, error, text):
    x = np.zeros((1, 1, 5, 6))
    with pytest.raises(error) as caught:
        max_pool2d.forward(x, **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.zeros((3, 8, 8)), ShapeError, "max_pool2d: x must have 4 axes; seen x (3, 8, 8); rule: x: (N, C, H, W)"),
        (np.zeros((1, 0, 8, 8)), ShapeError, "x has an empty axis; seen x (1, 0, 8, 8)"),
        (np.zeros((1, 1, 8, 8), np.int64), DTypeError, "x has a dtype that is not floating point; seen x int64"),
        ([[1.0]], DTypeError, "x is not an array; seen list"),
    ],
)
def test_bad_input(x, error, text):
    with pytest.raises(error) as caught:
        max_pool2d.forward(x, kernel_size=2)
    assert text in str(caught.value)


def test_a_window_that_steps_over_the_image_is_refused():
    """Places -1 and 1 of an image of one column: no pixel, no maximum, no place for the gradient."""
    with pytest.raises(ShapeError, match="a window steps over the image: all its columns lie in the padding") as caught:
        max_pool2d.forward(np.zeros((1, 1, 4, 1)), kernel_size=2, padding=1, dilation=2)
    assert "rule: every window sees a pixel of the image" in str(caught.value)
    with pytest.raises(ShapeError, match="all its rows lie in the padding"):
        max_pool2d.forward(np.zeros((1, 1, 1, 4)), kernel_size=2, padding=1, dilation=2)


GOOD = {"dy": np.zeros((1, 1, 2, 2)), "winner": np.zeros((1, 1, 2, 2), np.int64), "x_shape": (1, 1, 4, 4)}


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"dy": np.zeros((1, 1, 3, 2))},
            ShapeError,
            "max_pool2d.grad_input: dy does not have the shape of y; seen dy (1, 1, 3, 2), y (1, 1, 2, 2)",
        ),
        ({"dy": np.zeros((1, 1, 2, 2), int)}, DTypeError, "dy has a dtype that is not floating point"),
        ({"winner": np.zeros((1, 1, 2, 2))}, DTypeError, "winner is not an array of int64; seen float64"),
        ({"winner": None}, DTypeError, "winner is not an array of int64; seen NoneType"),
        ({"winner": np.zeros((1, 1, 2, 1), np.int64)}, ShapeError, "winner does not have the shape of y"),
        ({"x_shape": (1, 4, 4)}, ShapeError, "x_shape is not the shape of images; seen x_shape (1, 4, 4)"),
        ({"x_shape": (1, 1, 4, 0)}, ShapeError, "x_shape is not the shape of images"),
        ({"x_shape": (1, 1, 4, 4.0)}, ShapeError, "x_shape is not the shape of images"),
    ],
)
def test_bad_backward(change, error, text):
    with pytest.raises(error) as caught:
        max_pool2d.grad_input(**{**GOOD, **change}, kernel_size=2)
    assert text in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 1), "dilation": (3, 2), "ceil_mode": True},
        {"kernel_size": (1, 4), "stride": 3, "padding": (0, 2)},
    ],
)
def test_largest_is_forward_without_places(options, dtype):
    from minicnn.ops.max_pool2d import vector

    x = np.random.default_rng(0).standard_normal((2, 19, 11, 7)).astype(dtype)
    x[0, 1, 2, 3], x[1, 3, 5, 5], x[1, 2] = np.nan, np.inf, -np.inf
    given, _ = max_pool2d.check_options(
        x.shape, **{"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, **options}
    )
    np.testing.assert_array_equal(vector.largest(x, **given), max_pool2d.forward(x, **options)[0])
