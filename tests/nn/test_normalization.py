"""BatchNorm2d: running statistics by hand, modes, options."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn
from minicnn.autograd import Tensor, no_grad
from minicnn.gradcheck import gradcheck

# channel 0 holds 1, 3, 5, 7: mean 4, variance 5, unbiased 20 / 3; channel 1 holds 2 four times
X = np.array([[[[1.0, 3]], [[2, 2]]], [[[5, 7]], [[2, 2]]]], np.float32)


def values(tensor):
    return tensor.array.astype(np.float64)


def test_running_statistics_by_hand():
    layer = nn.BatchNorm2d(2, momentum=0.1)
    layer(Tensor(X))
    assert_close(values(layer.running_mean), np.array([0.4, 0.2]), rtol=1e-6)
    assert_close(values(layer.running_var), np.array([0.9 + 0.1 * 20 / 3, 0.9]), rtol=1e-6)
    layer(Tensor(X))
    assert_close(values(layer.running_mean), np.array([0.36 + 0.4, 0.18 + 0.2]), rtol=1e-6)
    assert_close(values(layer.running_var), np.array([0.81 + 0.19 * 20 / 3, 0.81]), rtol=1e-6)
    assert layer.num_batches_tracked.item() == 2
    assert layer.num_batches_tracked.dtype == np.int64


def test_output_in_training():
    y = nn.BatchNorm2d(2, eps=1e-5)(Tensor(X)).array
    step = 1 / np.sqrt(5 + 1e-5)
    assert_close(y[:, 0].ravel(), (np.array([-3, -1, 1, 3]) * step).astype(np.float32), rtol=1e-6)
    assert_close(y[:, 1], np.zeros((2, 1, 2), np.float32))


def test_output_in_evaluation():
    layer = nn.BatchNorm2d(2, eps=0.25)
    layer.running_mean.array[...] = 1, 2
    layer.running_var.array[...] = 3.75, 0.75
    layer.weight.array[...] = 2, 3
    layer.bias.array[...] = 0, 10
    layer.eval()
    before = {k: v.tobytes() for k, v in layer.state_dict().items()}
    y = layer(Tensor(X)).array
    assert_close(y[:, 0].ravel(), np.array([0, 2, 4, 6], np.float32), rtol=1e-6)
    assert_close(y[:, 1], np.full((2, 1, 2), 10, np.float32))
    assert {k: v.tobytes() for k, v in layer.state_dict().items()} == before


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_extreme_momentum(momentum):
    layer = nn.BatchNorm2d(2, momentum=momentum)
    layer(Tensor(X))
    assert_close(values(layer.running_mean), np.array([4, 2]) * momentum)
    assert_close(values(layer.running_var), np.array([20 / 3, 0]) if momentum else np.ones(2), rtol=1e-6)


def test_statistics_move_without_recording_too():
    """As in PyTorch: only the mode decides."""
    layer = nn.BatchNorm2d(2)
    with no_grad():
        layer(Tensor(X))
    assert layer.num_batches_tracked.item() == 1
    assert layer.running_mean.array[0] > 0


def test_without_affine():
    layer = nn.BatchNorm2d(2, affine=False)
    assert list(layer.state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]
    assert list(layer.parameters()) == []
    assert_close(layer(Tensor(X)).array, nn.BatchNorm2d(2)(Tensor(X)).array)


def test_without_running_statistics():
    """Evaluation normalises by the batch as well."""
    layer = nn.BatchNorm2d(2, track_running_stats=False)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert_close(layer.eval()(Tensor(X)).array, nn.BatchNorm2d(2)(Tensor(X)).array)


def test_first_values():
    state = nn.BatchNorm2d(3).state_dict()
    expected = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    assert {name: set(array.ravel().tolist()) for name, array in state.items()} == {k: {v} for k, v in expected.items()}


@pytest.mark.parametrize("training", [True, False])
def test_gradients_in_both_modes(training):
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm2d(3).double().train(training)
    layer.running_mean.array[...], layer.running_var.array[...] = rng.standard_normal(3), rng.uniform(1, 2, 3)
    layer.weight.array[...] = rng.standard_normal(3)
    parameters = {"weight": layer.weight, "bias": layer.bias}
    assert gradcheck(layer, [rng.standard_normal((3, 3, 2, 2))], parameters=parameters)
