"""Stages of networks, rates by depth, gradual unfreezing, batch norm that stays."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, optim
from minicnn.errors import MinicnnError
from minicnn.training import Settings, Trainer
from minicnn.training.depth import close, opening_epochs, parameter_groups, stages
from minicnn.training.freezing import freeze, freeze_batch_norm


def names(model):
    return [stage.name for stage in stages(model)]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: models.resnet18(3, 4), "fc layer4 layer3 layer2 layer1 conv1"),
        (lambda: models.cnn(), "fc2 fc1 conv2 conv1"),
        (
            lambda: models.vgg11_bn(3, 1),
            "classifier.6 classifier.3 classifier.0 features.22 features.15 features.8 features.4 features.0",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
            "3 0",
        ),
    ],
    ids=["resnet18", "cnn", "vgg11_bn", "sequential"],
)
def test_stages(build, expected):
    model = build()
    assert names(model) == expected.split()
    found = [id(p) for stage in stages(model) for p in stage.parameters]
    assert sorted(found) == sorted(map(id, model.parameters()))


def test_the_second_head_of_inception_is_a_head():
    model = models.inception_v3(3, width=4, aux_logits=True)
    assert [p.shape[0] for p in stages(model)[0].parameters] == [3] * 4  # weights and biases of both


def test_groups_have_rates_by_depth_and_leave_out_what_is_frozen(tiny):
    model = tiny()
    groups = parameter_groups(model, 0.1, 0.5)
    assert [group["lr"] for group in groups] == [0.1, 0.05, 0.025]
    assert [len(group["params"]) for group in groups] == [2, 2, 3]
    freeze(model, "until=bn")
    assert [group["lr"] for group in parameter_groups(model, 0.1, 0.5)] == [0.1, 0.05]
    for bad in (0, -1, 1.5, float("nan"), True, "half"):
        with pytest.raises(MinicnnError, match="the factor of the learning rates is not valid"):
            parameter_groups(model, 0.1, bad)


def test_stages_open_from_the_head_down():
    assert opening_epochs(6, 12) == [1, 2, 3, 4, 5, 6]
    assert opening_epochs(6, 4) == [1, 2, 2, 2, 3, 3]
    assert opening_epochs(3, 1) == [1, 1, 1]
    for epochs in range(2, 30):
        assert max(opening_epochs(6, epochs)) <= 1 + np.ceil(epochs / 2)


def test_a_stage_that_is_closed_keeps_every_byte(tiny, stripes):
    model = tiny()
    states = []
    trainer = Trainer(
        model,
        optim.Adam(parameter_groups(model, 0.01, 0.5)),
        nn.CrossEntropyLoss(),
        progress=False,
        before_epoch=lambda number: (model.unfreeze(), close(model, number, 4)),
        on_epoch=lambda epoch: states.append(model.state_dict()),
    )
    data = [(Tensor(stripes(6).images), Tensor(stripes(6).labels))]
    start = model.state_dict()
    trainer.fit(data, epochs=4)

    def moved(before, after):
        return {name.split(".")[0] for name in before if (before[name] != after[name]).any()}

    assert opening_epochs(3, 4) == [1, 2, 3]
    assert moved(start, states[0]) == {"top"}
    assert moved(states[0], states[1]) == {"top", "hidden"}
    assert moved(states[1], states[2]) == {"top", "hidden", "conv", "bn"}


@pytest.mark.parametrize(
    ("what", "moves"),
    [
        ("none", {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}),
        ("statistics", {"weight", "bias"}),
        ("parameters", {"running_mean", "running_var", "num_batches_tracked"}),
        ("all", set()),
    ],
)
def test_what_stays_of_batch_norm(tiny, what, moves):
    model = tiny()
    freeze_batch_norm(model, what)
    before = model.state_dict()
    minicnn.manual_seed(1)
    images = [(minicnn.randn(6, 3, 8, 8), Tensor(np.arange(6) % 3))]
    Trainer(
        model, optim.Adam([p for p in model.parameters() if p.requires_grad]), nn.CrossEntropyLoss(), progress=False
    ).fit(images)
    after = model.state_dict()
    assert {name[3:] for name in before if name[:3] == "bn." and (before[name] != after[name]).any()} == moves
    assert (before["conv.weight"] != after["conv.weight"]).any()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"rates_by_depth": 2}, "the factor of the learning rates is not valid; seen rates_by_depth=2"),
        ({"unfreeze": "slowly"}, "unfreeze is not valid; seen unfreeze='slowly'; rule: at once or gradually"),
        ({"freeze_bn": "some"}, "freeze_bn is not valid"),
        ({"freeze": "backbone", "unfreeze": "gradually"}, "only the head learns, and has no stages"),
    ],
)
def test_settings_that_are_not_valid(settings, text):
    with pytest.raises(MinicnnError) as caught:
        Settings(**settings).check()
    assert text in str(caught.value)
