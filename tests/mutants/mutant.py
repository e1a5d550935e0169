"""Wrong implementations by name: each must be caught by the tests, and each wrong gradient by `gradcheck` too.

A mutant is a function that takes a MonkeyPatch and puts something wrong, but plausible, in the place of something
right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import minicnn.ops  # noqa: F401 (registers all operations)
from minicnn.ops.registry import operation

Apply = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """One wrong implementation.

    Attributes
    ----------
    name : str
    apply : callable
    suite : str
        The test file that must fail.
    gradient : str
        The operation whose gradient is wrong, for `gradcheck`; empty if none is.
    """

    name: str
    apply: Apply
    suite: str
    gradient: str = ""


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str, suite: str, gradient: str = "") -> Callable[[Apply], Apply]:
    """Register a function as a mutant."""

    def register(apply: Apply) -> Apply:
        assert name not in MUTANTS, name
        MUTANTS[name] = Mutant(name, apply, f"tests/{suite}.py", gradient)
        return apply

    return register


def in_pass(name: str, op: str, pass_name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Register a mutant of one pass, in all algorithms of an operation: `make(right)` gives the wrong function."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        for algorithm in operation(op).algorithms:
            passes = operation(op).algorithm(algorithm).passes
            patch.setitem(passes, pass_name, make(passes[pass_name]))

    suites = {"log_softmax": "softmax", **dict.fromkeys(("div", "sub", "sigmoid", "tanh", "log", "mul"), "elementwise")}
    suites |= dict.fromkeys(("sum", "mean", "max"), "reduce") | dict.fromkeys(("index", "concatenate"), "shape")
    suites |= dict.fromkeys(("rnn", "lstm", "gru"), "recurrent")
    mutant(name, f"ops/test_{suites.get(op, op)}", op if pass_name.startswith("grad") else "")(apply)
