"""The ladder of the optimizers' steps: NumPy, compiled loops, and PyTorch's optimizers, on one large weight.

A step changes its arrays, so a candidate is checked by its first step, from the same arrays and an empty memory, and
then goes on with its own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from minicnn.ops.updates import formula, loops
from minicnn.study import timing

SHAPE = (512, 512, 3, 3)  # the largest weights of ResNet-18
RATE, ALPHA, BETA1, BETA2, EPS = 1e-3, 0.99, 0.9, 0.999, 1e-8
BOTH = (False, True)  # PyTorch's one kernel for all (fused), or one for each operation
SGD: dict[str, Any] = {"lr": RATE, "weight_decay": 0.0}
ADAM: dict[str, Any] = {"step_size": RATE / (1 - BETA1), "beta1": BETA1, "beta2": BETA2, "eps": EPS, "weight_decay": 0}

# Settings of our step, and PyTorch's optimizers of the same
STEPS: dict[str, tuple[dict[str, Any], Callable[[Any], list[Any]]]] = {
    "sgd": (SGD, lambda w: [torch.optim.SGD([w], RATE, fused=f) for f in BOTH]),
    "sgd_momentum": (
        {**SGD, "keep": 0.9, "take": 1.0, "ahead": 0.9, "nesterov": False},
        lambda w: [torch.optim.SGD([w], RATE, momentum=0.9, fused=f) for f in BOTH],
    ),
    "adam": (
        {**ADAM, "correction": math.sqrt(1 - BETA2), "shrink": 1.0},
        lambda w: [torch.optim.Adam([w], RATE, (BETA1, BETA2), EPS, fused=f) for f in BOTH],
    ),
    "adamax": (ADAM, lambda w: [torch.optim.Adamax([w], RATE, (BETA1, BETA2), EPS)]),
    "adagrad": ({**SGD, "eps": EPS}, lambda w: [torch.optim.Adagrad([w], RATE, eps=EPS, fused=f) for f in BOTH]),
    "rmsprop": (
        {**SGD, "alpha": ALPHA, "eps": EPS, "momentum": 0.0},
        lambda w: [torch.optim.RMSprop([w], RATE, ALPHA, EPS)],
    ),
}


def measure_update(name: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of a step of each candidate, as a row of `operations.py`."""
    settings, optimizers = STEPS[name]
    rng = np.random.Generator(np.random.PCG64(0))
    w, g = (rng.standard_normal(SHAPE, dtype=np.float32) for _ in range(2))
    right = w.astype(np.float64)
    _step(formula, name, right, g.astype(np.float64), settings)()
    candidates: dict[str, tuple[Any, Callable[[], Any]]] = {}
    for module in (formula, loops):
        mine = w.copy()
        candidates[module.__name__.rpartition(".")[2]] = mine, _step(module, name, mine, g, settings)
    for i in range(len(optimizers(torch.zeros(1)))):
        tensor = torch.from_numpy(w.copy())
        tensor.grad = torch.from_numpy(g)
        candidates[f"torch {i}"] = tensor, optimizers(tensor)[i].step
    for key, (changed, call) in candidates.items():
        call()
        error = timing.relative_error(changed, right)
        if not error < 1e-5:
            raise SystemExit(f"updates {name}, {key}: wrong: error {error:.1e}")
    seconds = timing.interleaved({key: call for key, (_, call) in candidates.items()}, rounds)
    ours = {key: s * 1e3 for key, s in seconds.items() if not key.startswith("torch")}
    return {
        "pass": name,
        "work": f"w {'x'.join(map(str, SHAPE))}",
        "dtype": "float32",
        "view": False,
        "ms": dict(sorted(ours.items(), key=lambda item: -item[1])),
        "layouts": {},
        "torch_ms": min(s for key, s in seconds.items() if key.startswith("torch")) * 1e3,
        "left_out": {},
    }


def _step(module: Any, name: str, w: np.ndarray, g: np.ndarray, settings: dict[str, Any]) -> Callable[[], Any]:
    """A step of ours with an empty memory: zeros for m, s, u and v; none for what only variants of RMSprop keep."""
    function = getattr(module, name)
    memory = [key for key in inspect.signature(function).parameters if key not in ("w", "g", *settings)]
    variants = ("a", "v") if name == "rmsprop" else ()
    kept = {key: None if key in variants else np.zeros_like(w) for key in memory}
    return lambda: function(w=w, g=g, **kept, **settings)
