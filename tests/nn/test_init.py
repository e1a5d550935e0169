"""Initial values: bounds, variances, and the same bits for a seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minicnn import models, nn
from minicnn.autograd import Tensor
from minicnn.backends.random import manual_seed
from minicnn.errors import ArgumentError


@pytest.fixture(autouse=True)
def _seed():
    manual_seed(0)


def uniform_in(array, bound):
    """All inside the bound, filling it, with mean 0 and variance bound^2 / 3 (within 5 standard errors)."""
    n = array.size
    assert np.abs(array).max() <= bound * (1 + 1e-6)
    assert np.abs(array).max() > bound * (1 - 10 / n)
    assert abs(array.mean()) < 5 * bound / math.sqrt(3 * n)
    assert abs(array.var() / (bound**2 / 3) - 1) < 5 * math.sqrt(0.8 / n)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: nn.Linear(300, 200), 300),
        (lambda: nn.Conv2d(16, 64, (5, 3)), 16 * 15),
        (lambda: nn.Conv2d(16, 64, 3, groups=4), 4 * 9),
        (lambda: nn.ConvTranspose2d(64, 16, 3, groups=4), 4 * 9),
    ],
)
def test_linear_and_convolution(layer, fan_in):
    made = layer()
    uniform_in(made.weight.array.astype(np.float64), 1 / math.sqrt(fan_in))
    assert made.weight.dtype == made.bias.dtype == np.float32
    bias = made.bias.array
    assert np.abs(bias).max() <= 1 / math.sqrt(fan_in) * (1 + 1e-6)
    assert bias.std() > 0.3 / math.sqrt(fan_in)


def test_a_seed_gives_the_same_bits():
    first = nn.Conv2d(3, 8, 3).state_dict()
    other = nn.Conv2d(3, 8, 3).state_dict()
    manual_seed(0)
    again = nn.Conv2d(3, 8, 3).state_dict()
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert not np.array_equal(first["weight"], other["weight"])


def test_reset_parameters():
    layer = nn.Linear(50, 40)
    before = layer.state_dict()
    layer.reset_parameters()
    after = layer.state_dict()
    assert not np.array_equal(before["weight"], after["weight"])
    assert not np.array_equal(before["bias"], after["bias"])


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 20 * 9), ("fan_out", 60 * 9)])
def test_kaiming_normal(mode, fan):
    w = nn.init.kaiming_normal_(Tensor(np.empty((60, 20, 3, 3))), mode).array
    assert abs(w.var() / (2 / fan) - 1) < 5 * math.sqrt(2 / w.size)
    assert abs(w.mean()) < 5 * math.sqrt(2 / fan / w.size)
    kurtosis = (w**4).mean() / w.var() ** 2
    assert abs(kurtosis - 3) < 0.3  # normal, not uniform (1.8)


def test_default_fan():
    """As in PyTorch: fan_in."""
    first = nn.init.kaiming_normal_(Tensor(np.empty((6, 2)))).array
    manual_seed(0)
    assert np.array_equal(first, nn.init.kaiming_normal_(Tensor(np.empty((6, 2))), "fan_in").array)


@pytest.mark.parametrize(("shape", "mode"), [((3, 3), "fan_avg"), ((3,), "fan_in")])
def test_unknown_fan(shape, mode):
    with pytest.raises(ArgumentError, match=r"^kaiming_normal_: no fan of that kind; seen mode=.*rule: 'fan_in' or"):
        nn.init.kaiming_normal_(Tensor(np.ones(shape)), mode)


def test_uniform():
    w = nn.init.uniform_(Tensor(np.empty(10_000)), -1, 3).array
    uniform_in(w - 1, 2)
    assert 0 <= nn.init.uniform_(Tensor(np.empty(100))).array.min() < 1


def test_zeros_and_ones():
    p = nn.Parameter(np.full((2, 3), 7, np.float32))
    assert nn.init.ones_(p) is p
    assert p.array.tolist() == [[1] * 3] * 2
    assert nn.init.zeros_(p).array.tolist() == [[0] * 3] * 2


def test_resnet():
    """Convolutions as He et al. (fan_out), batch norms as identities, the head as any linear layer."""
    net = models.resnet18(50, width=32)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            k, _, r, s = module.weight.shape
            w = module.weight.array.astype(np.float64)
            assert abs(w.var() / (2 / (k * r * s)) - 1) < 6 * math.sqrt(2 / w.size), name
        if isinstance(module, nn.BatchNorm2d):
            assert set(module.weight.array) == {1}
            assert set(module.bias.array) == {0}
    uniform_in(net.fc.weight.array.astype(np.float64), 1 / math.sqrt(256))
