"""What a recurrent step of a recording computed, and what its gradient does on the way back through time."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from minicnn.backends.arrays import moved
from minicnn.ops import gru, lstm, rnn
from minicnn.ops.registry import algorithm
from minicnn.ops.rnn.sequences import before
from minicnn.study.explain.asked import Asked
from minicnn.study.explain.notation import Math, Part, at
from minicnn.study.explain.terms import Block, Column, Index, block

KINDS = ("rnn", "lstm", "gru")
GATES = {"rnn": ("",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}


class RecurrentRun:
    """What a recurrent step computed, and what went back through time."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.kind = asked, asked.step.operation.name
        self.reverse = bool(asked.options.get("reverse", False))
        self.hidden = asked.shape("w_hh")[1]
        self.steps = asked.shape("x")[0]

    @cached_property
    def h(self) -> np.ndarray:
        """(T, N, H)"""
        y = self.asked.array("y")
        return y[0] if self.kind == "lstm" else y

    @cached_property
    def gates(self) -> np.ndarray:
        """(T, N, 4H): of an LSTM i, f, g, o; of a GRU r, z, n, u_n."""
        kept = self.asked.step.saved.get("gates")
        if kept is None:
            op = {"lstm": lstm, "gru": gru}[self.kind]
            arrays = [self.asked.array(name) if self.asked.has(name) else None for name in self.asked.step.names]
            kept = op.forward(*arrays, reverse=self.reverse)[1]  # type: ignore[arg-type]
        return moved(kept, "cpu")

    def gate(self, k: int, t: int, n: int, j: int) -> float:
        """One number of block k."""
        return float(self.gates[t, n, k * self.hidden + j])

    @cached_property
    def h_before(self) -> np.ndarray:
        """The state before each step: (T, N, H)."""
        return np.asarray(before(self.h, self.asked.array("h0"), self.reverse))

    @cached_property
    def c_before(self) -> np.ndarray:
        """The cell before each step: (T, N, H)."""
        return np.asarray(before(self.asked.array("y")[1], self.asked.array("c0"), self.reverse))

    @cached_property
    def back(self) -> dict[str, np.ndarray]:
        """da (and for a GRU du): (T, N, G), by the engine."""
        asked, dy = self.asked, self.asked.array("dy")
        w_hh = asked.array("w_hh")
        with algorithm(**asked.step.algorithms):
            if self.kind == "rnn":
                found = rnn.grad_steps(dy, self.h, w_hh, **asked.options)
                return {"da": found[0], "ds": found[0]}
            if self.kind == "lstm":
                y, c0 = asked.array("y"), asked.array("c0")
                da = lstm.grad_steps(dy, y, self.gates, c0, w_hh, reverse=self.reverse)[0]
                return {"da": da, "ds": da}
            da, du, _ = gru.grad_steps(dy, self.h, self.gates, asked.array("h0"), w_hh, reverse=self.reverse)
            return {"da": da, "ds": du}

    @property
    def first(self) -> int:
        """The step that comes first in time."""
        return self.steps - 1 if self.reverse else 0

    def later(self, t: int) -> int | None:
        """The step after t in time."""
        after = t - 1 if self.reverse else t + 1
        return after if 0 <= after < self.steps else None

    @property
    def neighbours(self) -> tuple[str, str]:
        """How formulas call the step before t and the one after it, in time."""
        return ("t+1", "t−1") if self.reverse else ("t−1", "t+1")

    def state_before(self, name: str, t: int, *rest: Part) -> Math:
        """The state (or cell, `name` c) before step t as a formula writes it: h[0,n,j], or h0[n,j] at the first."""
        before = t + 1 if self.reverse else t - 1
        return at(f"{name}0", *rest) if t == self.first else at(name, before, *rest)

    def product(self, name: str, t: int, n: int, row: int) -> list[Block]:
        """The terms of x @ w_ih^T + b_ih or h[t-1] @ w_hh^T + b_hh."""
        asked = self.asked
        state = name == "hh"
        many = self.hidden if state else asked.shape("x")[2]
        k = np.arange(many)
        if state:
            left = Column(
                "h_before", self.h_before[t, n].astype(np.float64), places_of(t, n, k), "state before the step"
            )
        else:
            left = asked.column("x", t, n, k)
        blocks = [block("state" if state else "input", left, asked.column(f"w_{name}", row, k))]
        if asked.has(f"b_{name}"):
            blocks.append(block(f"b_{name}", asked.column(f"b_{name}", row)))
        return blocks


def one_number(name: str, value: Any, index: Index) -> Column:
    """One number as a column."""
    return Column(name, np.array([float(value)]), np.array([index]))


def places_of(*places: Any) -> np.ndarray:
    """Indices from places, one for each axis, repeated to fit: (T, axes)."""
    return np.stack(np.broadcast_arrays(*(np.atleast_1d(place) for place in places)), axis=-1).astype(np.int64)


def step_words(asked: Asked, t: int) -> str:
    """Where a step stands, in words."""
    return f"step {t} of 0..{asked.shape('x')[0] - 1}; x: {asked.source('x')} {asked.shape('x')}"
