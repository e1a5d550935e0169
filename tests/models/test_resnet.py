"""ResNet: names, shapes and counts of torchvision; widths and stems; gradients; and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import models, nn, optim
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, ShapeError
from minicnn.gradcheck import gradcheck

# the state dict of torchvision 0.29's resnet18(): one line an entry, the name and the shape
TORCHVISION = Path(__file__).with_name("torchvision_resnet18.txt")


def listed():
    lines = TORCHVISION.read_text(encoding="utf-8").splitlines()
    return {name: () if shape == "-" else tuple(map(int, shape.split("x"))) for name, shape in map(str.split, lines)}


def count(model):
    return sum(p.numel() for p in model.parameters())


def batch(n=2, size=32, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3, size, size)).astype(dtype)


# ---- names, shapes, counts ------------------------------------------------------------------------------------------


def test_resnet18_is_torchvisions():
    model, expected = models.resnet18(), listed()
    assert len(expected) == 122
    state = model.state_dict()
    assert {name: array.shape for name, array in state.items()} == expected
    parameters = {name: p.shape for name, p in model.named_parameters()}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert parameters == {k: v for k, v in expected.items() if not k.endswith(statistics)}
    assert list(parameters) == [k for k in expected if not k.endswith(statistics)]  # in torchvision's order, too
    assert count(model) == 11_689_512
    assert {k for k, v in state.items() if v.dtype != np.float32} == {k for k in state if k.endswith("tracked")}


def test_resnet34():
    model = models.resnet34(num_classes=1000)
    assert count(model) == 21_797_672
    assert [len(stage) for stage in (model.layer1, model.layer2, model.layer3, model.layer4)] == [3, 4, 6, 3]
    assert len(model.state_dict()) == 218


def test_new_head():
    """As people write it."""
    model = models.resnet18(width=4)
    assert model.fc.in_features == 32
    model.fc = nn.Linear(model.fc.in_features, 2)
    assert model(Tensor(batch())).shape == (2, 2)
    assert list(model.state_dict())[-2:] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("width", [1, 6, 16])
def test_width(width):
    model = models.resnet18(num_classes=7, width=width)
    assert model.conv1.weight.shape == (width, 3, 7, 7)
    assert model.layer4[1].conv2.weight.shape == (8 * width, 8 * width, 3, 3)
    assert model.fc.weight.shape == (7, 8 * width)
    assert model.features(Tensor(batch())).shape == (2, 8 * width)
    assert model(Tensor(batch())).shape == (2, 7)
    if width == 16:
        assert count(models.resnet18(num_classes=10, width=16, stem="small")) == 701_466


def shapes_of(model, size):
    """Height of the image after the stem and after each stage."""
    sizes = {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"):
        getattr(model, name).register_forward_hook(lambda _, __, y, name=name: sizes.update({name: y.shape[2]}))
    model(Tensor(batch(2, size)))
    return list(sizes.values())


def test_stem():
    assert shapes_of(models.resnet18(10, width=2), 64) == [32, 16, 16, 8, 4, 2, 1]
    small = models.resnet18(10, width=2, stem="small")
    assert small.conv1.weight.shape == (2, 3, 3, 3)
    assert shapes_of(small, 32) == [32, 16, 16, 8, 4, 2, 1]
    assert shapes_of(models.resnet18(10, width=2), 33) == [17, 9, 9, 5, 3, 2, 1]
    assert shapes_of(small, 28) == [28, 14, 14, 7, 4, 2, 1]


@pytest.mark.parametrize("size", [33, 47])
def test_odd_sizes(size):
    assert models.resnet18(3, width=2)(Tensor(batch(2, size))).shape == (2, 3)


def test_a_seed_gives_the_same_network():
    minicnn.manual_seed(4)
    first = models.resnet18(3, width=2).state_dict()
    minicnn.manual_seed(4)
    second = models.resnet18(3, width=2).state_dict()
    assert all(np.array_equal(first[name], second[name]) for name in first)


# ---- results --------------------------------------------------------------------------------------------------------


def test_block_is_its_formula():
    """relu(F(x) + x), from the layers of the block."""
    block, x = models.BasicBlock(3, 3), Tensor(batch(2, 6))
    y = block.eval()(x).array
    inner = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
    assert_close(y, np.maximum(inner.array + x.array, 0), rtol=0, atol=0)
    assert block.downsample is None
    wider = models.BasicBlock(3, 5, stride=2).eval()
    inner = wider.bn2(wider.conv2(wider.relu(wider.bn1(wider.conv1(x)))))
    assert_close(wider(x).array, np.maximum(inner.array + wider.downsample(x).array, 0), rtol=0, atol=0)


def test_evaluation_does_not_depend_on_the_batch():
    model, x = models.resnet18(5, width=4).eval(), batch(3)
    whole = model(Tensor(x)).array
    for i in range(3):
        assert_close(model(Tensor(x[i : i + 1])).array, whole[i : i + 1], rtol=1e-5)
    assert model(Tensor(x[:0])).shape == (0, 5)


# ---- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (5, 2), (4, 2)], ids=["identity", "wider", "smaller"])
def test_gradients_of_a_block(channels, stride, training):
    """Every parameter and the input of a whole block, in float64; entries sampled."""
    minicnn.manual_seed(0)
    block = models.BasicBlock(4, channels, stride).double().train(training)
    rng = np.random.default_rng(1)
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        if "bn" in name or "downsample.1" in name:
            if name.endswith(("weight", "running_var")):
                tensor.array[...] = rng.uniform(0.5, 1.5, tensor.shape)
            elif name.endswith(("bias", "running_mean")):
                tensor.array[...] = rng.standard_normal(tensor.shape)
    x = rng.standard_normal((3, 4, 5, 6))
    report = gradcheck(block, [x], parameters=dict(block.named_parameters()), sample=12)
    assert report
    assert all(row.checked for row in report.inputs)
    assert len(report.inputs) == 1 + len(list(block.parameters()))


def test_gradients_reach_every_parameter():
    model = models.resnet18(3, width=2)
    nn.functional.cross_entropy(model(Tensor(batch(4))), np.array([0, 1, 2, 0])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not np.abs(p.grad.array).max() > 0] == []


def test_a_whole_network_has_the_right_gradients():
    """One entry of some parameter tensors, first to last, of a ResNet-18 of width 2."""
    minicnn.manual_seed(0)
    model = models.resnet18(3, width=2, stem="small").double()
    parameters = dict(model.named_parameters())
    chosen = {name: parameters[name] for name in list(parameters)[::7]}
    assert gradcheck(model, [batch(3, 16, np.float64)], parameters=chosen, sample=2)


# ---- learning -------------------------------------------------------------------------------------------------------


def test_a_narrow_resnet_learns_20_images_by_heart():
    """Noise with random labels: only a network whose every part works gets all of it right."""
    minicnn.manual_seed(0)
    x, labels = Tensor(batch(20, 16, seed=5)), np.random.default_rng(6).integers(0, 4, 20)
    model = models.resnet18(4, width=8, stem="small")
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1
    assert losses[-1] < 0.05
    assert (model(x).argmax(1).array == labels).all()


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_unknown_stem():
    with pytest.raises(ArgumentError, match=r"^ResNet: unknown stem; seen stem='tiny'; rule: imagenet or small$"):
        models.resnet18(stem="tiny")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"width": 0}, "Conv2d: out_channels is not valid; seen out_channels=0; rule: out_channels >= 1"),
        ({"width": 1.5}, "Conv2d: out_channels is not valid; seen out_channels=1.5; rule: out_channels >= 1"),
        ({"num_classes": 0, "width": 1}, "Linear: out_features is not valid; seen out_features=0; rule: out_features"),
    ],
)
def test_bad_sizes(arguments, text):
    with pytest.raises(ArgumentError) as caught:
        models.resnet18(**arguments)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (3, 32, 32), (2, 3, 0, 32)])
def test_bad_images(shape):
    with pytest.raises(ShapeError, match=r"^conv1: conv2d: .*; seen x \("):
        models.resnet18(3, width=2)(Tensor(np.ones(shape, np.float32)))


def test_images_too_small_to_train_on():
    """A single image whose last feature maps have one pixel: nothing to normalise over."""
    with pytest.raises(ShapeError) as caught:
        models.resnet18(3, width=2)(Tensor(batch(1)))
    assert str(caught.value).startswith(
        "layer4.0.bn1: batch_norm_relu: training needs more than one value per channel; seen shape (1, 16, 1, 1)"
    )
