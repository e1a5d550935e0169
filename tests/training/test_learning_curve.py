"""Learning curves: nested, balanced parts; the sweep of the learning rate, and that it leaves no trace."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import nn, optim
from minicnn.backends import random
from minicnn.data import DataLoader
from minicnn.errors import ArgumentError, DataError, DivergedError
from minicnn.training import Trainer
from minicnn.training.learning_curve import learning_curve, nested_order
from minicnn.training.learning_rate_finder import find_learning_rate

PNG = b"\x89PNG"


def test_every_beginning_has_all_classes_in_their_shares():
    targets = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = nested_order(targets, 3)
    assert sorted(order) == list(range(100))
    for size in (3, 10, 20, 50, 99):
        counts = np.bincount(targets[order[:size]], minlength=3)
        assert np.abs(counts - size * np.array([0.6, 0.3, 0.1])).max() <= 1.5, size
        assert counts.min() >= 1
    assert not (nested_order(targets, 4) == order).all()


def test_a_learning_curve(stripes):
    data, seen = stripes(30), []

    def train(part, seed):
        seen.append((set(part.indices.tolist()), seed))
        return len(part) / 30

    curve = learning_curve(train, data, [3, 10, 30], repeats=2, seed=5, progress=False)
    assert_close(curve.accuracies, np.array([[3 / 30] * 2, [1 / 3] * 2, [1.0] * 2]))
    assert [(len(part), seed) for part, seed in seen] == [(3, 5), (10, 5), (30, 5), (3, 6), (10, 6), (30, 6)]
    assert seen[0][0] < seen[1][0] < seen[2][0]
    assert seen[0][0] != seen[3][0]
    assert json.loads(json.dumps(curve.as_dict(), allow_nan=False))["sizes"] == [3, 10, 30]
    assert str(curve).splitlines()[2].split() == ["10", "33.3%", "0.0%"]
    assert curve.picture("a $title").startswith(PNG)
    for sizes, error, text in (
        ([2, 3], ArgumentError, "one image a class (3)"),
        ([9, 6], ArgumentError, "rising"),
        ([], ArgumentError, "rising"),
        ([3, 31], DataError, "size 31; rule: 30 at most"),
    ):
        with pytest.raises(error) as caught:
            learning_curve(train, data, sizes)
        assert text in str(caught.value)
    with pytest.raises(DataError, match="not an accuracy"):
        learning_curve(lambda part, seed: float("nan"), data, [3])


class Drawing(nn.Module):
    """Dropout draws, batch norm counts: both would show that a sweep took place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.drop = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.2)
        self.top = nn.Linear(4 * 64, 3)

    def forward(self, x):
        return self.top(self.drop(self.bn(self.conv(x), relu=True).flatten(1)))


def training(stripes, make):
    minicnn.manual_seed(3)
    model = Drawing()
    optimizer = make(model)
    loader = DataLoader(stripes(48), 8, shuffle=True, seed=1)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), progress=False)
    trainer.fit(loader, epochs=1)
    return trainer, loader


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_sweep_finds_a_rate_and_leaves_no_trace(stripes, kind):
    def make(model):
        if kind == "adam":
            return optim.Adam(model.parameters(), lr=1e-4)
        slow = {"params": list(model.conv.parameters()), "lr": 1e-4}
        return optim.SGD([slow, {"params": list(model.top.parameters()), "lr": 1e-3}], momentum=0.9)

    trainer, loader = training(stripes, make)
    model, optimizer = trainer.model.eval(), trainer.optimizer
    before, settings, drawn = model.state_dict(), optimizer.state_dict(), random.generator().bit_generator.state
    gradient, epoch = model.top.weight.grad, loader.epoch
    found = find_learning_rate(model, optimizer, trainer.loss, loader, start=1e-6, end=1e3, steps=60, progress=False)
    assert 1e-5 < found.suggestion < found.largest < 100
    assert len(found.rates) < 60  # it grew too large before the end
    assert_close(found.rates[1:] / found.rates[:-1], np.full(len(found.rates) - 1, 1e9 ** (1 / 59)))
    assert found.picture().startswith(PNG)
    assert "learning rate" in str(found)
    json.dumps(found.as_dict(), allow_nan=False)
    assert all((before[name] == value).all() for name, value in model.state_dict().items())
    after = optimizer.state_dict()
    assert after["param_groups"] == settings["param_groups"]
    for number, memory in settings["state"].items():
        assert all(np.array_equal(after["state"][number][key], value) for key, value in memory.items())
    assert random.generator().bit_generator.state == drawn
    assert model.top.weight.grad is gradient
    assert loader.epoch == epoch
    assert not model.bn.training
    # and what is trained from here on is what would have been trained without it
    trainer.fit(loader, epochs=1)
    other, its_loader = training(stripes, make)
    other.fit(its_loader, epochs=1)
    expected = other.model.state_dict()
    assert all((expected[name] == value).all() for name, value in model.state_dict().items())


def test_sweeps_that_cannot_be(stripes):
    trainer, loader = training(stripes, lambda model: optim.SGD(model.parameters(), lr=1e-3))
    call = (trainer.model, trainer.optimizer, trainer.loss)
    before = trainer.model.state_dict()
    for options, error, text in (
        ({"start": 0}, ArgumentError, "0 < start < end"),
        ({"start": 2, "end": 1}, ArgumentError, "0 < start < end"),
        ({"steps": 8}, ArgumentError, "steps > 8"),
        ({"smoothing": 1}, ArgumentError, "smoothing < 1"),
        ({"start": 1e30, "end": 1e35}, DivergedError, "learning rate"),
        ({"start": 30, "end": 1e4, "smoothing": 0}, ArgumentError, "the loss falls nowhere"),
    ):
        with pytest.raises(error) as caught:
            find_learning_rate(*call, loader, progress=False, **options)
        assert text in str(caught.value), options
    with pytest.raises(DataError, match="at least one batch"):
        find_learning_rate(*call, [], progress=False)
    assert all((before[name] == value).all() for name, value in trainer.model.state_dict().items())
