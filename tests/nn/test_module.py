"""Modules: what happens to attributes, the tree of names, modes, hooks, text."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from minicnn import models, nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError


class Net(nn.Module):
    """A parameter, a buffer, a layer, a container and a plain value, defined in this order."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones(2, np.float32))
        self.register_buffer("count", Tensor(np.zeros((), np.int64)))
        self.conv = nn.Conv2d(3, 2, 3)
        self.tail = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())
        self.note = "plain"

    def forward(self, x):
        return self.tail(self.conv(x)) * self.scale.reshape(1, 2, 1, 1)


def images(channels=3, size=5, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal((2, channels, size, size)).astype(dtype))


def names(pairs):
    return [name for name, _ in pairs]


# ---- attributes -----------------------------------------------------------------------------------------------------


def test_attributes_find_their_homes():
    net = Net()
    assert names(net.named_children()) == ["conv", "tail"]
    assert names(net.named_parameters())[0] == "scale"
    assert names(net.named_buffers())[0] == "count"
    assert net.note == "plain"
    assert net.scale is dict(net.named_parameters())["scale"]
    assert net.count is dict(net.named_buffers())["count"]
    assert "note" not in net.state_dict()


def test_replacing_keeps_the_place():
    """model.fc = nn.Linear(...) and model.fc.weight = nn.Parameter(...), as people write it."""
    net = Net()
    before = names(net.named_parameters())
    net.conv = nn.Conv2d(3, 2, 1)
    net.scale = nn.Parameter(np.zeros(2, np.float32))
    assert names(net.named_parameters()) == before
    assert net.conv.kernel_size == (1, 1)
    assert net.scale.array.sum() == 0


def test_a_layer_may_become_another_kind_of_thing():
    net = Net()
    net.tail = nn.Identity()
    assert names(net.named_parameters()) == ["scale", "conv.weight", "conv.bias"]
    net.conv = None
    assert net.conv is None
    assert names(net.named_parameters()) == ["scale"]
    net.conv = nn.Conv2d(3, 2, 3)
    assert "conv.weight" in net.state_dict()


def test_a_plain_value_gives_way_to_a_parameter():
    net = Net()
    net.note = nn.Parameter(np.ones(1, np.float32))
    assert "note" in net.state_dict()
    assert "note" not in net.__dict__


def test_deleting():
    net = Net()
    del net.conv
    del net.scale
    del net.count
    del net.note
    assert names(net.named_children()) == ["tail"]
    assert next(iter(net.state_dict())) == "tail.0.weight"
    for name in ("conv", "scale", "count", "note"):
        with pytest.raises(AttributeError, match=f"Net has no attribute '{name}'"):
            getattr(net, name)
    with pytest.raises(AttributeError, match="nothing"):
        del net.nothing


def test_buffers_take_tensors():
    net = Net()
    net.count = Tensor(np.ones((), np.int64))
    assert net.state_dict()["count"] == 1
    net.count = None
    assert "count" not in net.state_dict()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("scale", np.ones(2), "Net: scale must stay a nn.Parameter; seen ndarray; rule: nn.Parameter or None"),
        ("scale", Tensor(np.ones(2)), "Net: scale must stay a nn.Parameter; seen Tensor"),
        ("conv", "a string", "Net: conv must stay a nn.Module; seen str; rule: nn.Module or None"),
        ("count", 3, "Net: count must stay a Tensor; seen int; rule: Tensor or None"),
    ],
)
def test_nothing_leaves_the_state_in_silence(name, value, text):
    net = Net()
    before = list(net.state_dict())
    with pytest.raises(ArgumentError, match="must stay") as caught:
        setattr(net, name, value)
    assert str(caught.value).startswith(text)
    assert list(net.state_dict()) == before


def test_a_parameter_that_a_layer_lacks_takes_only_a_parameter():
    layer = nn.Linear(2, 2, bias=False)
    with pytest.raises(ArgumentError, match=r"bias must stay a nn.Parameter.*hint: assign nn.Parameter\(array\)"):
        layer.bias = Tensor(np.zeros(2, np.float32))
    layer.bias = nn.Parameter(np.ones(2, np.float32))
    assert layer(Tensor(np.zeros((1, 2), np.float32))).array.tolist() == [[1, 1]]


