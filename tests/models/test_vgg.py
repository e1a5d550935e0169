"""VGG-16: names, shapes and counts of torchvision; that it computes, learns, and comes back from a file."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import models, nn, weights
from minicnn.autograd import Tensor
from minicnn.errors import WeightsError

CONVOLUTIONS = {  # torchvision's vgg16: number of the layer in `features`, and its channels
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    17: (256, 512),
    19: (512, 512),
    21: (512, 512),
    24: (512, 512),
    26: (512, 512),
    28: (512, 512),
}
LINEAR = {0: (512 * 7 * 7, 4096), 3: (4096, 4096), 6: (4096, 1000)}


def images(n=2, size=32):
    return Tensor(np.random.default_rng(0).standard_normal((n, 3, size, size)).astype(np.float32))


@pytest.fixture(scope="module")
def small():
    minicnn.manual_seed(0)
    return models.vgg16(num_classes=5, width=1).eval()


def test_vgg16_is_torchvisions():
    expected = {}
    for i, (c, k) in CONVOLUTIONS.items():
        expected |= {f"features.{i}.weight": (k, c, 3, 3), f"features.{i}.bias": (k,)}
    for i, (inputs, outputs) in LINEAR.items():
        expected |= {f"classifier.{i}.weight": (outputs, inputs), f"classifier.{i}.bias": (outputs,)}
    model = models.vgg16()
    assert {name: p.shape for name, p in model.named_parameters()} == expected
    assert list(model.state_dict()) == list(expected)
    assert sum(p.numel() for p in model.parameters()) == 138_357_544


def test_output_is_its_formula(small):
    y = x = images()
    for i in range(31):
        layer = small.features[i]
        if i in CONVOLUTIONS:
            y = nn.functional.relu(nn.functional.conv2d(y, layer.weight, layer.bias, padding=1))
        elif i in (4, 9, 16, 23, 30):
            y = nn.functional.max_pool2d(y, 2)
    y = nn.functional.adaptive_avg_pool2d(y, 7).reshape(2, -1)
    for i in LINEAR:
        layer = small.classifier[i]
        y = nn.functional.linear(y, layer.weight, layer.bias)
        y = nn.functional.relu(y) if i < 6 else y
    assert y.shape == (2, 5)
    assert float(abs(y.array).max()) > 0
    assert_close(small(x).array, y.array, rtol=1e-5, atol=1e-6)


def test_every_parameter_gets_a_gradient():
    minicnn.manual_seed(0)
    model = models.VGG(num_classes=3, width=2, dropout=0.0)
    nn.functional.cross_entropy(model(images()), np.array([0, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert np.isfinite(parameter.grad.array).all(), name
    assert any(abs(p.grad.array).max() > 0 for name, p in model.named_parameters() if name.startswith("features.0"))


def test_dropout_is_for_training(small):
    x = images()
    assert np.array_equal(small(x).array, small(x).array)
    small.train()
    try:
        assert not np.array_equal(small(x).array, small(x).array)
    finally:
        small.eval()


def test_from_a_file(small, tmp_path):
    path = tmp_path / "vgg.h5"
    info = weights.WeightsInfo("vgg16", {"num_classes": 5, "width": 1}, classes=list("abcde"), input_size=32)
    weights.save(path, small.state_dict(), info)
    loaded = models.vgg16(weights=path).eval()
    assert np.array_equal(loaded(images()).array, small(images()).array)
    other = models.vgg16(num_classes=2, weights=path)
    assert other(images()).shape == (2, 2)
    assert [name for name, *_ in other.load_report.replaced] == ["classifier.6.weight", "classifier.6.bias"]
    with pytest.raises(WeightsError, match="another architecture"):
        models.resnet18(weights=path)


def test_a_file_that_claims_more_than_it_holds(small, tmp_path):
    path = tmp_path / "vgg.h5"
    info = weights.WeightsInfo("vgg16", {"num_classes": 5, "width": 512}, classes=list("abcde"), input_size=32)
    weights.save(path, small.state_dict(), info)
    with pytest.raises(WeightsError, match="arguments do not fit its weights"):
        models.vgg16(weights=path)
