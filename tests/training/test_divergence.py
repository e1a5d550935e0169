"""A loss that is not finite: where it began is named."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.data import ArrayDataset, DataLoader
from minicnn.errors import DivergedError
from minicnn.training import Checkpoints, Trainer

INFINITY, NAN = float("inf"), float("nan")
cross_entropy = nn.functional.cross_entropy


class Scaled(nn.Module):
    """Multiplies by a number, which a test changes."""

    def __init__(self) -> None:
        super().__init__()
        self.by = 1.0

    def forward(self, x):
        return x * self.by


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.scaled = Scaled()

    def forward(self, x):
        return self.scaled(self.drop(self.bn(self.conv(x))))


@pytest.fixture
def model():
    minicnn.manual_seed(0)
    return nn.Sequential(Block(), nn.Flatten(), nn.Linear(144, 3))


def fit(model, dataset, spoil, loss=cross_entropy, lr=0.01, **options):
    """Train for 3 steps an epoch; `spoil` runs in step 4, the first one of epoch 2, when its scores are known."""
    calls = []

    def spoiled(scores, labels):
        calls.append(1)
        value = loss(scores, labels)
        more = spoil(model, scores) if len(calls) == 4 else None
        return value if more is None else value + more

    trainer = Trainer(model, optim.SGD(model.parameters(), lr=lr), spoiled, progress=False)
    with pytest.raises(DivergedError) as caught:
        trainer.fit(DataLoader(dataset, 4, seed=0), epochs=3, **options)
    return str(caught.value)


def number(name, value):
    def spoil(model, scores):
        (dict(model.named_parameters()) | dict(model.named_buffers()))[name].array.flat[0] = value

    return spoil


def scale(model, scores):
    model[0].scaled.by = INFINITY


def gradient(model, scores):
    """0 with a gradient of NaN."""
    return (scores * 0).sqrt().sum()


def statistic(model, scores):
    model[0].freeze()
    number("0.bn.running_mean", NAN)(model, scores)


BEFORE = "the parameter holds it since the step before"


@pytest.mark.parametrize(
    ("spoil", "began"),
    [
        (scale, "0.scaled: the first layer whose output holds it"),
        (number("0.conv.bias", NAN), f"0.conv.bias: {BEFORE}, whose gradients were finite"),
        (number("2.bias", INFINITY), f"2.bias: {BEFORE}, whose gradients were finite"),
        (gradient, f"0.conv.weight and 5 more: {BEFORE}, by the gradient of 2.bias"),
        (statistic, "0.bn.running_mean: a running statistic holds it"),
    ],
)
def test_where_it_began(model, stripes, spoil, began):
    text = fit(model, stripes(12), spoil)
    assert text.startswith("training: epoch 2, step 2 of 3: the loss is ")
    assert text.endswith(f"; seen {began}; rule: a finite number; hint: a smaller learning rate")


def test_in_the_images(model, stripes):
    dataset = stripes(12)
    images = dataset.images.copy()
    images[6, 0, 0, 0] = NAN
    text = fit(model, ArrayDataset(images, dataset.labels, dataset.classes), scale)
    assert "step 2 of 3: the loss is nan; seen the images of the batch hold it, the first one is image 2 of 4" in text


def test_in_the_loss(model, stripes):
    text = fit(model, stripes(12), scale, loss=lambda scores, labels: cross_entropy(scores, labels) * NAN)
    assert "epoch 1, step 1 of 3: the loss is nan; seen the loss itself: the scores are finite" in text


def test_the_pass_is_repeated_with_the_same_random_numbers(model, stripes):
    """An infinite number that dropout leaves out or not."""
    drawn = []
    model[0].drop.register_forward_hook(lambda _, inputs, output: drawn.append(output.array == 0))
    fit(model, stripes(12), scale)
    assert np.array_equal(drawn[-1], drawn[-2])
    assert not np.array_equal(drawn[-1], drawn[-3])


@pytest.mark.parametrize(
    ("every", "began"),
    [
        ("60min", f"step 2 of 3: the loss is nan; seen 0.conv.bias: {BEFORE}"),
        ("1", f"training: epoch 2, after step 1: the training has diverged; seen 0.conv.bias: {BEFORE}"),
    ],
)
def test_the_last_good_checkpoint_is_named_and_stays(model, stripes, tmp_path, every, began):
    """What diverged is not written."""
    checkpoints = Checkpoints(tmp_path, every=every)
    text = fit(model, stripes(12), number("0.conv.bias", NAN), checkpoints=checkpoints)
    assert began in text
    assert text.endswith(f"the last good checkpoint is {tmp_path / 'epoch-0002-step-000000.h5'}")
    assert checkpoints.read().values["position"]["epoch"] == 2
    assert all(np.isfinite(array).all() for array in checkpoints.read().arrays.values())


def test_a_step_that_is_too_long(model, stripes):
    assert "step 2 of 3: the loss is nan; seen 0.conv: the first layer" in fit(model, stripes(12), scale, lr=1e38)
