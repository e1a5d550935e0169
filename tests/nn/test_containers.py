"""Sequential and ModuleList."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError


class Plus(nn.Module):
    """Adds a number, so that order and choice of modules show."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x * 10 + self.number


def run(module):
    return module(Tensor([0.0])).item()


def test_one_after_the_other():
    assert run(nn.Sequential(Plus(1), Plus(2), Plus(3))) == 123
    assert run(nn.Sequential()) == 0


def test_names():
    assert [name for name, _ in nn.Sequential(Plus(1), Plus(2)).named_children()] == ["0", "1"]
    named = nn.Sequential({"first": Plus(1), "second": Plus(2)})
    assert [name for name, _ in named.named_children()] == ["first", "second"]
    assert named.second.number == 2
    assert run(named) == 12


def test_append():
    model = nn.Sequential(Plus(1))
    assert model.append(Plus(2)) is model
    assert run(model) == 12
    assert len(model) == 2


def test_index_and_iterate():
    model = nn.Sequential(Plus(1), Plus(2), Plus(3))
    assert [m.number for m in model] == [1, 2, 3]
    assert (model[0].number, model[-1].number) == (1, 3)
    with pytest.raises(IndexError):
        model[3]


def test_slices_share_their_modules():
    model = nn.Sequential(Plus(1), Plus(2), Plus(3))
    tail = model[1:]
    assert isinstance(tail, nn.Sequential)
    assert run(tail) == 23
    assert tail[0] is model[1]
    assert run(model[::-1]) == 321
    assert run(model[:0]) == 0


def test_appending_to_a_slice_replaces_nothing():
    """The slice keeps the names "1" and "2": the next one must not be called "2"."""
    model = nn.Sequential(Plus(1), Plus(2), Plus(3))[1:].append(Plus(4))
    assert run(model) == 234


def test_setting():
    model = nn.Sequential(Plus(1), Plus(2), Plus(3))
    model[1] = Plus(7)
    model[-1] = Plus(9)
    assert run(model) == 179
    assert [name for name, _ in model.named_children()] == ["0", "1", "2"]


@pytest.mark.parametrize("wrong", [lambda x: x, nn.ReLU, None, 3])
def test_only_modules(wrong):
    rule = rf"not a module; seen {type(wrong).__name__}; rule: modules only$"
    with pytest.raises(ArgumentError, match=f"^Sequential: {rule}"):
        nn.Sequential(nn.ReLU(), wrong)
    with pytest.raises(ArgumentError, match=f"^Sequential: {rule}"):
        nn.Sequential().append(wrong)
    with pytest.raises(ArgumentError, match=f"^ModuleList: {rule}"):
        nn.ModuleList([wrong])
    model = nn.Sequential(Plus(1))
    with pytest.raises(ArgumentError, match=f"^Sequential: {rule}"):
        model[0] = wrong
    assert run(model) == 1
    modules = nn.ModuleList([Plus(1)])
    with pytest.raises(ArgumentError, match=f"^ModuleList: {rule}"):
        modules[0] = wrong


def test_module_list():
    modules = nn.ModuleList(nn.Linear(2, k) for k in (1, 2))
    assert modules.append(nn.Linear(2, 3)) is modules
    assert len(modules) == 3
    assert [m.out_features for m in modules] == [1, 2, 3]
    assert modules[-1].out_features == 3
    modules[0] = nn.Linear(2, 9, bias=False)
    assert list(modules.state_dict()) == ["0.weight", "1.weight", "1.bias", "2.weight", "2.bias"]
    assert modules[0].weight.shape == (9, 2)


def test_a_module_list_has_no_forward():
    with pytest.raises(ArgumentError, match=r"^ModuleList: this module has no forward$"):
        nn.ModuleList([nn.ReLU()])(Tensor(np.ones(2, np.float32)))
