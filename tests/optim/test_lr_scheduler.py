"""Schedulers and averages: what is wrong is said once; states go on. Their numbers are held to PyTorch's in parity/."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minicnn import nn, optim
from minicnn.errors import ArgumentError
from minicnn.optim import lr_scheduler as schedulers


def optimizer(**options):
    return optim.SGD([nn.Parameter(np.ones(2))], lr=0.1, **options)


WRONG = [
    (lambda o: schedulers.StepLR(o, -1), "StepLR: step_size is not valid; seen step_size=-1; rule: step_size >= 1"),
    (lambda o: schedulers.StepLR(o, 2.5), "StepLR: step_size is not valid; seen step_size=2.5"),
    (lambda o: schedulers.StepLR(o, 2, float("nan")), "StepLR: gamma is not valid; seen gamma=nan; rule: gamma >= 0"),
    (lambda o: schedulers.StepLR(1, 2), "StepLR: not an optimizer; seen int"),
    (lambda o: schedulers.MultiStepLR(o, [3, -1]), "MultiStepLR: milestone is not valid; seen milestone=-1"),
    (lambda o: schedulers.MultiStepLR(o, 3), "MultiStepLR: milestones are not valid; seen 3; rule: a list of epochs"),
    (lambda o: schedulers.ExponentialLR(o, -0.5), "ExponentialLR: gamma is not valid; seen gamma=-0.5"),
    (lambda o: schedulers.CosineAnnealingLR(o, 0), "CosineAnnealingLR: T_max is not valid; seen T_max=0"),
    (lambda o: schedulers.LambdaLR(o, 0.5), "LambdaLR: lr_lambda is not valid; seen 0.5; rule: one, or a list of 1"),
    (lambda o: schedulers.OneCycleLR(o, 0.1, -5), "OneCycleLR: total_steps is not valid; seen total_steps=-5"),
    (lambda o: schedulers.OneCycleLR(o, 0.1, epochs=3), "OneCycleLR: the number of steps is missing"),
    (
        lambda o: schedulers.OneCycleLR(o, 0.1, 9, pct_start=1.5),
        "OneCycleLR: pct_start is not valid; seen pct_start=1.",
    ),
    (lambda o: schedulers.OneCycleLR(o, [0.1, 0.2], 9), "OneCycleLR: max_lr does not fit the groups; seen 2 numbers"),
    (
        lambda o: schedulers.OneCycleLR(optim.Adagrad([nn.Parameter(np.ones(2))]), 0.1, 9),
        "OneCycleLR: the optimizer has no momentum; seen cycle_momentum=True, Adagrad; hint: cycle_momentum=False",
    ),
    (lambda o: schedulers.ReduceLROnPlateau(o, "low"), "ReduceLROnPlateau: mode is not valid; seen mode='low'"),
    (lambda o: schedulers.ReduceLROnPlateau(o, patience=-1), "ReduceLROnPlateau: patience is not valid"),
    (lambda o: schedulers.ReduceLROnPlateau(o, factor=1.0), "ReduceLROnPlateau: factor is not valid; seen factor=1.0"),
    (
        lambda o: schedulers.StepLR(o, 2).load_state_dict(schedulers.ExponentialLR(o, 0.5).state_dict()),
        "StepLR.load_state_dict: the state is of another scheduler",
    ),
    (lambda o: optim.EMA(o.param_groups[0]["params"], 1.0), "EMA: decay is not valid; seen decay=1.0"),
    (lambda o: optim.EMA([]), "EMA: no parameters"),
    (lambda o: nn.utils.clip_grad_norm_(o.param_groups[0]["params"], -1), "clip_grad_norm_: max_norm is not valid"),
    (lambda o: nn.utils.clip_grad_norm_([3], 1.0), "clip_grad_norm_: not a parameter; seen int"),
    (lambda o: nn.l1_penalty([], 0.1), "l1_penalty: no parameters"),
    (lambda o: nn.l2_penalty(o.param_groups[0]["params"], -0.1), "l2_penalty: strength is not valid"),
]


@pytest.mark.parametrize(("call", "text"), WRONG, ids=[text[:50] for _, text in WRONG])
def test_bad_arguments(call, text):
    with pytest.raises(ArgumentError) as caught:
        call(optimizer(momentum=0.9))
    assert str(caught.value).startswith(text)


def test_a_cycle_ends_and_says_so():
    o = optimizer(momentum=0.9)
    scheduler = schedulers.OneCycleLR(o, 0.1, 2)
    scheduler.step()
    scheduler.step()  # PyTorch lets this one pass too
    rate = o.param_groups[0]["lr"]
    for _ in range(2):
        with pytest.raises(ArgumentError, match=r"the cycle is over; seen step 3; rule: 2$"):
            scheduler.step()
    assert o.param_groups[0]["lr"] == rate


def test_states_are_json():
    o = optimizer(momentum=0.9)
    for scheduler in (schedulers.OneCycleLR(o, 0.1, 9), schedulers.MultiStepLR(o, [1, 2])):
        scheduler.step()
        state = json.loads(json.dumps(scheduler.state_dict()))
        other = optimizer(momentum=0.9)
        again = type(scheduler)(other, *((0.1, 9) if isinstance(scheduler, schedulers.OneCycleLR) else ([1, 2],)))
        again.load_state_dict(state)
        assert json.loads(json.dumps(again.state_dict())) == state
        assert state["last_epoch"] == 1


def test_a_group_that_comes_later_needs_a_new_scheduler():
    o = optimizer()
    scheduler = schedulers.StepLR(o, 2)
    o.add_param_group({"params": nn.Parameter(np.ones(1))})
    with pytest.raises(ArgumentError, match="has other groups"):
        scheduler.step()


def test_averages_go_on_from_their_state_whether_applied_or_not():
    p = nn.Parameter(np.array([1.0, 2.0]))
    ema = optim.EMA(p, decay=0.5)
    with ema.applied():  # nothing was averaged yet
        assert p.array.tolist() == [1, 2]
    ema.update()
    p.array += 2
    ema.update()
    with ema.applied():
        assert p.array.tolist() == [2, 3]
        state = ema.state_dict()
        with pytest.raises(ArgumentError, match=r"the parameters hold the averages"):
            ema.update()
    assert p.array.tolist() == [3, 4]
    assert state["average"][0].tolist() == [2, 3]
    other = optim.EMA(nn.Parameter(np.zeros(2)), decay=0.5)
    other.load_state_dict(state)
    assert other.state_dict()["average"][0].tolist() == [2, 3]
    with pytest.raises(ArgumentError, match="of other parameters"):
        optim.EMA(nn.Parameter(np.zeros(3))).load_state_dict(state)
