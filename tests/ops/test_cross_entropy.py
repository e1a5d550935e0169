"""Cross-entropy: by hand; every option; loops against formula; gradients; errors."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.autograd import Tensor, apply
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import cross_entropy
from minicnn.ops.registry import algorithm

NAN, INF = np.nan, np.inf
LOG2 = np.log(2)
ALGORITHMS = ("formula", "loops")
REDUCTIONS = ("mean", "sum", "none")
TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
SHAPES = [(5, 3), (1, 2), (3, 7), (4, 1), (2, 3, 5), (2, 4, 3, 2), (6,)]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(cross_entropy=request.param):
        yield request.param


def draw(shape, kind, reduction="mean", dtype=np.float64, seed=0):
    """x, target, weight, dy; kind: "indices", "ignored" (some targets are -100) or "probabilities"."""
    rng = np.random.default_rng(seed)
    classes = shape[min(1, len(shape) - 1)]
    positions = shape[:1] * (len(shape) > 1) + shape[2:]
    x = (2 * rng.standard_normal(shape)).astype(dtype)
    if kind == "probabilities":
        target = rng.uniform(0.1, 1, shape)
        target = (target / target.sum(axis=min(1, len(shape) - 1), keepdims=True)).astype(dtype)
    else:
        target = np.asarray(rng.integers(0, classes, positions))
        if kind == "ignored" and target.size > 1:
            target.flat[:: max(2, target.size // 2)] = -100
    weight = rng.uniform(0.5, 2, classes).astype(dtype)
    return x, target, weight, np.asarray(rng.standard_normal(positions if reduction == "none" else ()), dtype)


def passes(x, target, weight, dy, **options):
    found = [
        cross_entropy.forward(x, target, weight, **options),
        cross_entropy.grad_input(dy, x, target, weight, **options),
    ]
    if target.dtype.kind == "f":
        found.append(cross_entropy.grad_target(dy, x, target, weight, **options))
    return found


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_by_hand(each_algorithm):
    """Probabilities 1/4, 1/4, 1/2 and 1/8, 3/4, 1/8."""
    x = np.log(np.array([[1.0, 1, 2], [1, 6, 1]]))
    target = np.array([2, 0])
    assert_close(cross_entropy.forward(x, target, reduction="none"), np.array([LOG2, 3 * LOG2]))
    assert_close(cross_entropy.forward(x, target, reduction="sum"), np.array(4 * LOG2))
    assert_close(cross_entropy.forward(x, target), np.array(2 * LOG2))


def test_gradient_is_predicted_minus_true(each_algorithm):
    x = np.log(np.array([[1.0, 1, 2], [1, 6, 1]]))
    dx = cross_entropy.grad_input(np.array(8.0), x, np.array([2, 0]))
    assert_close(dx, 4 * np.array([[0.25, 0.25, -0.5], [-0.875, 0.75, 0.125]]))


def test_weights_divide_the_mean_too(each_algorithm):
    x, target, weight = np.zeros((3, 2)), np.array([0, 1, 1]), np.array([1.0, 10])
    assert_close(cross_entropy.forward(x, target, weight, reduction="none"), LOG2 * np.array([1.0, 10, 10]))
    assert_close(cross_entropy.forward(x, target, weight, reduction="sum"), np.array(21 * LOG2))
    assert_close(cross_entropy.forward(x, target, weight), np.array(LOG2))
    dx = cross_entropy.grad_input(np.array(21.0), x, target, weight)
    assert_close(dx, np.array([[-0.5, 0.5], [5, -5], [5, -5]]))


@pytest.mark.parametrize("mark", [-100, 1, 7])
def test_ignored_positions_do_not_count(each_algorithm, mark):
    """Neither in the sum nor in what the mean divides by; the mark may be a class, too."""
    x = np.array([[0.0, 0], [5, -5], [0, np.log(3)]])
    target = np.array([0, mark, 0])
    losses = np.array([LOG2, 0, 2 * LOG2])
    assert_close(cross_entropy.forward(x, target, reduction="none", ignore_index=mark), losses)
    assert_close(cross_entropy.forward(x, target, ignore_index=mark), np.array(1.5 * LOG2))
    dx = cross_entropy.grad_input(np.array(2.0), x, target, ignore_index=mark)
    assert_close(dx, np.array([[-0.5, 0.5], [0, 0], [-0.75, 0.75]]))


def test_all_ignored(each_algorithm):
    """As in PyTorch: the mean of nothing is NaN, its gradient 0."""
    x, target = np.ones((2, 3)), np.array([-100, -100])
    for options in ({}, {"label_smoothing": 0.1}, {"weight": np.ones(3)}):
        assert_close(cross_entropy.forward(x, target, **options), np.array(NAN), nan_ok=True)
        assert_close(cross_entropy.forward(x, target, **options, reduction="sum"), np.array(0.0))
        assert_close(cross_entropy.grad_input(np.array(1.0), x, target, **options), np.zeros((2, 3)))


def test_label_smoothing(each_algorithm):
    """0.3 spread over 3 classes: q = 0.8, 0.1, 0.1."""
    x = np.log(np.array([[2.0, 1, 1]]))
    y = cross_entropy.forward(x, np.array([0]), label_smoothing=0.3)
    assert_close(y, np.array(0.8 * LOG2 + 0.2 * 2 * LOG2))
    dx = cross_entropy.grad_input(np.array(1.0), x, np.array([0]), label_smoothing=0.3)
    assert_close(dx, np.array([[0.5 - 0.8, 0.25 - 0.1, 0.25 - 0.1]]))


def test_label_smoothing_with_weights(each_algorithm):
    """Each class's share counts with the class's weight, the mean divides by the weight of the true class."""
    x, weight = np.log(np.array([[2.0, 1, 1]])), np.array([5.0, 1, 10])
    y = cross_entropy.forward(x, np.array([0]), weight, label_smoothing=0.3)
    assert_close(y, np.array((0.8 * 5 * LOG2 + 0.1 * 1 * 2 * LOG2 + 0.1 * 10 * 2 * LOG2) / 5))


def test_probabilities(each_algorithm):
    x, target = np.log(np.array([[1.0, 1], [1, 3]])), np.array([[0.5, 0.5], [1, 0]])
    assert_close(cross_entropy.forward(x, target, reduction="none"), np.array([LOG2, 2 * LOG2]))
    assert_close(cross_entropy.forward(x, target), np.array(1.5 * LOG2))
    assert_close(cross_entropy.grad_input(np.array(2.0), x, target), np.array([[0, 0], [-0.75, 0.75]]))
    dtarget = cross_entropy.grad_target(np.array(2.0), x, target)
    assert_close(dtarget, np.array([[LOG2, LOG2], [2 * LOG2, np.log(4 / 3)]]))


def test_mean_over_probabilities_divides_by_positions(each_algorithm):
    """Weights scale the losses, not what the mean divides by."""
    x, target, weight = np.zeros((2, 2)), np.array([[1.0, 0], [0, 1]]), np.array([1.0, 3])
    assert_close(cross_entropy.forward(x, target, weight), np.array(2 * LOG2))


def test_places_of_an_image(each_algorithm):
    """(N, C, H, W) is the same as one row for each place."""
    x, target, weight, _ = draw((2, 3, 4, 5), "ignored")
    rows = x.transpose(0, 2, 3, 1).reshape(-1, 3)
    for options in ({}, {"weight": weight, "label_smoothing": 0.2}):
        expected = cross_entropy.forward(rows, target.ravel(), **options)
        assert_close(cross_entropy.forward(x, target, **options), expected)
        dx = cross_entropy.grad_input(np.array(1.0), x, target, **options)
        expected_dx = cross_entropy.grad_input(np.array(1.0), rows, target.ravel(), **options)
        assert_close(dx.transpose(0, 2, 3, 1).reshape(-1, 3), expected_dx)


def test_a_single_position(each_algorithm):
    x = np.log(np.array([1.0, 1, 2]))
    for reduction in REDUCTIONS:
        y = cross_entropy.forward(x, np.array(2), reduction=reduction)
        assert isinstance(y, np.ndarray)
        assert_close(y, np.array(LOG2))
        dx = cross_entropy.grad_input(np.array(4.0), x, np.array(2), reduction=reduction)
        assert_close(dx, np.array([1.0, 1, -2]))


def test_large_scores(each_algorithm):
    x = np.array([[1e4, 0.0], [0, 1e4]], np.float32)
    assert_close(cross_entropy.forward(x, np.array([0, 0]), reduction="none"), np.array([0, 1e4], np.float32))


def test_an_impossible_class(each_algorithm):
    """Score -inf: no matter where it is not the true class; an infinite loss where it is."""
    x, target = np.array([[0, -INF, 0], [0, -INF, 0]]), np.array([0, 1])
    assert_close(cross_entropy.forward(x, target, reduction="none"), np.array([LOG2, INF]))
    dx = cross_entropy.grad_input(np.ones(2), x, target, reduction="none")
    assert_close(dx, np.array([[-0.5, 0, 0.5], [0.5, -1, 0.5]]))


def test_nan_spoils_its_position_only(each_algorithm):
    x, target = np.zeros((3, 2)), np.array([0, 1, -100])
    x[1, 0] = x[2, 0] = NAN
    assert_close(cross_entropy.forward(x, target, reduction="none"), np.array([LOG2, NAN, 0]), nan_ok=True)
    dx = cross_entropy.grad_input(np.ones(3), x, target, reduction="none")
    assert_close(dx, np.array([[-0.5, 0.5], [NAN, NAN], [0, 0]]), nan_ok=True)
    assert_close(cross_entropy.forward(x, target), np.array(NAN), nan_ok=True)


# ---- against other ways of computing it -----------------------------------------------------------------------------

KINDS = ("indices", "ignored", "probabilities")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_loops_equal_formula(shape, kind, dtype):
    for reduction, weighted, smoothing in itertools.product(REDUCTIONS, (True, False), (0.0, 0.3, 1.0)):
        x, target, weight, dy = draw(shape, kind, reduction, dtype)
        options = {
            "weight": weight if weighted else None,
            "reduction": reduction,
            "label_smoothing": smoothing,
            "dy": dy,
        }
        with algorithm(cross_entropy="formula"):
            expected = passes(x, target, **options)
        with algorithm(cross_entropy="loops"):
            found = passes(x, target, **options)
        for one, other in zip(found, expected, strict=True):
            assert isinstance(one, np.ndarray)
            assert isinstance(other, np.ndarray)
            rtol = TOLERANCE[np.dtype(dtype)]
            assert_close(one, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_is_the_negative_mean_of_log_softmax(each_algorithm, kind):
    x, target, _, _ = draw((6, 4), kind)
    log_p = np.log(np.exp(x) / np.exp(x).sum(axis=1, keepdims=True))
    q = np.eye(4)[target] if kind == "indices" else target
    assert_close(cross_entropy.forward(x, target), np.array(-(q * log_p).sum() / 6))


def test_indices_are_one_hot_probabilities(each_algorithm):
    x, target, _, dy = draw((6, 4), "indices")
    one_hot = np.eye(4)[target]
    for smoothing in (0.0, 0.4):
        options = {"label_smoothing": smoothing}
        assert_close(cross_entropy.forward(x, target, **options), cross_entropy.forward(x, one_hot, **options))
        dx = cross_entropy.grad_input(dy, x, target, **options)
        assert_close(dx, cross_entropy.grad_input(dy, x, one_hot, **options))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.lists(st.integers(1, 4), max_size=3),
    st.sampled_from(KINDS),
    st.sampled_from(REDUCTIONS),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_any_shape(n, classes, places, kind, reduction, smoothing, seed):
    """Both agree; a shift of all scores changes nothing, so the gradient sums to 0 over the classes."""
    x, target, weight, dy = draw((n, classes, *places), kind, reduction, seed=seed)
    options = {"weight": weight, "dy": dy, "reduction": reduction, "label_smoothing": smoothing}
    found = []
    for name in ALGORITHMS:
        with algorithm(cross_entropy=name):
            found.append(passes(x, target, **options))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-11, atol=1e-11)
    sums = found[1][1].sum(axis=1)
    assert_close(sums, np.zeros_like(sums), atol=1e-11)


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", ["every second", "negative strides", "transposed", "read only"])
def test_any_strides(each_algorithm, view, kind):
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

    arrays = draw((3, 4, 5), kind, "none")
    before = [v.copy() for v in arrays]
    found = passes(*map(seen, arrays), reduction="none", label_smoothing=0.1)
    for one, other in zip(found, passes(*arrays, reduction="none", label_smoothing=0.1), strict=True):
        assert_close(one, other, rtol=1e-14)
    for v, kept in zip(arrays, before, strict=True):
        assert np.array_equal(v, kept)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.uint64])
def test_any_integer_dtype(each_algorithm, dtype):
    x, target, _, dy = draw((5, 3), "indices")
    found = passes(x, target.astype(dtype), None, dy)
    for one, other in zip(found, passes(x, target, None, dy), strict=True):
        assert_close(one, other)


def test_empty_batch(each_algorithm):
    """The mean of nothing is NaN, as in PyTorch."""
    x = np.empty((0, 4), np.float32)
    for target in (np.empty(0, np.int64), x):
        assert_close(cross_entropy.forward(x, target), np.array(NAN, np.float32), nan_ok=True)
        assert_close(cross_entropy.forward(x, target, reduction="sum"), np.array(0, np.float32))
        assert_close(cross_entropy.forward(x, target, reduction="none"), np.empty(0, np.float32))
        dx = cross_entropy.grad_input(np.array(1, np.float32), x, target)
        assert (dx.shape, dx.dtype) == ((0, 4), np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_float16_runs_through_the_formula(kind):
    for reduction in REDUCTIONS:
        arrays = draw((5, 4), kind, reduction, np.float16)
        doubled = [v.astype(np.float64) if v.dtype == np.float16 else v for v in arrays]
        expected = passes(*doubled, reduction=reduction)
        for one, other in zip(passes(*arrays, reduction=reduction), expected, strict=True):
            assert_close(one, np.asarray(other, np.float16), rtol=1e-2)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_a_bit(kind):
    arrays = draw((31, 7, 13), kind, "mean", np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append([v.tobytes() for v in passes(*arrays, label_smoothing=0.1)])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 2), (4,)])
def test_gradient(each_algorithm, shape, kind, reduction, weighted, smoothing):
    x, target, weight, _ = draw(shape, kind)
    options = {"weight": weight if weighted else None, "reduction": reduction, "label_smoothing": smoothing}
    assert gradcheck(lambda x, t: apply("cross_entropy", x, t, **options), [x, target])


def test_on_the_tape():
    x = Tensor(np.log(np.array([[1.0, 1, 2]])), requires_grad=True)
    y = apply("cross_entropy", x, Tensor(np.array([2])))
    y.backward()
    assert_close(y.array, np.array(LOG2))
    assert_close(x.grad.array, np.array([[0.25, 0.25, -0.5]]))


def test_the_tape_saves_nothing_where_no_gradient_is_wanted():
    x, target, weight, dy = draw((3, 4), "probabilities")
    _, saved = cross_entropy.record((False, False), x, target, weight=weight)
    assert not [key for key, value in saved.items() if isinstance(value, np.ndarray)]
    assert cross_entropy.backward((False, False), saved, dy) == (None, None)
    _, saved = cross_entropy.record((False, True), x, target, weight=weight)
    dx, dtarget = cross_entropy.backward((False, True), saved, dy)
    assert dx is None
    assert_close(dtarget, cross_entropy.grad_target(dy, x, target, weight))


# ---- errors ---------------------------------------------------------------------------------------------------------

X = np.zeros((4, 3))
LABELS = np.array([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("x", "target", "options", "error", "text"),
    [
        (
            X,
            np.array([0, 1, 3, 5]),
            {},
            ArgumentError,
            "cross_entropy: a label is out of range; seen target[2] = 3, 3 classes; rule: 0 <= target < C, or target = "
            "ignore_index (-100); hint: labels count from 0",
        ),
        (X, np.array([0, -1, 2, 7]), {}, ArgumentError, "a label is out of range; seen target[1] = -1, 3 classes"),
        (X, np.array([0, -100, 2, 7]), {"ignore_index": 0}, ArgumentError, "seen target[1] = -100, 3 classes"),
        (np.zeros((2, 3, 2)), np.array([[0, 1], [2, 9]]), {}, ArgumentError, "seen target[1, 1] = 9, 3 classes"),
        (np.zeros(3), np.array(4), {}, ArgumentError, "a label is out of range; seen target = 4, 3 classes"),
        (X, np.array([0, 255, 1, 1], np.uint8), {}, ArgumentError, "seen target[1] = 255, 3 classes"),
        (
            X,
            LABELS[:3],
            {},
            ShapeError,
            "cross_entropy: target does not fit x; seen x (4, 3), target (3,) int64; rule: class indices: (4,)",
        ),
        (X, LABELS[:, None], {}, ShapeError, "target does not fit x"),
        (
            X,
            np.eye(4, 3, dtype=np.int64),
            {},
            ShapeError,
            "hint: for one-hot rows give target.argmax(axis=1), or floats",
        ),
        (
            X,
            LABELS.astype(np.float64),
            {},
            DTypeError,
            "target is neither class indices nor probabilities; seen target (4,) float64, x (4, 3); rule: integers "
            "(N, ...), or floats of x's shape; hint: convert class indices with target.astype('int64')",
        ),
        (X, LABELS > 0, {}, DTypeError, "target is neither class indices nor probabilities; seen target (4,) bool"),
        (
            X,
            X[:2],
            {},
            ShapeError,
            "target does not fit x; seen x (4, 3), target (2, 3) float64; rule: class probabilities",
        ),
        (X, X.astype(np.float32), {}, DTypeError, "x and target have different dtypes"),
        (X, [0, 1, 2, 0], {}, DTypeError, "target is not an array; seen list"),
        (X.astype(np.int64), LABELS, {}, DTypeError, "x has a dtype that is not floating point"),
        (np.zeros((4, 0)), LABELS, {}, ShapeError, "x has no classes, or an empty axis; seen x (4, 0)"),
        (np.zeros(()), LABELS, {}, ShapeError, "x has no classes, or an empty axis; seen x ()"),
        (X, LABELS, {"weight": np.ones(4)}, ShapeError, "weight does not fit the classes; seen weight (4,), x (4, 3)"),
        (X, LABELS, {"weight": np.ones(3, np.float32)}, DTypeError, "x and weight have different dtypes"),
        (X, LABELS, {"reduction": "batchmean"}, ArgumentError, "reduction is not valid; seen reduction='batchmean'"),
        (X, LABELS, {"label_smoothing": 1.5}, ArgumentError, "label_smoothing is not valid; seen label_smoothing=1.5"),
        (X, LABELS, {"label_smoothing": NAN}, ArgumentError, "label_smoothing is not valid"),
        (X, LABELS, {"ignore_index": 0.5}, ArgumentError, "ignore_index is not valid; seen ignore_index=0.5"),
        (X, LABELS, {"ignore_index": None}, ArgumentError, "ignore_index is not valid; seen ignore_index=None"),
        (
            X,
            X,
            {"ignore_index": 1},
            ArgumentError,
            "ignore_index has no meaning for probabilities; seen ignore_index=1",
        ),
    ],
)
def test_bad_input(x, target, options, error, text):
    with pytest.raises(error) as caught:
        cross_entropy.forward(x, target, **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_backward():
    with pytest.raises(ShapeError) as caught:
        cross_entropy.grad_input(np.zeros(4), X, LABELS)
    assert str(caught.value) == "cross_entropy.grad_input: dy does not have the shape of y; seen dy (4,), y ()"
    with pytest.raises(ShapeError, match=r"dy does not have the shape of y; seen dy \(\), y \(4,\)"):
        cross_entropy.grad_input(np.array(1.0), X, LABELS, reduction="none")
    with pytest.raises(
        DTypeError, match=r"cross_entropy\.grad_target: class indices have no gradient; seen target int64"
    ):
        cross_entropy.grad_target(np.array(1.0), X, LABELS)
