"""What is asked about a step, the arrays to answer it from, and the table of those who can answer.

A file for each kind of operation has one function for each quantity, marked with `@explains("conv2d", "y")`; it takes
an `Asked` and gives an `Answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import Math
from minicnn.study.explain.rounding import bound, overflows
from minicnn.study.explain.terms import Block, Column, Index, Terms
from minicnn.study.recording import Recording, Step


@dataclass
class Answer:
    """What an explainer found.

    Attributes
    ----------
    general, formula : Math
    blocks : list of Block
    words, notes, parts, how, algorithm
        As in `Explanation`.
    magnitude : float, optional
        What rounding is relative to; by default that of the blocks.
    factor : float
        See `rounding.bound`.
    count : int
        Roundings besides those of the terms: of sums inside of them.
    slack : float
        What parts that the engine does not keep may differ by, carried into this number.
    """

    general: Math
    formula: Math
    blocks: list[Block]
    words: str = ""
    notes: list[str] = field(default_factory=list)
    parts: list[Explanation] = field(default_factory=list)
    how: str = "sum"
    algorithm: str = ""
    magnitude: float | None = None
    factor: float = 1.0
    count: int = 0
    slack: float = 0.0


class Asked:
    """A quantity of a step at an index.

    Attributes
    ----------
    recording : Recording
    step : Step
    quantity : str
        As in `Explanation`.
    index : tuple of int
    """

    def __init__(self, recording: Recording, step: Step, quantity: str, index: Index) -> None:
        self.recording, self.step, self.quantity, self.index = recording, step, quantity, index

    @property
    def options(self) -> dict[str, Any]:
        """Of the operation."""
        return self.step.options

    @cached_property
    def tensors(self) -> dict[str, Tensor | None]:
        """The inputs by name."""
        return dict(zip(self.step.names, self.step.inputs, strict=True))

    def has(self, name: str) -> bool:
        """Whether this input was given."""
        return self.tensors.get(name) is not None

    def tensor(self, name: str) -> Tensor:
        """An input that is there."""
        found = self.tensors[name]
        assert found is not None
        return found

    def array(self, name: str) -> np.ndarray:
        """An input as a NumPy array; `"y"` is the output, `"dy"` its gradient."""
        if name == "y":
            return moved(self.step.output.array, "cpu")
        if name == "dy":
            return moved(self.step.dy, "cpu")
        return moved(self.tensor(name).array, "cpu")

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of that array."""
        return self.step.output.shape if name in ("y", "dy") else self.tensor(name).shape

    @property
    def dtype(self) -> Any:
        """The engine's."""
        return self.step.output.dtype

    def source(self, name: str) -> str:
        """What an input is, in words."""
        if name == "y":
            return f"output of {self.where}"
        if name == "dy":
            return f"gradient at the output of {self.where}"
        return self.recording.name_of(self.tensor(name))

    @property
    def where(self) -> str:
        """The layer, or else the operation."""
        return self.step.layer or self.step.operation.name

    @property
    def at(self) -> str:
        """The index as words write it: `[0,3,10,12]`."""
        return f"[{','.join(map(str, self.index))}]"

    def value(self, name: str, index: Sequence[int]) -> float:
        """One number of an array."""
        return float(self.array(name)[tuple(index)])

    def column(
        self, name: str, *places: Any, array: np.ndarray | None = None, source: str | None = None, padded: bool = False
    ) -> Column:
        """The numbers of an array at these places (arrays or whole numbers, one an axis, repeated to fit); none for a
        single number.

        With `padded`, places outside the array count as 0 in the padding.
        """
        values = self.array(name) if array is None else array
        known = source if source is not None else self.source(name)
        if not places:  # a single number
            return Column(name, np.atleast_1d(values.astype(np.float64)), np.empty((1, 0), np.int64), known)
        index = np.stack(np.broadcast_arrays(*(np.atleast_1d(place) for place in places)), axis=-1)
        index = index.reshape(-1, len(places)).astype(np.int64)
        outside: np.ndarray | None = None
        if padded:
            sizes = np.array(values.shape)
            outside = np.asarray(((index < 0) | (index >= sizes)).any(axis=1))
            inner = np.clip(index, 0, sizes - 1)
            found = np.where(outside, 0.0, values[tuple(inner.T)].astype(np.float64))
        else:
            found = values[tuple(index.T)].astype(np.float64)
        return Column(name, np.atleast_1d(found), index, known, outside)

    def one(self, name: str, index: Sequence[int]) -> Column:
        """One number of an array as a column."""
        return self.column(name, *index)

    # ---- answers ----------------------------------------------------------------------------------------------------

    def explanation(self, answer: Answer, engine: float | None, symbol: str | None = None) -> Explanation:
        """The answer beside the engine's value; raises `MismatchError` where they differ."""
        terms = Terms(answer.blocks)
        values = terms.values
        with np.errstate(all="ignore"):
            total = float(values.sum() if answer.how == "sum" else (values.max() if len(values) else np.nan))
        size = sum(b.magnitude for b in answer.blocks) if answer.magnitude is None else answer.magnitude
        exact = answer.how == "largest"
        allowed = 0.0 if exact else bound(self.dtype, len(terms) + answer.count, size, answer.factor)
        if engine is not None and not np.isfinite(engine) and overflows(self.dtype, len(terms) + answer.count, size):
            allowed = np.inf
        return Explanation(
            layer=self.step.layer,
            operation=self.step.operation.name,
            step=self.step.number,
            quantity=self.quantity if symbol is None else symbol,
            symbol=symbol or symbol_of(self.quantity),
            index=self.index,
            general=answer.general,
            formula=answer.formula,
            terms=terms,
            how=answer.how,
            total=total,
            engine=engine,
            dtype=str(self.dtype),
            bound=allowed + answer.slack,
            words=answer.words,
            notes=tuple(answer.notes),
            parts=tuple(answer.parts),
            algorithm=answer.algorithm,
        )

    def part(self, symbol: str, index: Index, answer: Answer, engine: float | None = None) -> Explanation:
        """A number inside of this one, explained."""
        return Asked(self.recording, self.step, symbol, index).explanation(answer, engine, symbol)


def explain_gradient(recording: Recording, step: Step, name: str, index: Index) -> Explanation:
    """What a step sends back to one entry of one of its inputs."""
    asked = Asked(recording, step, f"grad {name}", index)
    answer = EXPLAINERS[step.operation.name][asked.quantity](asked)
    return asked.explanation(answer, float(moved(step.gradients()[name], "cpu")[index]))


def symbol_of(quantity: str) -> str:
    """`"grad x"` -> `"dx"`."""
    return f"d{quantity[5:]}" if quantity.startswith("grad ") else quantity


Explainer = Callable[[Asked], Answer]
EXPLAINERS: dict[str, dict[str, Explainer]] = {}  # operation -> quantity -> who explains it


def explains(operation: str, *quantities: str) -> Callable[[Explainer], Explainer]:
    """Mark a function as the explainer of these quantities of an operation."""

    def mark(function: Explainer) -> Explainer:
        for quantity in quantities:
            EXPLAINERS.setdefault(operation, {})[quantity] = function
        return function

    return mark
