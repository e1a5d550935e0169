"""Batch normalisation: by hand; loops against formula; both gradients; running averages; errors."""

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
from minicnn.ops import batch_norm
from minicnn.ops.batch_norm import formula
from minicnn.ops.batch_norm.loops import LANES
from minicnn.ops.registry import algorithm

NAN = np.nan
ALGORITHMS = ("formula", "loops", "vector")
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}

# shapes of x: images, vectors, sequences; one channel, image or place; more places than lanes, by little and by much
SHAPES = [
    (2, 3, 5, 7),
    (1, 1, 3, 1),
    (7, 2, 1, 1),
    (4, 5),
    (3, 2, 11),
    (2, 2, 1, LANES + 1),
    (3, 1, 13, 11),
    (2, 1, 3, 2, 2),
    (3, 33, 31, 30),  # enough for several threads
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(batch_norm=request.param):
        yield request.param


def fitting(shape):
    """Names of the algorithms for x of that shape."""
    return ALGORITHMS if len(shape) == 4 else ALGORITHMS[:2]


def draw(shape, dtype=np.float64, seed=0, shift=3.0):
    """x, weight, bias, dy; and a running mean and variance."""
    rng = np.random.default_rng(seed)
    channels = shape[1]
    x, dy = shift + 2 * rng.standard_normal(shape), rng.standard_normal(shape)
    weight, bias, mean = rng.standard_normal((3, channels))
    return [v.astype(dtype) for v in (x, weight, bias, dy, mean, rng.uniform(0.5, 2, channels))]


def passes(x, weight, bias, dy, mean, var, training, eps=1e-5):
    if training:
        mean, var = batch_norm.statistics(x)
    inv_std = formula.inverse_std(var, eps)
    y = batch_norm.forward(x, weight, bias, mean, var, eps=eps, training=training)
    dx = batch_norm.grad_input(dy, x, weight, mean, inv_std, training=training)
    return mean, var, y, dx, batch_norm.grad_weight(dy, x, mean, inv_std), batch_norm.grad_bias(dy)


def normalise(x, weight, bias, eps=1e-5):
    """On the tape, in training, as a layer does it: for gradient checks the statistics follow x."""
    mean, var = batch_norm.statistics(x.array)
    return apply("batch_norm", x, weight, bias, mean=mean, var=var, eps=eps, training=True)


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_statistics(each_algorithm):
    """1, 3, 5, 7 have mean 4 and variance 5 (divided by 4, not 3)."""
    x = np.array([[[[1.0, 3]], [[2, 2]]], [[[5, 7]], [[2, 2]]]])
    mean, var = batch_norm.statistics(x)
    assert_close(mean, np.array([4.0, 2]))
    assert_close(var, np.array([5.0, 0]))


def test_forward(each_algorithm):
    x = np.array([[1.0], [3], [5], [7]])[..., None, None]
    y = batch_norm.forward(
        x, np.array([10.0]), np.array([1.0]), np.array([4.0]), np.array([5.0]), eps=4.0, training=True
    )
    assert_close(y[:, :, 0, 0], np.array([[-9.0], [1 - 10 / 3], [1 + 10 / 3], [11]]))


def test_eps_stands_inside_the_root(each_algorithm):
    x, zero = np.array([[[[3.0]]]]), np.array([0.0])
    assert_close(batch_norm.forward(x, None, None, zero, zero, eps=0.25, training=False), np.array([[[[6.0]]]]))


def test_without_weight_or_bias(each_algorithm):
    x, weight, bias, dy, _, _ = draw((3, 2, 2, 2))
    mean, var = batch_norm.statistics(x)
    inv_std = formula.inverse_std(var, 1e-5)
    one, nothing = np.ones(2), np.zeros(2)

    def forward(weight, bias):
        return batch_norm.forward(x, weight, bias, mean, var, training=True)

    assert_close(forward(None, None), forward(one, nothing))
    assert_close(forward(weight, None), forward(weight, nothing))
    assert_close(forward(None, bias), forward(one, bias))
    for training in (True, False):
        dx = batch_norm.grad_input(dy, x, None, mean, inv_std, training=training)
        assert_close(dx, batch_norm.grad_input(dy, x, one, mean, inv_std, training=training))


def test_gradient_in_evaluation(each_algorithm):
    """Mean and variance are constants: dx = dy * weight / std, without x."""
    dy, weight, inv_std = np.array([[1.0, 2], [3, 4]])[..., None, None], np.array([10.0, 100]), np.array([0.5, 2])
    dx = batch_norm.grad_input(dy, None, weight, None, inv_std, training=False)
    assert_close(dx[:, :, 0, 0], np.array([[5.0, 400], [15, 800]]))


def test_gradients_of_weight_and_bias(each_algorithm):
    x, dy = (np.array(v)[:, None, None, None] for v in ([1.0, 3, 5], [1.0, 10, 100]))
    mean, inv_std = np.array([3.0]), np.array([0.5])
    assert_close(batch_norm.grad_weight(dy, x, mean, inv_std), np.array([99.0]))
    assert_close(batch_norm.grad_bias(dy), np.array([111.0]))


def test_nan_spoils_its_channel_only(each_algorithm):
    x, weight, bias, dy, _, _ = draw((2, 3, 2, 2))
    x[1, 1, 0, 1] = NAN
    mean, var, y, dx, _, _ = passes(x, weight, bias, dy, None, None, True)
    for found in (mean, var):
        assert np.isnan(found).tolist() == [False, True, False]
    for found in (y, dx):
        assert np.isnan(found[:, 1]).all()
        assert np.isfinite(found[:, ::2]).all()


# ---- what it is for -------------------------------------------------------------------------------------------------


def test_training_output_has_mean_0_and_variance_1(each_algorithm):
    x, *_ = draw((4, 3, 6, 5))
    mean, var = batch_norm.statistics(x)
    y = batch_norm.forward(x, None, None, mean, var, eps=1e-12, training=True)
    assert_close(y.mean(axis=(0, 2, 3)), np.zeros(3), atol=1e-12)
    assert_close(y.var(axis=(0, 2, 3)), np.ones(3))


def test_training_gradient_ignores_shift_and_scale_of_x(each_algorithm):
    """y does not change when a constant is added to a channel or the channel is stretched: dx is orthogonal to both."""
    x, weight, bias, dy, mean, var = draw((4, 3, 5, 2))
    _, _, _, dx, _, _ = passes(x, weight, bias, dy, mean, var, True, eps=1e-12)
    axes = (0, 2, 3)
    assert_close(dx.sum(axis=axes), np.zeros(3), atol=1e-12)
    assert_close((dx * x).sum(axis=axes), np.zeros(3), atol=1e-10)
    assert np.abs(dx).max() > 0.01


def test_terms_of_the_gradient_have_names():
    x, weight, _, dy, _, _ = draw((3, 2, 2, 3))
    mean, var = formula.statistics(x)
    inv_std = formula.inverse_std(var, 1e-5)
    terms = formula.grad_input_terms(dy, x, weight, mean, inv_std, training=True)
    assert list(terms) == ["direct", "through_mean", "through_var"]
    scale = (weight * inv_std)[:, None, None]
    x_hat = (x - mean[:, None, None]) * inv_std[:, None, None]
    mean_dy, mean_dy_x_hat = ((v).mean(axis=(0, 2, 3))[:, None, None] for v in (dy, dy * x_hat))
    assert_close(terms["direct"], scale * dy)
    assert_close(terms["through_mean"], -scale * mean_dy * np.ones_like(x))
    assert_close(terms["through_var"], -scale * mean_dy_x_hat * x_hat)
    assert list(formula.grad_input_terms(dy, None, weight, None, inv_std, training=False)) == ["direct"]


def test_statistics_survive_a_large_mean(each_algorithm):
    """sum(x^2) - mean^2 would lose everything; the difference from the mean does not."""
    noise = np.random.default_rng(0).standard_normal((16, 2, 8, 8))
    x = (1e6 + noise).astype(np.float64)
    mean, var = batch_norm.statistics(x)
    assert_close(mean - 1e6, noise.mean(axis=(0, 2, 3)), rtol=1e-7, atol=1e-9)
    assert_close(var, noise.var(axis=(0, 2, 3)), rtol=1e-7)


def test_float32_statistics_of_many_values():
    """A plain float32 sum over 2^22 values near 100 would be off in the fourth digit."""
    x = np.full((64, 1, 256, 256), 100.1, np.float32)
    x[::2] += 1
    mean, var = batch_norm.statistics(x)
    assert_close(mean, np.array([100.6], np.float32), rtol=1e-6)
    assert_close(var, np.array([0.25], np.float32), rtol=1e-4)


# ---- against other ways of computing it -----------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["loops", "vector"])
def test_compiled_equals_formula(name, shape, dtype, training):
    if name not in fitting(shape):
        return
    arrays = draw(shape, dtype)
    with algorithm(batch_norm="formula"):
        exact = passes(*(v.astype(np.float64) for v in arrays), training)
    with algorithm(batch_norm=name):
        found = passes(*arrays, training)
    for one, other in zip(found, exact, strict=True):
        assert_close(one, other.astype(dtype), rtol=TOLERANCE[np.dtype(dtype)])


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5), st.integers(1, 4), st.lists(st.integers(1, 9), max_size=2), st.booleans(), st.integers(0, 99))
def test_any_shape(n, c, size, training, seed):
    shape = (n, c, *size)
    if training and np.prod(shape) == c:
        shape = (n + 1, c, *size)
    arrays = draw(shape, seed=seed)
    found = []
    for name in fitting(shape):
        with algorithm(batch_norm=name):
            found.append(passes(*arrays, training, eps=0.1))
    for exact, *others in zip(*found, strict=True):
        for other in others:
            assert_close(other, exact, rtol=1e-11)


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

    arrays = draw((2, 3, 4, 5))
    for training in (True, False):
        found = passes(*map(seen, arrays), training)
        for one, other in zip(found, passes(*arrays, training), strict=True):
            assert_close(one, other, rtol=1e-12)


