"""Every layer's forward against its operation, and the gradients of every layer."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.backends.random import manual_seed
from minicnn.gradcheck import gradcheck
from minicnn.ops import (
    adaptive_avg_pool2d,
    avg_pool2d,
    batch_norm,
    conv2d,
    conv_transpose2d,
    cross_entropy,
    elementwise,
    linear,
    max_pool2d,
    mse,
    relu,
    softmax,
)

RNG = np.random.default_rng(1)
IMAGES = RNG.standard_normal((2, 4, 7, 6))
VECTORS = RNG.standard_normal((5, 4))
CONV = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}


def weight(layer):
    return layer.weight.array


def bias(layer):
    return None if layer.bias is None else layer.bias.array


def normalised(layer, x):
    mean, var = batch_norm.statistics(x)
    return batch_norm.forward(x, weight(layer), bias(layer), mean, var, eps=layer.eps, training=True)


def test_unflatten_takes_flatten_back():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4))
    assert np.array_equal(nn.Unflatten(1, (3, 4))(nn.Flatten()(x)).array, x.array)
    assert nn.Unflatten(-2, [3, 1])(x).shape == (2, 3, 1, 4)


MAX = {"kernel_size": 3, "stride": 2, "padding": 1}
LAYERS = {
    "conv2d": (
        lambda: nn.Conv2d(4, 6, (3, 2), **CONV),
        lambda m, x: conv2d.forward(x, weight(m), bias(m), **CONV),
        IMAGES,
    ),
    "conv2d without bias": (
        lambda: nn.Conv2d(4, 3, 3, bias=False),
        lambda m, x: conv2d.forward(x, weight(m), None),
        IMAGES,
    ),
    "transposed conv2d": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), output_padding=(1, 0), **CONV),
        lambda m, x: conv_transpose2d.forward(x, weight(m), bias(m), output_padding=(1, 0), **CONV),
        IMAGES,
    ),
    "linear": (lambda: nn.Linear(4, 3), lambda m, x: linear.forward(x, weight(m), bias(m)), VECTORS),
    "linear without bias": (
        lambda: nn.Linear(6, 3, bias=False),
        lambda m, x: linear.forward(x, weight(m), None),
        IMAGES,
    ),
    "max_pool2d": (lambda: nn.MaxPool2d(3, 2, 1), lambda _, x: max_pool2d.forward(x, **MAX)[0], IMAGES),
    "max_pool2d, stride as the kernel": (
        lambda: nn.MaxPool2d(2, ceil_mode=True),
        lambda _, x: max_pool2d.forward(x, kernel_size=2, stride=2, ceil_mode=True)[0],
        IMAGES,
    ),
    "max_pool2d with dilation": (
        lambda: nn.MaxPool2d(2, 1, 1, 2),
        lambda _, x: max_pool2d.forward(x, kernel_size=2, stride=1, padding=1, dilation=2)[0],
        IMAGES,
    ),
    "avg_pool2d": (
        lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        lambda _, x: avg_pool2d.forward(x, **MAX, count_include_pad=False),
        IMAGES,
    ),
    "avg_pool2d, stride as the kernel": (
        lambda: nn.AvgPool2d((2, 3), ceil_mode=True),
        lambda _, x: avg_pool2d.forward(x, kernel_size=(2, 3), stride=(2, 3), ceil_mode=True),
        IMAGES,
    ),
    "adaptive_avg_pool2d": (
        lambda: nn.AdaptiveAvgPool2d((3, 4)),
        lambda _, x: adaptive_avg_pool2d.forward(x, output_size=(3, 4)),
        IMAGES,
    ),
    "batch_norm": (lambda: nn.BatchNorm2d(4, eps=1e-2), normalised, IMAGES),
    "relu": (lambda: nn.ReLU(inplace=True), lambda _, x: relu.forward(x), VECTORS),
    "sigmoid": (nn.Sigmoid, lambda _, x: elementwise.sigmoid_forward(x), VECTORS),
    "tanh": (nn.Tanh, lambda _, x: elementwise.tanh_forward(x), VECTORS),
    "softmax": (lambda: nn.Softmax(1), lambda _, x: softmax.softmax_forward(x, dim=1), IMAGES),
    "flatten": (nn.Flatten, lambda _, x: x.reshape(2, -1), IMAGES),
    "flatten, other axes": (lambda: nn.Flatten(0, 2), lambda _, x: x.reshape(-1, 6), IMAGES),
    "identity": (lambda: nn.Identity(54, unused=0.1), lambda _, x: x, IMAGES),
    "dropout that drops nothing": (lambda: nn.Dropout(0), lambda _, x: x, VECTORS),
    "dropout in evaluation": (lambda: nn.Dropout(0.5).eval(), lambda _, x: x, VECTORS),
}


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_is_the_operation(name, dtype):
    make, expected, x = LAYERS[name]
    layer, x = make(), x.astype(dtype)
    if dtype == np.float64:
        layer.double()
    assert_close(layer(Tensor(x)).array, expected(layer, x), rtol=0, atol=0)


@pytest.mark.parametrize("name", list(LAYERS))
def test_gradients(name):
    make, _, x = LAYERS[name]
    layer = make().double()
    assert gradcheck(layer, [x], parameters=dict(layer.named_parameters()), sample=40)


# ---- losses ---------------------------------------------------------------------------------------------------------

LABELS = np.array([0, 3, 1, 2, 3])
WEIGHT = np.array([1.0, 2, 0.5, 0])


def test_cross_entropy():
    x = Tensor(VECTORS)
    options = {"ignore_index": 3, "reduction": "sum", "label_smoothing": 0.2}
    expected = cross_entropy.forward(VECTORS, LABELS, WEIGHT, **options)
    assert_close(nn.CrossEntropyLoss(weight=WEIGHT, **options)(x, Tensor(LABELS)).array, expected)
    assert_close(nn.CrossEntropyLoss(weight=Tensor(WEIGHT), **options)(x, LABELS).array, expected)
    assert_close(nn.CrossEntropyLoss()(x, LABELS).array, cross_entropy.forward(VECTORS, LABELS))
    shares = softmax.softmax_forward(RNG.standard_normal((5, 4)))
    assert_close(nn.CrossEntropyLoss()(x, Tensor(shares)).array, cross_entropy.forward(VECTORS, shares))


def test_mean_squared_error():
    target = RNG.standard_normal((5, 4))
    for reduction in ("mean", "sum", "none"):
        expected = mse.forward(VECTORS, target, reduction=reduction)
        assert_close(nn.MSELoss(reduction)(Tensor(VECTORS), Tensor(target)).array, expected)


def test_gradients_of_losses():
    loss = nn.CrossEntropyLoss(WEIGHT, ignore_index=3, label_smoothing=0.1)
    assert gradcheck(lambda x: loss(x, LABELS), [VECTORS])
    assert gradcheck(nn.MSELoss("none"), [VECTORS, RNG.standard_normal((5, 4))])


# ---- dropout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_the_share_p(p):
    """Of n elements n p fall, give or take 5 standard deviations; the rest is multiplied by 1 / (1 - p)."""
    manual_seed(0)
    n = 40_000
    y = nn.Dropout(p)(Tensor(np.ones((n // 4, 4), np.float32))).array
    dropped = (y == 0).sum(axis=0)
    assert np.abs(dropped - n / 4 * p).max() < 5 * np.sqrt(n / 4 * p * (1 - p))
    assert np.unique(y).tolist() == [0, np.float32(1 / (1 - p))]


def test_dropout_of_everything():
    x = Tensor(np.ones(9, np.float32), requires_grad=True)
    y = nn.Dropout(1.0)(x)
    assert not y.array.any()
    y.sum().backward()
    assert not x.grad.array.any()


def test_dropout_is_the_same_for_a_seed():
    x, layer = Tensor(np.ones((64, 8), np.float32)), nn.Dropout(0.5)
    manual_seed(7)
    first, second = layer(x).array, layer(x).array
    manual_seed(7)
    assert np.array_equal(layer(x).array, first)
    assert not np.array_equal(first, second)
    manual_seed(8)
    assert not np.array_equal(layer(x).array, first)


def test_dropout_drops_the_gradient_with_the_value():
    x = Tensor(np.ones((64, 8), np.float32), requires_grad=True)
    y = nn.Dropout(0.25)(x)
    y.sum().backward()
    assert_close(x.grad.array, y.array)
    assert (y.array == 0).any()
