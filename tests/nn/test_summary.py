"""The table of a network."""

from __future__ import annotations

import pytest

from minicnn import models, nn
from minicnn.errors import ShapeError


def test_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 4, (3, 2), padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(80, 5, bias=False))
    table = nn.summary(net, (2, 3, 4, 4))
    assert [(r.path, r.kind, r.output, r.parameters, r.multiply_adds) for r in table.layers] == [
        ("0", "Conv2d", (2, 4, 4, 5), 3 * 4 * 6 + 4, 2 * 4 * 4 * 5 * 3 * 6),
        ("1", "ReLU", (2, 4, 4, 5), 0, 0),
        ("2", "Flatten", (2, 80), 0, 0),
        ("3", "Linear", (2, 5), 400, 2 * 5 * 80),
    ]
    assert table.parameters == table.trainable == 76 + 400
    assert table.multiply_adds == 2880 + 800


def test_groups_count_their_own_channels():
    table = nn.summary(nn.Conv2d(4, 6, 3, groups=2), (1, 4, 5, 5))
    assert table.multiply_adds == 6 * 9 * 2 * 9
    assert table.layers[0].path == "Conv2d"


def test_a_transposed_convolution_multiplies_each_input():
    table = nn.summary(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 7))
    assert table.layers[0].output == (2, 6, 11, 15)
    assert table.multiply_adds == 2 * 4 * 5 * 7 * 3 * 9


def test_resnet18():
    """The numbers of He et al., table 1 (1.8 billion), and of torchvision."""
    table = nn.summary(models.resnet18(), (1, 3, 224, 224))
    assert table.multiply_adds == 1_814_073_344
    assert table.parameters == 11_689_512
    rows = {row.path: row for row in table.layers}
    assert rows["conv1"].output == (1, 64, 112, 112)
    assert rows["conv1"].multiply_adds == 118_013_952
    assert rows["maxpool"].output == (1, 64, 56, 56)
    assert rows["layer4.1.conv2"].output == (1, 512, 7, 7)
    assert rows["fc"].multiply_adds == 512_000
    lines = str(table).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert any(line.split() == ["fc", "Linear", "(1,", "1000)", "513,000", "512,000"] for line in lines)
    assert lines[-3:] == [
        "input (1, 3, 224, 224)",
        "11,689,512 parameters, 11,689,512 of them trainable",
        "1,814,073,344 multiply-adds",
    ]


def test_multiply_adds_grow_with_the_batch():
    net = models.resnet18(10, width=4)
    assert nn.summary(net, (3, 3, 32, 32)).multiply_adds == 3 * nn.summary(net, (1, 3, 32, 32)).multiply_adds


def test_frozen_parameters_are_not_trainable():
    net = models.resnet18(10, width=4).freeze()
    net.fc.unfreeze()
    table = nn.summary(net, (1, 3, 32, 32))
    assert table.trainable == 33 * 10
    assert table.parameters > table.trainable
    assert [row.path for row in table.layers if row.trainable] == ["fc"]


def test_it_changes_nothing():
    net = models.resnet18(10, width=4)
    net.layer1.eval()
    modes = [module.training for module in net.modules()]
    before = {name: array.tobytes() for name, array in net.state_dict().items()}
    nn.summary(net, (1, 3, 32, 32))
    assert [module.training for module in net.modules()] == modes
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == before
    assert not any(module._hooks for module in net.modules())


def test_it_changes_nothing_when_it_fails():
    net = models.resnet18(10, width=4)
    with pytest.raises(ShapeError, match=r"^conv1: conv2d: x must have 4 axes"):
        nn.summary(net, (3, 32, 32))
    assert all(module.training for module in net.modules())
    assert not any(module._hooks for module in net.modules())


def test_a_shared_layer_counts_once_for_each_call():
    layer = nn.Linear(3, 3)
    table = nn.summary(nn.Sequential(layer, nn.ReLU(), layer), (2, 3))
    assert [row.path for row in table.layers] == ["0", "1", "0"]
    assert table.multiply_adds == 2 * (2 * 9)
    assert table.parameters == 12


def test_double():
    table = nn.summary(nn.Linear(3, 2).double(), (1, 3))
    assert table.layers[0].output == (1, 2)
    assert table.input_shape == (1, 3)