def test_inputs_are_not_written_to(each_algorithm):
    arrays = draw((2, 3, 4, 5))
    before = [x.copy() for x in arrays]
    for training in (True, False):
        passes(*arrays, training)
    for x, kept in zip(arrays, before, strict=True):
        assert np.array_equal(x, kept)


def test_empty_batch_in_evaluation(each_algorithm):
    arrays = draw((0, 3, 4, 4), np.float32)
    _, _, y, dx, dweight, dbias = passes(*arrays, False)
    assert (y.shape, y.dtype) == ((0, 3, 4, 4), np.float32)
    assert (dx.shape, dx.dtype) == ((0, 3, 4, 4), np.float32)
    assert_close(dweight, np.zeros(3, np.float32))
    assert_close(dbias, np.zeros(3, np.float32))


def test_float16_runs_through_the_formula():
    arrays = draw((4, 3, 5, 5), np.float16, shift=0.5)
    found = passes(*arrays, True, eps=1e-2)
    expected = passes(*(v.astype(np.float64) for v in arrays), True, eps=1e-2)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other.astype(np.float16), rtol=1e-2)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_threads_do_not_change_a_bit():
    arrays = draw((9, 35, 23, 17), np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append([v.tobytes() for training in (True, False) for v in passes(*arrays, training)])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- running averages -----------------------------------------------------------------------------------------------


def test_update_running():
    """new = (1 - momentum) old + momentum batch, with the unbiased variance: 5 * 4 / 3."""
    old_mean, old_var = np.array([1.0]), np.array([2.0])
    mean, var = batch_norm.update_running(old_mean, old_var, np.array([4.0]), np.array([5.0]), 4, 0.25)
    assert_close(mean, np.array([0.75 + 1.0]))
    assert_close(var, np.array([1.5 + 0.25 * 20 / 3]))
    assert (old_mean, old_var) == (1, 2)


def test_update_running_momentum():
    old, new = np.zeros(2, np.float32), np.array([1.0, 2], np.float32)
    for momentum, expected in [(0, old), (1, new), (0.1, new * np.float32(0.1))]:
        mean, _ = batch_norm.update_running(old, old, new, new, 10, momentum)
        assert_close(mean, expected, rtol=1e-6)
    assert_close(batch_norm.update_running(old, old, new, new, 10)[0], new * np.float32(0.1), rtol=1e-6)


def test_running_averages_converge_to_the_truth():
    """Many batches of a known distribution: the unbiased variance has no error that stays."""
    rng = np.random.default_rng(0)
    mean, var, variances = np.zeros(1), np.ones(1), []
    for _ in range(4000):
        x = 3 + 2 * rng.standard_normal((3, 1))
        mean, var = batch_norm.update_running(mean, var, *batch_norm.statistics(x), 3, 0.01)
        variances.append(var[0])
    assert abs(np.mean(variances[1000:]) - 4) < 0.2  # the biased one would come to 2.67
    assert abs(mean[0] - 3) < 0.5


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [s for s in SHAPES if np.prod(s) < 80])
def test_gradient_in_training(each_algorithm, shape):
    if each_algorithm not in fitting(shape):
        return
    x, weight, bias, *_ = draw(shape)
    assert gradcheck(normalise, [x, weight, bias])
    assert gradcheck(lambda x: normalise(x, None, None), [x])


