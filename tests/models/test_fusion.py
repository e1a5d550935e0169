"""Fused networks give what the networks give, and leave them as they were."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError, ShapeError
from minicnn.nn import functional as F  # noqa: N812


def lively(model, seed=0):
    """Statistics and scales that are not those of a new network."""
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            c = module.num_features
            module.running_mean.array[:] = rng.normal(0, 0.2, c)
            module.running_var.array[:] = rng.uniform(0.5, 1.5, c)
            if module.affine:
                module.weight.array[:] = rng.uniform(0.5, 1.5, c)
                module.bias.array[:] = rng.normal(0, 0.2, c)
    return model


def both(model, shape):
    x = Tensor(np.random.default_rng(1).standard_normal(shape).astype(np.float32))
    fused = minicnn.fuse(model)(x).array
    model.eval()
    with no_grad():
        right = model(x).array
    assert np.isfinite(right).all()
    assert np.abs(fused - right).max() < 2e-5 * np.abs(right).max()
    return minicnn.fuse(model), x


class Residual(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1, bias=False)
        self.bn, self.order = nn.BatchNorm2d(6), order

    def forward(self, x):
        a, b = self.bn(self.a(x)), self.b(x)
        return F.relu(a + b if self.order else b + a)


class Twice(nn.Module):
    """The convolution's result is used before and after the normalisation: nothing may be folded away."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) + y * 2.0


@pytest.mark.parametrize("size", [32, 33])
def test_resnet(size):
    fused, x = both(lively(models.resnet18(num_classes=7, width=16, stem="small")), (3, 3, size, size))
    steps = fused.steps(x)
    assert sum("conv2d" in step for step in steps) == 20
    assert not any(step.startswith(("batch_norm", "relu", "add")) for step in steps)


def test_other_networks():
    both(models.cnn(num_classes=5, image_size=16), (2, 3, 16, 16))
    both(lively(Residual(True)), (2, 4, 9, 7))
    both(lively(Residual(False)), (1, 4, 5, 5))
    fused, x = both(lively(Twice()), (2, 4, 8, 8))
    assert "batch_norm" in " ".join(fused.steps(x))
    groups = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1))
    both(lively(groups), (2, 4, 8, 8))
    plain = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8, affine=False), nn.Sigmoid(), nn.Flatten())
    both(lively(plain), (2, 4, 8, 8))


def test_the_network_stays_as_it_was():
    model = lively(models.resnet18(num_classes=3, width=16, stem="small"))
    model.train()
    model.layer1.freeze()
    before = model.state_dict()
    modes = [module.training for module in model.modules()]
    fused = minicnn.fuse(model)
    fused(minicnn.randn(1, 3, 32, 32))
    assert modes == [module.training for module in model.modules()]
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
    assert list(fused.parameters()) == []
    assert minicnn.fuse(fused) is fused


def test_results_of_one_call_survive_the_next():
    fused = minicnn.fuse(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()))
    x = minicnn.randn(2, 3, 8, 8)
    first = fused(x)
    kept = first.array.copy()
    fused(minicnn.randn(2, 3, 8, 8))
    np.testing.assert_array_equal(first.array, kept)
    np.testing.assert_array_equal(fused(x).array, kept)


def test_nan_travels():
    fused = minicnn.fuse(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()))
    x = np.zeros((1, 3, 8, 8), np.float32)
    x[0, 1, 3, 3] = np.nan
    assert np.isnan(fused(Tensor(x)).array[0, :, 2:5, 2:5]).all()


def test_what_cannot_be_fused():
    with pytest.raises(ArgumentError, match="not a network"):
        minicnn.fuse(3)

    class Constant(nn.Module):
        def forward(self, x):
            return Tensor(np.zeros(3))

    with pytest.raises(ArgumentError, match="does not come from its operations"):
        minicnn.fuse(Constant())(minicnn.randn(1, 3, 4, 4))
    with pytest.raises(ShapeError):
        minicnn.fuse(models.cnn())(minicnn.randn(1, 1, 32, 32))


class Statistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        return self.bn(x)


class Detached(nn.Module):
    def forward(self, x):
        return F.relu(x) + Tensor(x.array * 2)


class Dropped(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = minicnn.fuse(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)))

    def forward(self, x):
        return F.relu(x) + self.part(x)


@pytest.mark.parametrize("network", [Statistics, Detached, Dropped, Inner])
def test_what_depends_on_the_values_is_refused(network):
    minicnn.manual_seed(0)
    with pytest.raises(ArgumentError, match=r"^fuse: what the network does to images depends on their values"):
        minicnn.fuse(network())(minicnn.randn(2, 3, 6, 6))


class Computed(nn.Module):
    """The scale of the normalisation comes from an operation."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        y, bn = self.conv(x), self.bn
        mean, var = bn.running_mean, bn.running_var
        return F.batch_norm(y, mean, var, bn.weight + 1.0, bn.bias, training=False, eps=bn.eps)


class Sums(nn.Module):
    """Sums and maxima of the images themselves, which are no `Images`, and of means."""

    def forward(self, x):
        y = F.relu(x) + x
        return F.max_pool2d(y, 2), F.adaptive_avg_pool2d(y, 1) + F.adaptive_avg_pool2d(x, 1)


class Second(Sums):
    def forward(self, x):
        return super().forward(x)[1]


class First(Sums):
    def forward(self, x):
        return super().forward(x)[0]


@pytest.mark.parametrize("network", [Computed, First, Second])
def test_unusual_networks(network):
    minicnn.manual_seed(0)
    model = lively(network())
    fused, x = both(model, (2, 3, 6, 6))
    for factor in (2.0, -3.0):
        images = Tensor(x.array * np.float32(factor))
        with no_grad():
            np.testing.assert_allclose(fused(images).array, model(images).array, rtol=1e-4, atol=1e-5)


def test_in_float64_the_plainest_algorithm_runs():
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)).double()
    assert "(direct)" in minicnn.fuse(model).steps(Tensor(np.zeros((1, 64, 28, 28))))[0]


def test_a_trace_in_another_thread_leaves_the_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = model[1].running_mean.array.copy()
    fused = minicnn.fuse(model)
    threads = [threading.Thread(target=fused, args=(minicnn.zeros(1, 3, size, size),)) for size in range(4, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(module.training for module in model.modules())
    np.testing.assert_array_equal(model[1].running_mean.array, before)
