"""Schedulers, the average of weights, clipping and channel dropout against PyTorch's, step for step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn, optim
from minicnn.autograd import Tensor

torch = pytest.importorskip("torch")

LOSSES = [1.0, 0.9, 0.9, 0.91, 0.8, 0.79999, 0.85, 0.9, 0.7, 0.7, math.nan, 0.7, 0.7, 0.7, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
SCHEDULERS = {
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 7, 7, 11]),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.8),
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda t: 1 / (t + 1), lambda t: 0.9**t]),
    "CosineAnnealingLR, past its end": lambda s, o: s.CosineAnnealingLR(o, 8, 0.001),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.3, total_steps=20),
    "OneCycleLR, linear": lambda s, o: s.OneCycleLR(
        o, [0.3, 0.1], epochs=4, steps_per_epoch=5, anneal_strategy="linear"
    ),
    "OneCycleLR, three phases": lambda s, o: s.OneCycleLR(
        o, 0.3, 20, pct_start=0.4, three_phase=True, base_momentum=0.8, max_momentum=[0.9, 0.99], div_factor=10
    ),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "ReduceLROnPlateau, cooldown": lambda s, o: s.ReduceLROnPlateau(o, patience=0, cooldown=2, min_lr=[0.01, 0.0]),
    "ReduceLROnPlateau, max": lambda s, o: s.ReduceLROnPlateau(
        o, "max", patience=1, threshold=0.05, threshold_mode="abs", factor=0.3
    ),
}
OPTIMIZERS = {
    "SGD": lambda optim, groups: optim.SGD(groups, lr=0.1, momentum=0.9),
    "Adam": lambda optim, groups: optim.Adam(groups, lr=0.1),
}


def settings(optimizer):
    """Learning rate and momentum of each group."""
    return [
        [group["lr"], group["betas"][0] if "betas" in group else group["momentum"]] for group in optimizer.param_groups
    ]


def rates(of, parameter, schedulers, kind, name, reload=False):
    """Settings after each step."""
    groups = [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.04}]
    optimizer = OPTIMIZERS[kind](of, groups)
    scheduler = SCHEDULERS[name](schedulers, optimizer)
    path = [settings(optimizer)]
    for step, loss in enumerate(LOSSES):
        optimizer.step()
        if name.startswith("ReduceLROnPlateau"):
            scheduler.step(loss)
        else:
            scheduler.step()
        path.append(settings(optimizer))
        if reload and step == 5:
            state, rest = scheduler.state_dict(), optimizer.state_dict()
            scheduler = SCHEDULERS[name](schedulers, optimizer)
            optimizer.load_state_dict(rest)
            scheduler.load_state_dict(state)
    return path


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_rates(name, kind):
    mine = rates(optim, lambda: nn.Parameter(np.ones(2)), optim.lr_scheduler, kind, name)
    yours = rates(torch.optim, lambda: torch.nn.Parameter(torch.ones(2)), torch.optim.lr_scheduler, kind, name)
    assert_close(np.array(mine), np.array(yours), rtol=1e-13)
    again = rates(optim, lambda: nn.Parameter(np.ones(2)), optim.lr_scheduler, kind, name, reload=True)
    assert again == mine


def test_average_of_weights():
    rng = np.random.default_rng(0)
    layer, twin = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    ema = optim.EMA(layer.parameters(), decay=0.9)
    mean = torch.optim.swa_utils.AveragedModel(twin, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    for _ in range(10):
        for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
            p.array[...] = rng.standard_normal(p.shape)
            q.data.copy_(torch.tensor(p.array))
        ema.update()
        mean.update_parameters(twin)
    with ema.applied():
        for p, q in zip(layer.parameters(), mean.module.parameters(), strict=True):
            assert_close(p.array, q.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("most", [0.5, 100.0, 0.0])
def test_clipped_norm(most, norm_type):
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 2), (5,), ())]
    mine = [nn.Parameter(np.zeros_like(g)) for g in gradients]
    yours = [torch.nn.Parameter(torch.zeros(g.shape)) for g in gradients]
    for p, q, g in zip(mine, yours, gradients, strict=True):
        p.grad, q.grad = Tensor(np.array(g)), torch.tensor(g)
    norm = nn.utils.clip_grad_norm_([*mine, nn.Parameter(np.ones(2, np.float32))], most, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(yours, most, norm_type)
    assert_close(norm.array, expected.numpy(), rtol=1e-6)
    for p, q in zip(mine, yours, strict=True):
        assert_close(p.grad.array, q.grad.numpy(), rtol=1e-6)
    nn.utils.clip_grad_value_(mine, 0.1)
    torch.nn.utils.clip_grad_value_(yours, 0.1)
    for p, q in zip(mine, yours, strict=True):
        assert_close(p.grad.array, q.grad.numpy(), rtol=1e-6)


def test_label_smoothing():
    """With class weights too: PyTorch weighs the smoothed targets."""
    rng = np.random.default_rng(0)
    x, labels, weight = rng.standard_normal((6, 4)), rng.integers(0, 4, 6), rng.random(4)
    for options in ({}, {"weight": weight}):
        mine, yours = Tensor(x.copy(), requires_grad=True), torch.tensor(x, requires_grad=True)
        theirs = {key: torch.tensor(value) for key, value in options.items()}
        loss = nn.CrossEntropyLoss(label_smoothing=0.2, **options)(mine, Tensor(labels))
        expected = torch.nn.CrossEntropyLoss(label_smoothing=0.2, **theirs)(yours, torch.tensor(labels))
        loss.backward()
        expected.backward()
        assert_close(loss.item(), expected.item(), rtol=1e-12)
        assert_close(mine.grad.array, yours.grad.numpy(), rtol=1e-12)
