"""Recurrent layers and cells against PyTorch's: outputs, states, and gradients of all inputs and parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn
from minicnn.autograd import Tensor

torch = pytest.importorskip("torch")

TOLERANCE = {np.float32: (2e-5, 1e-6), np.float64: (1e-10, 1e-12)}
KINDS = {"RNN": {}, "RNN relu": {"nonlinearity": "relu"}, "LSTM": {}, "GRU": {}}


def whole(rng: Any, least: int, most: int) -> int:
    return int(rng.integers(least, most + 1))


def leaves(value: Any) -> list[Any]:
    """All tensors in nested tuples."""
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple) else [value]


def held(ours: Any, theirs: Any, dtype: Any) -> None:
    rtol, atol = TOLERANCE[dtype]
    assert_close(ours, theirs.detach().numpy(), rtol=rtol, atol=atol)


def compare(mine: Any, yours: Any, x: np.ndarray, states: list[np.ndarray], rng: Any) -> None:
    """The same state and input for both; a random gradient for each output."""
    dtype = x.dtype.type
    mine.to_dtype(dtype)
    yours.to(torch.float64 if dtype == np.float64 else torch.float32)
    state = {name: np.asarray(rng.standard_normal(p.shape) / 2, dtype) for name, p in yours.named_parameters()}
    yours.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    assert mine.load_state_dict(state) == ([], [])
    assert list(mine.state_dict()) == list(state)
    ours = [Tensor(a, requires_grad=True) for a in (x, *states)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, *states)]

    def results(layer: Any, tensors: list[Any]) -> list[Any]:
        hx = tuple(tensors[1:]) if len(states) == 2 else tensors[1] if states else None
        return leaves(layer(tensors[0], hx))

    found, expected = results(mine, ours), results(yours, theirs)
    assert len(found) == len(expected)
    total = 0
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        held(a.array, b, dtype)
        dy = np.asarray(rng.standard_normal(a.shape), dtype)
        a.backward(dy, retain_graph=k + 1 < len(found))
        total = total + (b * torch.tensor(dy)).sum()
    total.backward()
    for a, b in zip(ours, theirs, strict=True):
        held(a.grad.array, b.grad, dtype)
    gradients = {name: p.grad for name, p in yours.named_parameters()}
    for name, p in mine.named_parameters():
        held(p.grad.array, gradients[name], dtype)


@pytest.mark.parametrize("by_tape", [False, True], ids=["fused", "tape"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers(rng, kind, by_tape):
    name = kind.split()[0]
    for dtype in (np.float32, np.float64, np.float64, np.float64):
        options = {key: bool(rng.random() < 0.5) for key in ("bias", "batch_first", "bidirectional")} | KINDS[kind]
        inputs, hidden, layers = whole(rng, 1, 5), whole(rng, 1, 9), whole(rng, 1, 3)
        length, n = whole(rng, 1, 6), whole(rng, 1, 6)
        mine = getattr(nn, name)(inputs, hidden, layers, **options)
        mine.by_tape = by_tape
        yours = getattr(torch.nn, name)(inputs, hidden, layers, **options)
        batch = () if rng.random() < 0.2 else (n,)
        shape = (*batch, length, inputs) if options["batch_first"] else (length, *batch, inputs)
        x = np.asarray(rng.standard_normal(shape), dtype)
        many = layers * (1 + options["bidirectional"])
        count = 0 if rng.random() < 0.2 else 1 + (name == "LSTM")
        states = [np.asarray(rng.standard_normal((many, *batch, hidden)), dtype) for _ in range(count)]
        compare(mine, yours, x, states, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_cells(rng, kind):
    name = f"{kind.split()[0]}Cell"
    for dtype in (np.float32, np.float64):
        inputs, hidden, bias = whole(rng, 1, 5), whole(rng, 1, 6), bool(rng.random() < 0.5)
        batch = () if rng.random() < 0.3 else (whole(rng, 1, 5),)
        states = [np.asarray(rng.standard_normal((*batch, hidden)), dtype) for _ in range(1 + (name == "LSTMCell"))]
        layers = (getattr(made, name)(inputs, hidden, bias, **KINDS[kind]) for made in (nn, torch.nn))
        compare(*layers, np.asarray(rng.standard_normal((*batch, inputs)), dtype), states, rng)


def test_dropout_between_layers(rng):
    """In evaluation none; in training values differ from call to call, and those of the last layer are not dropped."""
    mine = nn.LSTM(3, 4, 2, dropout=0.5)
    x = np.asarray(rng.standard_normal((5, 2, 3)), np.float32)
    outputs = [mine(Tensor(x))[0].array for _ in range(2)]
    assert not np.array_equal(*outputs)
    assert (outputs[0] != 0).all()
    compare(mine.eval(), torch.nn.LSTM(3, 4, 2, dropout=0.5).eval(), x, [], rng)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_initial_values(name):
    mine, yours = (getattr(made, name)(30, 49, 2, bidirectional=True) for made in (nn, torch.nn))
    for (a, p), (b, q) in zip(mine.named_parameters(), yours.named_parameters(), strict=True):
        assert a == b
        assert p.shape == tuple(q.shape)
        assert 0.8 / 7 < np.abs(p.array).max() <= 1 / 7
        assert p.array.size < 100 or abs(p.array.std() * 7 * 3**0.5 - 1) < 0.2
