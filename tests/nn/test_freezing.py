"""Frozen modules keep parameters *and* running statistics byte for byte, whatever the optimizer does."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import nn, optim
from minicnn.autograd import Tensor

RNG = np.random.default_rng(3)
X = RNG.standard_normal((6, 2, 5, 5)).astype(np.float32) + 1
LABELS = np.arange(6) % 3


def net():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    )


def train(model, optimizer, steps=3):
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(Tensor(X)), Tensor(LABELS)).backward()
        optimizer.step()


def as_bytes(module):
    return {name: array.tobytes() for name, array in module.state_dict().items()}


OPTIMIZERS = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "Adam": lambda ps: optim.Adam(ps, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "with momentum from before"])
def test_bytes_stay(make, warm):
    model = net()
    optimizer = make(model.parameters())
    if warm:
        train(model, optimizer)
    before, head = as_bytes(model[0]), as_bytes(model[1])
    model[0].freeze()
    train(model, optimizer)
    assert as_bytes(model[0]) == before
    assert as_bytes(model[1]) != head  # the head learned
    model[0].unfreeze()
    train(model, optimizer)
    after = as_bytes(model[0])
    assert all(after[name] != before[name] for name in before)


def test_the_check_can_fail():
    """Without freezing, every entry of the state moves: parameters, statistics and the counter."""
    model = net()
    before = as_bytes(model)
    train(model, OPTIMIZERS["SGD"](model.parameters()))
    after = as_bytes(model)
    assert [name for name in before if before[name] == after[name]] == []


def test_requires_grad_alone_does_not_keep_statistics():
    """That is why `freeze` exists."""
    model = net()
    before = as_bytes(model[0])
    model[0].requires_grad_(False)
    train(model, OPTIMIZERS["SGD"](model.parameters()))
    after = as_bytes(model[0])
    assert after["0.weight"] == before["0.weight"]
    assert after["1.running_mean"] != before["1.running_mean"]


def test_frozen_parts_stay_in_evaluation_mode():
    model = net()
    assert model[0].freeze() is model[0]
    assert not any(module.training for module in model[0].modules())  # at once
    model.train()
    assert not any(module.training or not module.frozen for module in model[0].modules())
    assert all(module.training and not module.frozen for module in model[1].modules())
    first, second = model[0](Tensor(X)), model[0](Tensor(X))
    assert np.array_equal(first.array, second.array)  # dropout passes
    assert not first.requires_grad
    assert first.node is None  # nothing is saved for parts that do not learn
    model.eval()
    model.train()
    assert not model[0].training


def test_freezing_forgets_gradients():
    model = net()
    nn.functional.cross_entropy(model(Tensor(X)), Tensor(LABELS)).backward()
    model[0].freeze()
    assert all(p.grad is None and not p.requires_grad for p in model[0].parameters())
    assert all(p.grad is not None for p in model[1].parameters())


def test_unfreezing():
    model = net().freeze().eval()
    assert model.unfreeze() is model
    assert all(module.training and not module.frozen for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    train(model, OPTIMIZERS["SGD"](model.parameters()), steps=1)
    assert model[0][1].num_batches_tracked.item() == 1


def test_a_new_head_on_a_frozen_network_learns():
    model = net().freeze()
    model[1][2] = nn.Linear(4, 3)
    body, head = as_bytes(model[0]), as_bytes(model[1])
    train(model, optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    assert as_bytes(model[0]) == body
    assert as_bytes(model[1]) != head


def test_a_frozen_part_in_the_middle_passes_gradients_on():
    """Freezing a part must not cut off what stands before it."""
    first, middle, last = nn.Linear(3, 3), nn.Linear(3, 3).freeze(), nn.Linear(3, 1)
    nn.Sequential(first, middle, last)(Tensor(np.ones((1, 3), np.float32))).sum().backward()
    expected = (last.weight.array @ middle.weight.array).ravel()
    np.testing.assert_allclose(first.bias.grad.array, expected, rtol=1e-5)
    assert middle.weight.grad is None