def test_gradient_with_a_large_eps(each_algorithm):
    """Where eps counts, dividing by the variance instead of by variance + eps shows."""
    x, weight, bias, *_ = draw((3, 2, 2, 2))
    assert gradcheck(lambda x, w, b: normalise(x, w, b, eps=2.0), [x, weight, bias])


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (3, 2), (1, 2)])
def test_gradient_in_evaluation_mode(each_algorithm, shape):
    if each_algorithm not in fitting(shape):
        return
    x, weight, bias, _, mean, var = draw(shape)
    options = {"mean": mean, "var": var, "eps": 1e-5, "training": False}
    assert gradcheck(lambda x, w, b: apply("batch_norm", x, w, b, **options), [x, weight, bias])
    assert gradcheck(lambda x: apply("batch_norm", x, None, None, **options), [x])


@pytest.mark.parametrize(
    ("needs", "training", "kept"),
    [
        ((True, False, False), True, {"x", "mean", "inv_std", "weight"}),
        ((True, False, False), False, {"inv_std", "weight"}),
        ((False, True, False), True, {"x", "mean", "inv_std"}),
        ((False, True, False), False, {"x", "mean", "inv_std"}),
        ((False, False, True), True, set()),
        ((True, True, True), False, {"x", "mean", "inv_std", "weight"}),
    ],
)
def test_the_tape_saves_what_a_wanted_gradient_needs(needs, training, kept):
    x, weight, bias, dy, mean, var = draw((3, 2, 2, 2))
    _, saved = batch_norm.record(needs, x, weight, bias, mean=mean, var=var, training=training)
    assert {name for name, value in saved.items() if isinstance(value, np.ndarray)} == kept
    assert [g is not None for g in batch_norm.backward(needs, saved, dy)] == list(needs)


