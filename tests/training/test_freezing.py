from __future__ import annotations

import numpy as np
import pytest

from minicnn import models, nn, optim
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.training import freeze, freezing, head_of

ALL = {"conv.weight", "bn.weight", "bn.bias", "hidden.weight", "hidden.bias", "top.weight", "top.bias"}


@pytest.mark.parametrize(
    ("what", "learns"),
    [
        ("none", ALL),
        ("backbone", {"top.weight", "top.bias"}),
        ("until=conv", ALL - {"conv.weight"}),
        ("until=bn", ALL - {"conv.weight", "bn.weight", "bn.bias"}),
        ("until=drop", {"hidden.weight", "hidden.bias", "top.weight", "top.bias"}),
        ("until=hidden", {"top.weight", "top.bias"}),
    ],
)
def test_what_learns(tiny, stripes, what, learns):
    model = tiny()
    freeze(model, what)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == learns
    before = model.state_dict()
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    dataset = stripes(6)
    nn.CrossEntropyLoss()(model.train()(Tensor(dataset.images)), Tensor(dataset.labels)).backward()
    optimizer.step()
    changed = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
    statistics = {"bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    assert changed == learns | (statistics if "bn.weight" in learns else set())


def test_the_head_is_the_last_linear_layer(tiny):
    assert head_of(tiny())[0] == "top"
    model = models.resnet18(5, width=2, stem="small")
    assert head_of(model) == ("fc", model.fc)
    freeze(model, "until=layer3")
    children = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert children == {"layer4", "fc"}
    with pytest.raises(ArgumentError, match=r"Sequential: the network has no head; rule: a last layer nn\.Linear"):
        head_of(nn.Sequential(nn.ReLU()))


def test_an_unknown_child_gets_the_nearest_names(tiny):
    with pytest.raises(ArgumentError) as caught:
        freeze(tiny(), "until=hiden")
    text = str(caught.value)
    assert "freeze until=hiden: no child is called 'hiden'" in text
    assert "rule: one of conv, bn, relu, pool, drop, hidden, top" in text
    assert "did you mean hidden?" in text


def test_something_must_learn(tiny):
    with pytest.raises(ArgumentError, match="nothing is left to learn; seen top is the last child with parameters"):
        freeze(tiny(), "until=top")


@pytest.mark.parametrize("text", ["", "all", "until", "until=", "until layer3", "Backbone"])
def test_not_a_freeze(text):
    with pytest.raises(ArgumentError, match=r"freeze is not valid; seen .*; rule: none, backbone, or until=NAME"):
        freezing.parse(text)
