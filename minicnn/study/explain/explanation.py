"""Where one number comes from: its formula with the indices filled in, its terms, and their sum beside the engine's."""

from __future__ import annotations

import math as numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.errors import MismatchError
from minicnn.study.explain.notation import Math, shown
from minicnn.study.explain.terms import Index, Term, Terms

FOLD = 12  # terms that a folded explanation shows


@dataclass(frozen=True, eq=False)
class Explanation:
    """One number of a run, explained; made by `minicnn.explain`.

    Making one checks it: its total equals the engine's value to rounding, or `MismatchError` is raised.

    Attributes
    ----------
    layer, operation : str
        `"layer1.0.conv1"` and `"conv2d"`.
    step : int
        Number of the step in its recording; -1 where none is meant.
    quantity : str
        `"y"`, the output; `"grad x"`, `"grad w"`, ...: what this step sends back to one of its inputs; `"grad y"`: the
        gradient at the output, summed over all that used it; or the name of a part, `"mean"`.
    symbol : str
        The quantity as the formula writes it: `"y"`, `"dx"`, `"mean"`.
    index : tuple of int
    general, formula : Math
        The formula with letters, and with this index filled in; each as `.text`, `.latex` and `.mathml`.
    terms : sequence of Term
        In the order of the formula.
    how : "sum" or "largest"
        What makes the total from the terms.
    total : float
        In float64.
    engine : float or None
        What the engine computed; None for a part that it does not keep.
    dtype : str
        Of the engine's value.
    bound : float
        The largest difference between the two that rounding explains; infinite where the engine's value is not
        finite and its dtype could not hold the terms.
    words : str
        Where the terms come from.
    notes : tuple of str
        What else is to be known.
    parts : tuple of Explanation
        Numbers in the terms that are sums themselves: mean, variance, ...
    algorithm : str
        By which the engine computed it, where that is known.
    """

    layer: str
    operation: str
    step: int
    quantity: str
    symbol: str
    index: Index
    general: Math
    formula: Math
    terms: Terms
    how: str
    total: float
    engine: float | None
    dtype: str
    bound: float
    words: str = ""
    notes: tuple[str, ...] = ()
    parts: tuple[Explanation, ...] = ()
    algorithm: str = ""

    def __post_init__(self) -> None:
        if not self.agrees:
            raise MismatchError(
                "the explanation does not give the engine's value",
                called=self.title,
                seen=f"terms add up to {self.total!r}, the engine has {self.engine!r} ({self.dtype}"
                + (f", {self.algorithm})" if self.algorithm else ")"),
                rule=f"a difference of at most {self.bound:.3g}, by rounding",
                hint="either the algorithm that ran or the explanation is wrong; minicnn gradcheck tells more",
            )

    # ---- the number -------------------------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """`"y[0,3,10,12]"`."""
        return f"{self.symbol}[{','.join(map(str, self.index))}]" if self.index else self.symbol

    @property
    def title(self) -> str:
        """Layer, operation and place in a line."""
        return f"{self.layer or 'network'}: {self.operation}: {self.place}"

    @property
    def difference(self) -> float:
        """|total - engine|; 0 where the engine keeps no value, or where both are the same infinity or NaN."""
        if self.engine is None or _same(self.total, self.engine):
            return 0.0
        return abs(self.total - self.engine)

    @property
    def agrees(self) -> bool:
        """Whether the total is the engine's value to rounding."""
        return self.difference == 0 or self.difference <= self.bound or self.overflow

    @property
    def overflow(self) -> bool:
        """Whether the engine's value is infinite or NaN because its dtype cannot hold what it adds up."""
        return self.bound == np.inf

    # ---- the terms --------------------------------------------------------------------------------------------------

    @property
    def partial_sums(self) -> np.ndarray:
        """The sum (or the largest) of the terms up to each: float64 (T,)."""
        with np.errstate(all="ignore"):
            values = self.terms.values
            return np.cumsum(values) if self.how == "sum" else np.maximum.accumulate(values)

    @property
    def in_padding(self) -> int:
        """How many terms lie in the padding."""
        return int(self.terms.padding.sum())

    def largest(self, most: int = FOLD) -> list[Term]:
        """The terms of largest absolute value, the largest first; of a maximum the largest values. None in padding."""
        values, padding = self.terms.values, self.terms.padding
        size = np.abs(values) if self.how == "sum" else values
        size = np.where(np.isnan(size), np.inf, size)
        order = np.argsort(np.where(padding, np.inf, -size), kind="stable")
        return [self.terms[int(i)] for i in order[: min(most, len(order) - int(padding.sum()))]]

    def rest(self, shown: list[Term]) -> float:
        """The sum of the terms that are not shown."""
        left = np.ones(len(self.terms), bool)
        left[[term.number for term in shown]] = False
        with np.errstate(all="ignore"):
            return float(self.terms.values[left].sum())

    def part(self, name: str) -> Explanation:
        """The part of that symbol, `"mean"`."""
        return next(part for part in self.parts if part.symbol == name)

    # ---- how it is shown --------------------------------------------------------------------------------------------

    def text(self, most: int | None = FOLD) -> str:
        """For a terminal; `most` terms, or all for None."""
        from minicnn.study.explain.text import as_text

        return as_text(self, most)

    def unfold(self) -> str:
        """For a terminal, with all terms in the order of the formula."""
        return self.text(None)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<explanation of {self.title} = {shown(self.total, 9)}, {len(self.terms)} terms>"

    def _repr_html_(self) -> str:
        from minicnn.study.explain.html import as_html

        return as_html(self)

    def as_dict(self, most: int | None = None) -> dict[str, Any]:
        """Ready for JSON: everything; with `most`, only so many terms, the largest first."""
        terms = list(self.terms) if most is None else self.largest(most)
        return {
            "layer": self.layer,
            "operation": self.operation,
            "step": self.step,
            "quantity": self.quantity,
            "symbol": self.symbol,
            "index": list(self.index),
            "general": {"text": self.general.text, "latex": self.general.latex, "mathml": self.general.as_mathml()},
            "formula": {"text": self.formula.text, "latex": self.formula.latex, "mathml": self.formula.as_mathml()},
            "how": self.how,
            "total": self.total,
            "engine": self.engine,
            "dtype": self.dtype,
            "bound": self.bound,
            "agrees": self.agrees,
            "words": self.words,
            "notes": list(self.notes),
            "algorithm": self.algorithm,
            "number_of_terms": len(self.terms),
            "in_padding": self.in_padding,
            "terms": [_as_dict(term) for term in terms],
            "parts": [part.as_dict(most) for part in self.parts],
        }


def _as_dict(term: Term) -> dict[str, Any]:
    factors = [
        {"name": f.name, "index": list(f.index), "value": f.value, "source": f.source, "note": f.note}
        for f in term.factors
    ]
    return {
        "number": term.number,
        "block": term.block,
        "text": str(term),
        "value": term.value,
        "note": term.note,
        "factors": factors,
    }


def _same(a: float, b: float) -> bool:
    return a == b or (numbers.isnan(a) and numbers.isnan(b))