def test_forgotten_super():
    class Broken(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(1, 1, 1)

    with pytest.raises(ArgumentError, match=r"Broken: call super\(\).__init__\(\) first"):
        Broken()


def test_no_forward():
    with pytest.raises(ArgumentError, match=r"^Module: this module has no forward$"):
        nn.Module()(images())


# ---- the tree -------------------------------------------------------------------------------------------------------


def test_order_of_names():
    net = Net()
    parameters = ["scale", "conv.weight", "conv.bias", "tail.0.weight", "tail.0.bias"]
    assert names(net.named_parameters()) == parameters
    statistics = ["tail.0.running_mean", "tail.0.running_var", "tail.0.num_batches_tracked"]
    assert names(net.named_buffers()) == ["count", *statistics]
    assert list(net.state_dict()) == ["scale", "count", *parameters[1:], *statistics]
    assert names(net.named_modules()) == ["", "conv", "tail", "tail.0", "tail.1"]
    assert [type(m).__name__ for m in net.modules()] == ["Net", "Conv2d", "Sequential", "BatchNorm2d", "ReLU"]
    assert len(list(net.parameters())) == 5


def test_shared_parameters_come_once():
    """Tied weights: one tensor under two names is learned once, and stands in the state twice."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    net = Tied()
    assert names(net.named_parameters()) == ["a.weight", "a.bias", "b.bias"]
    assert list(net.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    net(Tensor(np.eye(3, dtype=np.float32))).sum().backward()
    both = net.a.weight.grad.array.copy()
    x = Tensor(np.eye(3, dtype=np.float32))
    net.zero_grad()
    other = nn.Linear(3, 3)
    other.load_state_dict(net.b.state_dict())
    other(net.a(x)).sum().backward()
    np.testing.assert_allclose(both, net.a.weight.grad.array + other.weight.grad.array, rtol=1e-6)


def test_shared_modules_come_once():
    shared = nn.BatchNorm2d(2)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    assert names(net.named_modules()) == ["", "0", "1"]
    assert names(net.named_buffers()) == ["0.running_mean", "0.running_var", "0.num_batches_tracked"]
    assert len(net.state_dict()) == 10
    assert net.get_submodule("2") is shared
    net(images(2))
    assert shared.num_batches_tracked.item() == 2


def test_get_submodule():
    net = models.resnet18(10, width=4)
    assert net.get_submodule("layer2.0.downsample.1") is net.layer2[0].downsample[1]
    assert net.get_submodule("") is net


@pytest.mark.parametrize("path", ["layer9", "layer1.7", "layer1.0.conv1.weight", "conv"])
def test_get_submodule_that_is_not_there(path):
    with pytest.raises(ArgumentError) as caught:
        models.resnet18(10, width=4).get_submodule(path)
    assert str(caught.value) == (
        f"ResNet: no layer is called '{path}'; "
        "hint: there are conv1, bn1, relu, maxpool, layer1, layer1.0, layer1.0.conv1, layer1.0.bn1 and 59 more"
    )


def test_apply_goes_children_first():
    net, order = Net(), []
    assert net.apply(lambda module: order.append(type(module).__name__)) is net
    assert order == ["Conv2d", "BatchNorm2d", "ReLU", "Sequential", "Net"]


def test_a_deep_copy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    twin.conv.weight.array[...] = 0
    assert np.abs(net.conv.weight.array).max() > 0
    assert list(twin.state_dict()) == list(net.state_dict())
    assert twin.conv.weight.requires_grad


# ---- modes ----------------------------------------------------------------------------------------------------------


def test_train_and_eval_reach_the_whole_tree():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert net.train() is net
    assert all(module.training for module in net.modules())
    net.tail.eval()
    assert [module.training for module in net.modules()] == [True, True, False, False, False]


def test_requires_grad():
    net = Net()
    net(images()).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert not net(images()).requires_grad
    net.requires_grad_()
    assert net(images()).requires_grad


def test_zero_grad():
    net = Net()
    net(images()).sum().backward()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_double_and_float():
    net = Net()
    weight, before = net.conv.weight, net.conv.weight.array.copy()
    net(images()).sum().backward()
    assert net.double() is net
    assert net.conv.weight is weight  # the same tensor: optimizers keep hold of it
    assert weight.grad is None
    assert net(images(dtype=np.float64)).dtype == np.float64
    dtypes = {name: array.dtype for name, array in net.state_dict().items()}
    for name, dtype in dtypes.items():
        assert dtype == (np.int64 if name in ("count", "tail.0.num_batches_tracked") else np.float64), name
    net.float()
    assert np.array_equal(net.conv.weight.array, before)
    assert net.tail[0].running_var.dtype == np.float32


# ---- hooks and calls ------------------------------------------------------------------------------------------------


def test_hooks_see_inputs_and_outputs():
    net, seen = Net(), []
    remove = net.conv.register_forward_hook(lambda module, inputs, y: seen.append((module, inputs[0].shape, y.shape)))
    net(images())
    assert seen == [(net.conv, (2, 3, 5, 5), (2, 2, 3, 3))]
    remove()
    net(images())
    assert len(seen) == 1


def test_a_hook_may_remove_itself():
    layer, seen = nn.ReLU(), []

    def once(*_):
        seen.append("once")
        remove()

    remove = layer.register_forward_hook(once)
    layer.register_forward_hook(lambda *_: seen.append("always"))
    layer(images())
    layer(images())
    assert seen == ["once", "always", "always"]


def test_forward_takes_named_arguments():
    class Scaled(nn.Module):
        def forward(self, x, factor=1.0):
            return x * factor

    assert Scaled()(Tensor([1.0]), factor=3.0).item() == 3
    loss = nn.MSELoss()(input=Tensor([1.0]), target=Tensor([3.0]))
    assert loss.item() == 4


# ---- text -----------------------------------------------------------------------------------------------------------


def test_repr():
    assert repr(Net()) == (
        "Net(\n"
        "  (conv): Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1))\n"
        "  (tail): Sequential(\n"
        "    (0): BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True)\n"
        "    (1): ReLU()\n"
        "  )\n"
        ")"
    )


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (
            nn.Conv2d(4, 6, (3, 1), 2, (1, 0), 2, 2, bias=False),
            "Conv2d(4, 6, kernel_size=(3, 1), stride=(2, 2), padding=(1, 0), dilation=(2, 2), groups=2, bias=False)",
        ),
        (nn.Linear(3, 2, bias=False), "Linear(in_features=3, out_features=2, bias=False)"),
        (
            nn.MaxPool2d(3, 2, 1),
            "MaxPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil_mode=False)",
        ),
        (nn.AvgPool2d(2), "AvgPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"),
        (nn.AdaptiveAvgPool2d((1, 2)), "AdaptiveAvgPool2d(output_size=(1, 2))"),
        (nn.BatchNorm2d(3, affine=False), "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=False)"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.Dropout(0.25), "Dropout(p=0.25)"),
        (nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
        (nn.Sequential(), "Sequential()"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
        (nn.Identity(3, b=1), "Identity()"),
    ],
)
def test_repr_of_layers(layer, text):
    assert repr(layer) == text
