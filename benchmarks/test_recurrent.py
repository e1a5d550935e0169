"""A training pass of recurrent layers: one operation, step by step on the tape, and PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from minicnn import nn
from minicnn.autograd import Tensor

WAYS = ("fused", "tape", "PyTorch")
SHAPES = ((8, 32, 8, 50), (28, 64, 28, 128))  # steps, sequences, features, units


@functools.lru_cache(maxsize=3)
def calls(kind: str, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    """Forward and backward of one layer by each way; the gradient of the input comes back."""
    steps, n, features, units = shape
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((steps, n, size), dtype=np.float32) for size in (features, units))
    ours, theirs = getattr(nn, kind)(features, units), getattr(torch.nn, kind)(features, units)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})

    def minicnn(by_tape: bool) -> np.ndarray:
        ours.by_tape, given = by_tape, Tensor(x, requires_grad=True)
        ours.zero_grad()
        ours(given)[0].backward(dy)
        return given.grad.array

    def pytorch() -> np.ndarray:
        given = torch.tensor(x, requires_grad=True)
        theirs.zero_grad()
        theirs(given)[0].backward(torch.tensor(dy))
        return given.grad.numpy()

    made = {"fused": functools.partial(minicnn, False), "tape": functools.partial(minicnn, True), "PyTorch": pytorch}
    results = [call() for call in made.values()]
    assert all(np.abs(found - results[2]).max() < 1e-4 * np.abs(results[2]).max() for found in results)
    return made


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_training_pass(measure, benchmark, kind, shape, way):
    """Forward and backward through time."""
    benchmark.group = f"{kind} {shape}"
    measure(calls(kind, shape)[way])
