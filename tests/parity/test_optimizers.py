"""Optimizers against PyTorch's, step for step: the same gradients, the same parameters after each of 20 steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn, optim
from minicnn.autograd import Tensor

torch = pytest.importorskip("torch")

STEPS = 20
CASES = 5
SHAPES = ((3, 2), (5,), (), (2, 1, 3))
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def follow(build: Any, rng: Any, dtype: Any, *, change: Any = None, skip: bool = False) -> None:
    """Run both optimizers; `change` alters settings on the way, `skip` leaves out gradients now and then."""
    first = [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]
    mine = [nn.Parameter(value.copy()) for value in first]
    yours = [torch.nn.Parameter(torch.tensor(value)) for value in first]
    ours, theirs = build(optim, mine), build(torch.optim, yours)
    for step in range(STEPS):
        for p, q in zip(mine, yours, strict=True):
            g = np.asarray(rng.standard_normal(p.shape), dtype)
            missing = skip and rng.random() < 0.3
            p.grad = None if missing else Tensor(g)
            q.grad = None if missing else torch.tensor(g)
        ours.step()
        theirs.step()
        for p, q in zip(mine, yours, strict=True):
            assert_close(p.array, q.detach().numpy(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        if change is not None:
            change(step, ours)
            change(step, theirs)


def sgd(rng: Any) -> dict[str, Any]:
    """Settings of SGD, all options."""
    options = {"lr": float(10 ** rng.uniform(-3, -0.5)), "weight_decay": float(rng.choice([0.0, 0.01, 0.3]))}
    kind = rng.choice(["plain", "momentum", "dampening", "nesterov"])
    if kind != "plain":
        options["momentum"] = float(rng.uniform(0.1, 0.95))
    if kind == "dampening":
        options["dampening"] = float(rng.uniform(0, 1))
    return {**options, "nesterov": True} if kind == "nesterov" else options


def adam(rng: Any) -> dict[str, Any]:
    """Settings of Adam, all options."""
    return {
        "lr": float(10 ** rng.uniform(-4, -1)),
        "betas": (float(rng.uniform(0, 0.95)), float(rng.uniform(0.5, 0.999))),
        "eps": float(10 ** rng.uniform(-8, -2)),
        "weight_decay": float(rng.choice([0.0, 0.01, 0.3])),
    }


def adamax(rng: Any) -> dict[str, Any]:
    """Settings of Adamax: the largest gradient is forgotten slowly, or its division would blow rounding up."""
    return {**adam(rng), "betas": (float(rng.uniform(0, 0.95)), float(rng.uniform(0.8, 0.999)))}


def adagrad(rng: Any) -> dict[str, Any]:
    """Settings of Adagrad, all options."""
    return {
        "lr": float(10 ** rng.uniform(-3, -0.5)),
        "lr_decay": float(rng.choice([0.0, 0.1])),
        "weight_decay": float(rng.choice([0.0, 0.01, 0.3])),
        "initial_accumulator_value": float(rng.choice([0.0, 0.5])),
        "eps": float(10 ** rng.uniform(-10, -2)),
    }


def rmsprop(rng: Any) -> dict[str, Any]:
    """Settings of RMSprop, all options."""
    return {
        "lr": float(10 ** rng.uniform(-4, -1)),
        "alpha": float(rng.uniform(0.5, 0.99)),
        "eps": float(10 ** rng.uniform(-8, -2)),
        "weight_decay": float(rng.choice([0.0, 0.01, 0.3])),
        "momentum": float(rng.choice([0.0, 0.9])),
        "centered": bool(rng.random() < 0.5),
    }


KINDS = {"SGD": sgd, "Adam": adam, "AdamW": adam, "Adamax": adamax, "Adagrad": adagrad, "RMSprop": rmsprop}


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


def test_defaults(kind, rng, dtype):
    follow(lambda optim, ps: getattr(optim, kind)(ps), rng, dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ],
    ids=lambda options: ", ".join(options),
)
def test_kinds_of_sgd(rng, dtype, options):
    follow(lambda optim, ps: optim.SGD(ps, lr=0.1, **options), rng, dtype)


def test_random_settings(kind, rng, dtype):
    for _ in range(CASES):
        options = KINDS[kind](rng)
        print(options)
        follow(lambda optim, ps, o=options: getattr(optim, kind)(ps, **o), rng, dtype)


def test_groups(kind, rng, dtype):
    for _ in range(CASES):
        groups, common = [KINDS[kind](rng) for _ in range(2)], KINDS[kind](rng)
        for group in groups:
            group.pop(str(rng.choice(["lr", "weight_decay"])))
        if kind == "SGD" and any(g.get("dampening", common.get("dampening")) for g in groups):
            common.pop("nesterov", None)  # neither package takes both together
            groups = [{k: v for k, v in g.items() if k != "nesterov"} for g in groups]
        for group in groups:
            group.pop("initial_accumulator_value", None)  # PyTorch's groups have no own one, ours do
        print(groups, common)

        def build(optim, ps, groups=groups, common=common):
            split = [{"params": ps[:1], **groups[0]}, {"params": ps[1:3], **groups[1]}, {"params": ps[3:]}]
            return getattr(optim, kind)(split, **common)

        follow(build, rng, dtype)


def test_gradients_that_are_missing_now_and_then(kind, rng, dtype):
    """Each parameter counts its own steps."""
    for _ in range(CASES):
        options = KINDS[kind](rng)
        print(options)
        follow(lambda optim, ps, o=options: getattr(optim, kind)(ps, **o), rng, dtype, skip=True)


def test_a_schedule(kind, rng, dtype):
    """The learning rate may change between steps, in the same place."""

    def change(step, optimizer):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (step + 1)

    options = {"momentum": 0.9} if kind == "SGD" else {}
    follow(lambda optim, ps: getattr(optim, kind)(ps, lr=0.1, **options), rng, dtype, change=change)


OPTIONS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("Adagrad", {}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=[f"{k} {', '.join(o)}".strip() for k, o in OPTIONS])
def test_names_and_defaults(kind, options):
    """A state dict has PyTorch's names, its settings the same values."""
    p, q = nn.Parameter(np.ones(3)), torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    p.grad, q.grad = Tensor(np.ones(3)), torch.ones(3, dtype=torch.float64)
    ours, theirs = getattr(optim, kind)([p], **options), getattr(torch.optim, kind)([q], **options)
    ours.step()
    theirs.step()
    mine, yours = ours.state_dict(), theirs.state_dict()
    group = mine["param_groups"][0]
    assert group.items() <= yours["param_groups"][0].items()
    memory = {name: value for name, value in yours["state"].get(0, {}).items() if value is not None}
    assert mine["state"][0].keys() == memory.keys()
    for name, value in memory.items():
        assert_close(np.asarray(mine["state"][0][name], np.float64), value.double().numpy(), rtol=1e-14)


def test_single_numbers_and_arrays_alike(rng):
    """`SHAPES` holds a parameter without axes: NumPy makes plain numbers of such arrays, where nobody looks."""
    assert () in SHAPES
    follow(lambda optim, ps: optim.SGD(ps[2:3], lr=0.1, momentum=0.9, weight_decay=0.1), rng, np.float64)
