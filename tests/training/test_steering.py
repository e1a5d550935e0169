"""What changes the steps of a training besides, or ends it: each does what it says, and goes on to the same bits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader
from minicnn.errors import ArgumentError
from minicnn.training import Checkpoints, EarlyStopping, Epoch, History, ReduceOnPlateau, Trainer, constant, warm_up

EPOCH = Epoch(1, 1.0, 0.5, 1.0, 0.5, 0.5, 0.1, 1.0, 1.0)


def history(*losses):
    return History([replace(EPOCH, number=i, validation_loss=loss) for i, loss in enumerate(losses, 1)])


@pytest.fixture
def loaders(stripes):
    return lambda: (DataLoader(stripes(16), 4, shuffle=True), DataLoader(stripes(8, seed=99), 4))


def arrays(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


# ---- each by itself -------------------------------------------------------------------------------------------------


def test_a_plateau_lowers_the_rate_by_pytorchs_rule():
    schedule = ReduceOnPlateau(factor=0.5, patience=1, least=0.2)
    factors = []
    losses = [1.0, 0.9, 0.95, 0.95, 0.9, 0.95, 0.8, 0.9, 0.9, 0.9]
    for epochs in range(len(losses) + 1):
        schedule.after_epoch(history(*losses[:epochs]))
        factors.append(schedule(0.5))
    assert factors == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2]
    schedule.after_epoch(History())
    assert schedule(0.5) == 1


def test_a_plateau_after_a_warm_up():
    schedule = ReduceOnPlateau(factor=0.5, patience=0, then=warm_up(0.5, constant(), start=0.0))
    schedule.after_epoch(history(1.0, 1.0))
    assert (schedule(0.25), schedule(0.75)) == (0.25, 0.5)


def test_early_stopping_counts_epochs_without_a_better_number():
    rule = EarlyStopping(patience=2, min_delta=0.05)
    assert not rule.is_over(history(1.0, 0.9, 0.88))  # 0.88 is not better by more than 0.05
    assert rule.best(history(1.0, 0.9, 0.88)).number == 2
    assert rule.is_over(history(1.0, 0.9, 0.88, 0.86))
    assert not rule.is_over(history(1.0, 0.9, 0.88, 0.84))
    assert not rule.is_over(History())


def test_the_best_weights_come_back(tiny, loaders):
    kept = {}
    model = tiny()

    def keep(epoch):
        kept[epoch.number] = arrays(model)

    stopping = EarlyStopping(patience=1, monitor="train_loss", min_delta=10.0)  # nothing is better than the first
    trainer = Trainer(
        model,
        optim.SGD(model.parameters(), 0.1),
        nn.CrossEntropyLoss(),
        progress=False,
        on_epoch=keep,
        early_stopping=stopping,
    )
    past = trainer.fit(*loaders(), epochs=9)
    assert past.column("number") == [1, 2]
    assert arrays(model) == kept[1] != kept[2]
    assert trainer.evaluation.loss == past[0].validation_loss


def test_average_penalty_and_clipping_are_the_loop_that_one_would_write(tiny, loaders):
    train, _ = loaders()
    results = []
    for model in (tiny(), tiny()):
        minicnn.manual_seed(1)
        train.set_epoch(0)
        optimizer, ema = optim.SGD(model.parameters(), 0.1), optim.EMA(model.parameters(), 0.5)
        loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)
        if not results:
            trainer = Trainer(
                model,
                optimizer,
                loss_function,
                progress=False,
                clip_norm=0.5,
                ema=ema,
                penalty=lambda model=model: nn.l1_penalty(model.parameters(), 0.01),
            )
            trainer.fit(train)
        else:
            model.train()
            for x, labels in train:
                optimizer.zero_grad()
                (loss_function(model(x), labels) + nn.l1_penalty(model.parameters(), 0.01)).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                ema.update()
            ema.swap()
        results.append(arrays(model))
    assert results[0] == results[1]


def test_the_validation_sees_the_average(tiny, loaders):
    model = tiny()
    ema = optim.EMA(model.parameters(), 0.9)
    seen = []
    trainer = Trainer(
        model,
        optim.SGD(model.parameters(), 0.1),
        nn.CrossEntropyLoss(),
        progress=False,
        ema=ema,
        on_epoch=lambda epoch: seen.append((ema.is_applied, arrays(model))),
    )
    past = trainer.fit(*loaders(), epochs=2)
    assert [applied for applied, _ in seen] == [True, True]
    assert not ema.is_applied
    assert arrays(model) == seen[-1][1]
    assert_close(trainer.evaluate(loaders()[1]).loss, past[-1].validation_loss, rtol=1e-6)


# ---- from a checkpoint ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As if the process had ended."""