def test_on_the_tape():
    x, weight, bias, dy, _, _ = draw((3, 2, 2, 2))
    tensors = [Tensor(v, requires_grad=True) for v in (x, weight, bias)]
    normalise(*tensors).backward(dy)
    _, _, _, *expected = passes(x, weight, bias, dy, None, None, True)
    for tensor, gradient in zip(tensors, expected, strict=True):
        assert_close(tensor.grad.array, gradient)


# ---- errors ---------------------------------------------------------------------------------------------------------


def forward_with(**changes):
    ones = np.ones(3)
    arguments = {"weight": ones, "bias": ones, "mean": ones, "var": ones, "training": True, **changes}
    x = arguments.pop("x", np.zeros((2, 3, 4, 4)))
    weight, bias, mean, var = (arguments.pop(name) for name in ("weight", "bias", "mean", "var"))
    return batch_norm.forward(x, weight, bias, mean, var, **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"x": np.zeros(3)}, ShapeError, "batch_norm: x must have at least 2 axes; seen x (3,); rule: x: (N, C, ...)"),
        ({"x": np.zeros((2, 3, 0, 4))}, ShapeError, "x has an empty axis; seen x (2, 3, 0, 4)"),
        (
            {"weight": np.ones(4)},
            ShapeError,
            "weight does not fit the channels; seen weight (4,), images (2, 3, 4, 4); rule: weight: (C,)",
        ),
        ({"bias": np.ones((1, 3))}, ShapeError, "bias does not fit the channels"),
        ({"mean": np.ones(1)}, ShapeError, "mean does not fit the channels"),
        ({"var": np.ones(2)}, ShapeError, "var does not fit the channels"),
        (
            {"x": np.zeros((1, 3, 1, 1))},
            ShapeError,
            "batch_norm: training needs more than one value per channel; seen shape (1, 3, 1, 1); rule: N * H * W >= 2",
        ),
        ({"x": np.zeros((0, 3, 4, 4))}, ShapeError, "training needs more than one value per channel"),
        ({"eps": 0}, ArgumentError, "eps is not valid; seen eps=0; rule: a number > 0"),
        ({"eps": NAN}, ArgumentError, "eps is not valid; seen eps=nan"),
        ({"eps": "1e-5"}, ArgumentError, "eps is not valid"),
        ({"training": 1}, ArgumentError, "training is not valid; seen 1; rule: True or False"),
        ({"x": np.zeros((2, 3, 4, 4), np.int32)}, DTypeError, "x has a dtype that is not floating point; seen x int32"),
        ({"mean": np.ones(3, np.float32)}, DTypeError, "x and mean have different dtypes"),
        ({"mean": None}, ArgumentError, "mean is missing"),
    ],
)
def test_bad_input(changes, error, text):
    with pytest.raises(error) as caught:
        forward_with(**changes)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_value_is_enough_in_evaluation():
    assert forward_with(x=np.full((1, 3, 1, 1), 1.0), training=False).tolist() == [[[[1.0]], [[1.0]], [[1.0]]]]


