"""Where an error says it arose: the path of the layer, as seen from the module that was called."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import models, nn
from minicnn.autograd import Tensor
from minicnn.errors import DTypeError, MinicnnError, ShapeError


def images(channels=3, size=5, dtype=np.float32):
    return Tensor(np.ones((2, channels, size, size), dtype))


def net():
    return nn.Sequential({"conv": nn.Conv2d(3, 2, 3), "norm": nn.BatchNorm2d(2)})


def message(call, *arguments):
    with pytest.raises(MinicnnError) as caught:
        call(*arguments)
    return str(caught.value)


def test_path_in_a_real_network():
    model = models.resnet18(10, width=4)
    model.layer1[0].conv1 = nn.Conv2d(8, 4, 3, padding=1)
    assert message(model, images(3, 32)) == (
        "layer1.0.conv1: conv2d: the channels of x and w differ; seen x (2, 4, 8, 8), w (4, 8, 3, 3), groups 1; "
        "rule: C = w.shape[1] * groups; hint: give 8 channels"
    )
    model = models.resnet18(10, width=4)
    model.layer3[0].downsample[1] = nn.BatchNorm2d(5)
    assert message(model, images(3, 32)).startswith(
        "layer3.0.downsample.1: BatchNorm2d: the input does not fit; seen x"
    )
    model = models.resnet18(10, width=4)
    model.fc = nn.Linear(33, 10)
    assert message(model, images(3, 32)).startswith("fc: linear: ")
    assert message(models.resnet18(10, width=4), images(1, 32)).startswith("conv1: conv2d: the channels of x and w")


def test_path_in_containers():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.branches = nn.ModuleList([nn.Linear(3, 2), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))])

        def forward(self, x):
            return self.branches[0](x) + self.branches[1](x)

    x = Tensor(np.ones((1, 3), np.float32))
    assert message(Branches(), x).startswith("branches.1.1: linear: ")
    assert message(nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 1))), x).startswith("1.1: lin")
    assert message(nn.Linear(4, 4), x).startswith("linear: ")


def test_path_of_a_module_that_calls_an_operation_itself():
    class Inner(nn.Module):
        def forward(self, x):
            return x.reshape(7, 7)

    assert message(nn.Sequential(nn.ReLU(), Inner()), Tensor(np.ones(3, np.float32))).startswith(
        "1: reshape: cannot reshape (3,) into (7, 7)"
    )


def test_error_says_dtype_of_a_layer():
    text = message(net(), images(dtype=np.float64))
    assert text.startswith("conv: conv2d: x and w have different dtypes; seen x float64, w float32")
    with pytest.raises(DTypeError):
        net()(images(dtype=np.float64))


def test_an_error_keeps_its_kind():
    with pytest.raises(ShapeError) as caught:
        net()(images(2))
    assert caught.value.layer == "conv"
    assert isinstance(caught.value, ValueError)