def training(tiny, loaders, folder, kill=0, **changes):
    """A training with all of it, built anew; ends in that call of the loss. Its results as bytes."""
    model = tiny()
    minicnn.manual_seed(5)
    calls = 0

    def loss(scores, labels):
        nonlocal calls
        calls += 1
        if calls == kill:
            raise Killed
        return nn.functional.cross_entropy(scores, labels)

    options = {
        "schedule": ReduceOnPlateau(factor=0.5, patience=0, threshold=0.3),
        "ema": optim.EMA(model.parameters(), 0.8),
        "early_stopping": EarlyStopping(patience=2, min_delta=0.3),
        "clip_norm": 1.0,
        "penalty": lambda: nn.l2_penalty(model.parameters(), 1e-3),
        **changes,
    }
    optimizer = optim.RMSprop(model.parameters(), 0.01, momentum=0.5, centered=True)
    trainer = Trainer(model, optimizer, loss, progress=False, **options)
    checkpoints = Checkpoints(folder, every="1")
    past = trainer.fit(*loaders(), epochs=6, checkpoints=checkpoints, resume=True)
    return arrays(model), past.column("lr"), past.column("validation_loss"), trainer.evaluation.loss


def test_the_same_bits_after_interruptions(tiny, loaders, tmp_path):
    whole = training(tiny, loaders, tmp_path / "whole")
    assert len(set(whole[1])) > 1  # the rate went down
    assert len(whole[1]) < 6  # and the training ended early
    assert training(tiny, loaders, tmp_path / "whole") == whole  # everything was done before
    for kill in (3, 5, 6, 9, 2):  # within an epoch, in a validation, ...
        with pytest.raises(Killed):
            training(tiny, loaders, tmp_path / "parts", kill)
    assert training(tiny, loaders, tmp_path / "parts") == whole


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schedule": ReduceOnPlateau(factor=0.25, patience=0, threshold=0.3)}, "with another schedule"),
        ({"early_stopping": EarlyStopping(patience=3)}, "with other early stopping"),
        ({"early_stopping": None}, "with other early stopping"),
        ({"ema": None}, "with another average of the weights"),
        ({"clip_norm": None}, "with other clipping of gradients"),
        ({"penalty": None}, "with, or without, a penalty"),
    ],
)
def test_other_settings_are_refused(tiny, loaders, tmp_path, changes, text):
    with pytest.raises(Killed):
        training(tiny, loaders, tmp_path, 3)
    with pytest.raises(ArgumentError, match=f"a checkpoint {text}"):
        training(tiny, loaders, tmp_path, **changes)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: ReduceOnPlateau(factor=1.0),
            "ReduceOnPlateau: factor is not valid; seen factor=1.0; rule: 0 < factor",
        ),
        (lambda: ReduceOnPlateau(patience=-1), "Plateau: patience is not valid; seen patience=-1; rule: patience >= 0"),
        (
            lambda: ReduceOnPlateau(monitor="f1"),
            "ReduceOnPlateau: monitor is not valid; seen monitor='f1'; rule: one of",
        ),
        (
            lambda: EarlyStopping(patience=0),
            "EarlyStopping: patience is not valid; seen patience=0; rule: patience >= 1",
        ),
        (lambda: EarlyStopping(min_delta=math.nan), "EarlyStopping: min_delta is not valid; seen min_delta=nan"),
        (
            lambda: EarlyStopping().is_over(History([replace(EPOCH, validation_loss=None)] * 2)),
            "EarlyStopping: there is no validation_loss; seen no validation images; hint: give them, or monitor=",
        ),
    ],
)
def test_bad_arguments(call, text):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value).startswith(text)


def test_weights_are_copies(tiny):
    model, rule = tiny(), EarlyStopping()
    rule.after_epoch(history(1.0), model)
    before = {name: np.array(array) for name, array in rule.weights.items()}
    for p in model.parameters():
        p.array += 1
    assert all(np.array_equal(before[name], array) for name, array in rule.weights.items())