def test_bad_statistics():
    with pytest.raises(ShapeError, match=r"batch_norm\.statistics: no value per channel"):
        batch_norm.statistics(np.zeros((0, 3, 2, 2)))
    with pytest.raises(ShapeError, match=r"batch_norm\.statistics: x must have at least 2 axes"):
        batch_norm.statistics(np.zeros(3))


def test_bad_update_running():
    one = np.ones(2)
    with pytest.raises(ShapeError, match="training needs more than one value per channel; seen 1 values"):
        batch_norm.update_running(one, one, one, one, 1)
    with pytest.raises(ArgumentError, match=r"momentum is not valid; seen momentum=1\.5; rule: from 0 to 1"):
        batch_norm.update_running(one, one, one, one, 8, 1.5)
    with pytest.raises(ShapeError, match="the statistics have different shapes; seen running_mean"):
        batch_norm.update_running(one, one, one, np.ones(3), 8)


def test_bad_backward():
    x, weight, _, dy, mean, var = draw((2, 3, 4, 4))
    with pytest.raises(ShapeError, match=r"batch_norm\.grad_input: dy does not have the shape of x"):
        batch_norm.grad_input(dy[:1], x, weight, mean, var, training=True)
    with pytest.raises(ArgumentError, match=r"batch_norm\.grad_input: x is missing; seen x=None"):
        batch_norm.grad_input(dy, None, weight, mean, var, training=True)
    with pytest.raises(ShapeError, match="inv_std does not fit the channels"):
        batch_norm.grad_input(dy, x, weight, mean, var[:2], training=False)
    with pytest.raises(ShapeError, match=r"batch_norm\.grad_weight: dy does not have the shape of x"):
        batch_norm.grad_weight(dy, x[:, :, :2], mean, var)
    with pytest.raises(ShapeError, match=r"batch_norm\.grad_bias: dy must have at least 2 axes"):
        batch_norm.grad_bias(mean)
