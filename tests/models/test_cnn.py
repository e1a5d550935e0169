"""The small network of the documents."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import models, nn, optim
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, ShapeError


def test_shapes():
    model = models.cnn()
    assert {name: p.shape for name, p in model.named_parameters()} == {
        "conv1.weight": (32, 3, 3, 3),
        "conv1.bias": (32,),
        "conv2.weight": (64, 32, 3, 3),
        "conv2.bias": (64,),
        "fc1.weight": (512, 64 * 8 * 8),
        "fc1.bias": (512,),
        "fc2.weight": (10, 512),
        "fc2.bias": (10,),
    }
    assert sum(p.numel() for p in model.parameters()) == 896 + 18_496 + 2_097_664 + 5_130
    assert isinstance(model, models.CNN)


def test_the_documents_size():
    """System S4 prints 64 * 16 * 16 inputs of the first linear layer: images of 64 x 64."""
    assert models.cnn(image_size=64).fc1.in_features == 64 * 16 * 16


@pytest.mark.parametrize(("classes", "size"), [(10, 32), (3, 8), (2, 4)])
def test_output(classes, size):
    x = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    assert models.cnn(classes, size)(Tensor(x)).shape == (2, classes)


def test_output_is_its_formula():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32))
    model = models.cnn(4, 8)
    y = x
    for conv in (model.conv1, model.conv2):
        y = nn.functional.max_pool2d(nn.functional.relu(conv(y)), 2)
    y = nn.functional.relu(nn.functional.linear(y.reshape(2, -1), model.fc1.weight, model.fc1.bias))
    expected = nn.functional.linear(y, model.fc2.weight, model.fc2.bias)
    assert_close(model(x).array, expected.array, rtol=0, atol=0)


def test_it_learns():
    minicnn.manual_seed(0)
    rng = np.random.default_rng(0)
    x, labels = Tensor(rng.standard_normal((12, 3, 8, 8)).astype(np.float32)), rng.integers(0, 3, 12)
    model = models.cnn(3, 8)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    assert (model(x).argmax(1).array == labels).all()


@pytest.mark.parametrize("size", [0, 2, 30, -4, 32.0])
def test_bad_size(size):
    with pytest.raises(ArgumentError) as caught:
        models.cnn(image_size=size)
    assert (
        str(caught.value)
        == f"CNN: image_size is not valid; seen image_size={size!r}; rule: a multiple of 4, at least 4"
    )


def test_images_of_another_size():
    with pytest.raises(ShapeError, match=r"^fc1: linear: the features of x and w differ"):
        models.cnn()(Tensor(np.ones((1, 3, 28, 28), np.float32)))
