"""Batch normalisation, a sum and ReLU in one: vector against formula; gradients; errors."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from compare import assert_close

from minicnn import nn
from minicnn.autograd import Tensor, apply, no_grad
from minicnn.backends.images import Images
from minicnn.errors import ArgumentError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import batch_norm, batch_norm_relu, relu
from minicnn.ops.batch_norm import formula as batch_norm_formula
from minicnn.ops.batch_norm_relu import formula, vector
from minicnn.ops.registry import algorithm, operation

F = nn.functional
ALGORITHMS = ("formula", "vector")
TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-11}

LARGE = (3, 33, 31, 30)  # enough for several threads
# one image, one channel, one row, one column; channels that fill a vector, and that need a second one
SHAPES = [(2, 3, 5, 7), (1, 1, 3, 1), (1, 17, 1, 6), (7, 2, 1, 1), (3, 1, 13, 11), (2, 16, 4, 4), (2, 33, 9, 3), LARGE]
TRAINING = pytest.mark.parametrize("training", [True, False])
RESIDUAL = pytest.mark.parametrize("with_residual", [True, False])


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(batch_norm_relu=request.param):
        yield request.param


def draw(shape, dtype=np.float64, seed=0):
    """x, residual, dy, weight, bias, mean, var"""
    rng = np.random.default_rng(seed)
    many = shape[1]
    x, residual, dy = 0.5 + rng.standard_normal((3, *shape))
    weight, bias, mean = rng.standard_normal((3, many))
    return [v.astype(dtype) for v in (x, residual, dy, weight, bias, mean, rng.uniform(0.5, 2, many))]


def passes(x, residual, dy, weight, bias, mean, var, training, y=None):
    """y, dx, dweight, dbias, dresidual; backward from `y`, if given, so that all take the same side of the corner"""
    if training:
        mean, var = batch_norm.statistics(x)
    found = batch_norm_relu.forward(x, weight, bias, residual, mean, var, training=training)
    inv_std = batch_norm_formula.inverse_std(var, 1e-5)
    needs = (True, weight is not None, bias is not None, residual is not None)
    y = found if y is None else y
    return found, *batch_norm_relu.grad(dy, y, x, weight, mean, inv_std, training=training, needs=needs)


# ---- against the three operations -----------------------------------------------------------------------------------


def test_by_hand(each_algorithm):
    """x_hat is -1 and 1, times 10, plus 1, plus the residual."""
    x = np.array([[[[2.0, 6.0]]]])
    one = np.ones(1)
    arguments = (x, 10 * one, one, np.array([[[[9.5, -1.0]]]]), 4 * one, 3 * one)
    y = batch_norm_relu.forward(*arguments, eps=1.0, training=False)
    assert_close(y, np.array([[[[0.5, 10.0]]]]))
    dx, dweight, dbias, dresidual = batch_norm_relu.grad(
        np.array([[[[3.0, 5.0]]]]), np.array([[[[0.0, 10.0]]]]), x, 10 * one, 4 * one, 0.5 * one, training=False
    )
    assert_close(dx, np.array([[[[0.0, 25.0]]]]))
    assert_close(dweight, np.array([5.0]))
    assert_close(dbias, np.array([5.0]))
    assert_close(dresidual, np.array([[[[0.0, 5.0]]]]))


@TRAINING
@RESIDUAL
def test_equals_three_operations(each_algorithm, with_residual, training):
    x, residual, dy, weight, bias, mean, var = draw((3, 5, 4, 7))
    y, dx, dweight, dbias, dresidual = passes(
        x, residual if with_residual else None, dy, weight, bias, mean, var, training
    )
    if training:
        mean, var = batch_norm.statistics(x)
    inv_std = batch_norm_formula.inverse_std(var, 1e-5)
    z = batch_norm.forward(x, weight, bias, mean, var, training=training) + (residual if with_residual else 0)
    dz = relu.grad_input(dy, y)
    assert_close(y, relu.forward(z), rtol=1e-11)
    assert_close(dx, batch_norm.grad_input(dz, x, weight, mean, inv_std, training=training), rtol=1e-11)
    assert_close(dweight, batch_norm.grad_weight(dz, x, mean, inv_std), rtol=1e-11)
    assert_close(dbias, batch_norm.grad_bias(dz), rtol=1e-11)
    if with_residual:
        assert_close(dresidual, dz)
    else:
        assert dresidual is None


@TRAINING
@RESIDUAL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_vector_equals_formula(shape, dtype, with_residual, training):
    arrays = draw(shape, dtype)
    if not with_residual:
        arrays[1] = None
    with algorithm(batch_norm_relu="vector"):
        found = passes(*arrays, training)
    y = found[0].astype(np.float64)
    with algorithm(batch_norm_relu="formula", batch_norm="formula"):
        exact = passes(*(None if v is None else v.astype(np.float64) for v in arrays), training, y)
    for one, other in zip(found, exact, strict=True):
        if other is None:
            assert one is None
        else:
            assert_close(one, other.astype(dtype), rtol=TOLERANCE[np.dtype(dtype)])


def test_without_weight_and_bias(each_algorithm):
    x, residual, dy, *_ = draw((2, 3, 4, 5))
    one, nothing = np.ones(3), np.zeros(3)
    y, dx, dweight, dbias, _ = passes(x, residual, dy, None, None, None, None, True)
    assert dweight is None
    assert dbias is None
    other_y, other_dx, *_ = passes(x, residual, dy, one, nothing, None, None, True)
    assert_close(y, other_y)
    assert_close(dx, other_dx, rtol=1e-12)


@TRAINING
def test_nan_travels_as_in_formula(training):
    arrays = draw((2, 3, 2, 3))
    arrays[0][1, 1, 0, 1] = np.nan
    arrays[1][0, 2, 1, 1] = np.nan
    arrays[2][1, 0, 1, 0] = np.nan
    found = []
    for name in ALGORITHMS:
        with algorithm(batch_norm_relu=name):
            found.append(passes(*arrays, training))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(np.isnan(one), np.isnan(other))
        assert_close(one, other, rtol=1e-11, nan_ok=True)
    y = found[0][0]
    assert np.isnan(y[:, 1]).all() if training else np.isnan(y[1, 1, 0, 1])


# ---- arrays ---------------------------------------------------------------------------------------------------------


@TRAINING
@pytest.mark.parametrize("view", ["every second", "negative strides", "transposed", "read only", "images"])
def test_any_strides(each_algorithm, view, training):
    def seen(base):
        if view == "every second":
            return np.repeat(base, 2, axis=-1)[..., ::2]
        if view == "negative strides":
            return base[..., ::-1].copy()[..., ::-1]
        if view == "transposed":
            return np.ascontiguousarray(base.T).T
        if view == "images" and base.ndim == 4:
            return Images.of(base).array
        frozen = base.copy()
        frozen.flags.writeable = False
        return frozen

    arrays = draw((2, 3, 4, 5))
    for one, other in zip(passes(*map(seen, arrays), training), passes(*arrays, training), strict=True):
        assert_close(one, other, rtol=1e-12)


@TRAINING
def test_inputs_are_not_written_to(each_algorithm, training):
    arrays = [Images.of(v).array if v.ndim == 4 else v for v in draw((2, 3, 4, 5))]
    before = [v.copy() for v in arrays]
    passes(*arrays, training)
    passes(arrays[0], None, *arrays[2:], training)
    for v, kept in zip(arrays, before, strict=True):
        assert np.array_equal(v, kept)


@TRAINING
def test_results_keep_the_border_and_the_spare_channels_zero(training):
    for result in passes(*draw((2, 3, 5, 6), np.float32), training):
        if result.ndim == 4:
            images = Images.behind(result)
            assert np.count_nonzero(images.flat) == np.count_nonzero(result)


def test_empty_batch_in_evaluation(each_algorithm):
    y, dx, dweight, dbias, dresidual = passes(*draw((0, 3, 4, 4), np.float32), False)
    assert y.shape == dx.shape == dresidual.shape == (0, 3, 4, 4)
    assert_close(dweight, np.zeros(3, np.float32))
    assert_close(dbias, np.zeros(3, np.float32))


def test_vectors_and_float16_run_through_the_formula():
    op = operation("batch_norm_relu")
    for array in (np.zeros((4, 3)), np.zeros((4, 3, 2, 2), np.float16)):
        assert op.pick(op.problem("forward", (array,), {})).name == "formula"
    found = passes(*draw((6, 3)), True)
    assert found[1].shape == (6, 3)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@RESIDUAL
def test_threads_do_not_change_a_bit(with_residual):
    arrays = draw((9, 35, 23, 17), np.float32)
    if not with_residual:
        arrays[1] = None
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            found = [v for training in (True, False) for v in passes(*arrays, training)]
            results.append([v.tobytes() for v in found if v is not None])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- the tape -------------------------------------------------------------------------------------------------------


def on_tape(x, weight=None, bias=None, residual=None):
    mean, var = batch_norm.statistics(x.array)
    return apply("batch_norm_relu", x, weight, bias, residual, mean=mean, var=var, training=True)


@pytest.mark.parametrize("shape", [(2, 3, 3, 5), (1, 1, 3, 1), (2, 17, 1, 1)])
def test_gradient_in_training(each_algorithm, shape):
    x, residual, _, weight, bias, *_ = draw(shape, seed=1)
    assert gradcheck(on_tape, [x, weight, bias, residual])
    assert gradcheck(on_tape, [x, weight, bias])
    assert gradcheck(on_tape, [x])


def test_gradient_in_evaluation(each_algorithm):
    x, residual, _, weight, bias, mean, var = draw((2, 3, 3, 4))

    def evaluate(x, weight, bias, residual=None):
        return apply("batch_norm_relu", x, weight, bias, residual, mean=mean, var=var, training=False)

    assert gradcheck(evaluate, [x, weight, bias, residual])
    assert gradcheck(evaluate, [x, weight, bias])


@TRAINING
@pytest.mark.parametrize("number", range(16))
def test_only_what_is_wanted(each_algorithm, number, training):
    """Every choice of gradients: those are right, the others None, and nothing is saved that none of them uses."""
    needs = tuple(bool(number >> i & 1) for i in range(4))
    x, residual, dy, weight, bias, mean, var = draw((2, 3, 4, 5))
    if training:
        mean, var = batch_norm.statistics(x)
    options = {"mean": mean, "var": var, "training": training}
    _, everything = batch_norm_relu.record((True,) * 4, x, weight, bias, residual, **options)
    expected = batch_norm_relu.backward((True,) * 4, everything, dy)
    _, saved = batch_norm_relu.record(needs, x, weight, bias, residual, **options)
    with_x = needs[1] or (needs[0] and training)
    assert (saved["y"] is not None) == any(needs)
    assert (saved["x"] is not None) == (saved["mean"] is not None) == with_x
    assert (saved["inv_std"] is not None) == (needs[0] or needs[1])
    for need, found, wanted in zip(needs, batch_norm_relu.backward(needs, saved, dy), expected, strict=True):
        if need:
            assert_close(found, wanted, rtol=1e-12)
        else:
            assert found is None


# ---- the layer ------------------------------------------------------------------------------------------------------


@TRAINING
@RESIDUAL
def test_layer(with_residual, training):
    """Output, gradients and running statistics equal those of the layer, +, and relu."""
    x, residual, dy, weight, bias, *_ = draw((3, 4, 5, 6), np.float32)
    results = []
    for fused in (True, False):
        layer = nn.BatchNorm2d(4).train(training)
        layer.weight.array[...], layer.bias.array[...] = weight, bias
        a, r = Tensor(x, requires_grad=True), Tensor(residual, requires_grad=True)
        if fused:
            y = layer(a, relu=True, residual=r if with_residual else None)
        else:
            y = F.relu(layer(a) + r) if with_residual else F.relu(layer(a))
        y.backward(dy)
        grads = [t.grad.array for t in (a, layer.weight, layer.bias, *([r] if with_residual else []))]
        results.append([y.array, *grads, *layer.state_dict().values()])
    for one, other in zip(*results, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_nothing_is_recorded_without_gradients():
    layer = nn.BatchNorm2d(3)
    with no_grad():
        y = layer(Tensor(draw((2, 3, 4, 4), np.float32)[0]), relu=True)
    assert y.node is None


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_errors():
    x, residual, dy, weight, bias, mean, var = draw((2, 3, 4, 5))
    with pytest.raises(ShapeError, match="residual does not have the shape of x"):
        batch_norm_relu.forward(x, weight, bias, residual[:1], mean, var, training=False)
    with pytest.raises(ArgumentError, match="mean is missing"):
        batch_norm_relu.forward(x, weight, bias, residual, None, var, training=False)
    with pytest.raises(ArgumentError, match="eps is not valid"):
        batch_norm_relu.forward(x, weight, bias, residual, mean, var, eps=0, training=False)
    with pytest.raises(ArgumentError, match="x is missing"):
        batch_norm_relu.grad(dy, x, None, weight, mean, var, training=True)
    with pytest.raises(ShapeError, match="more than one value"):
        batch_norm_relu.forward(x[:1, :, :1, :1], weight, bias, None, mean, var, training=True)
    with pytest.raises(ArgumentError, match="a residual needs relu"):
        nn.BatchNorm2d(3)(Tensor(x), residual=Tensor(residual))
    with pytest.raises(ArgumentError, match="evaluation needs running statistics"):
        F.batch_norm_relu(Tensor(x), None, None)


def test_gradients_of_plain_arrays_without_sums():
    """Copies into images must live until the kernel has read them."""
    rng = np.random.default_rng(0)
    for shape in ((2, 3, 5, 7), (4, 16, 20, 20)):
        y, dy = np.maximum(rng.standard_normal(shape), 0), rng.standard_normal(shape)
        weight, mean, inv_std = (rng.uniform(0.5, 1.5, shape[1]) for _ in range(3))
        needs = (True, False, False, True)
        found = vector.grad(dy, y, None, weight, mean, inv_std, training=False, needs=needs)
        right = formula.grad(dy, y, None, weight, mean, inv_std, training=False, needs=needs)
        for one, other in zip(found, right, strict=True):
            assert_close(one, other, rtol=1e-12)
