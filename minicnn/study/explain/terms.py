"""The terms of an explanation: columns of factors, from which single terms are made when they are looked at.

The gradient of a weight in a real network has ten thousand terms and more: they are kept as arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from minicnn.study.explain.notation import shown

PADDING = "padding"
Index = tuple[int, ...]


@dataclass(frozen=True)
class Factor:
    """One number in a term.

    Attributes
    ----------
    name : str
        As in the formula: `"x"`, `"w"`, `"dy"`.
    index : tuple of int
        Where in that array; `()` for a single number.
    value : float
    source : str
        Which tensor it is: `"images"`, `"layer1.0.conv1.weight"`, `"output of bn1"`, ...
    note : str
        `"padding"` for a place outside of the image, where the value is 0.
    """

    name: str
    index: Index
    value: float
    source: str = ""
    note: str = ""

    def __str__(self) -> str:
        places = ",".join(map(str, self.index)).replace("-", "−")
        return f"{self.name}[{places}]" if self.index else self.name


@dataclass(frozen=True)
class Term:
    """One summand (or one candidate of a maximum).

    Attributes
    ----------
    number : int
        Its place in the order of the formula.
    block : str
        What kind of term: `"products"`, `"bias"`, `"direct"`, `"through mean"`, ...
    value : float
        The product of the factors, or what `form` says.
    factors : tuple of Factor
    note : str
        `"padding"`, `"won"`, `"tie"`, `"lost"`, or empty.
    form : str
        How the factors make the value, where they are not just multiplied: `"exp({0})"`.
    """

    number: int
    block: str
    value: float
    factors: tuple[Factor, ...]
    note: str = ""
    form: str = ""

    @property
    def numbers(self) -> str:
        """How the factors make the value, with their numbers: `"1.5 · (-2)"`, `"exp(0.25)"`; of one factor nothing."""
        values = [shown(factor.value, 6) for factor in self.factors]
        closed = [f"({value})" if value.startswith("-") else value for value in values]
        if self.form:
            return re.sub(r"\(\((-[^()]*)\)", r"(\1", self.form.format(*closed))  # a function's (-2), not ((-2))
        return " · ".join([values[0], *closed[1:]]) if len(values) > 1 else ""

    def __str__(self) -> str:
        names = [str(factor) for factor in self.factors]
        return self.form.format(*names) if self.form else " · ".join(names)


@dataclass(frozen=True)
class Column:
    """The same factor of many terms.

    Attributes
    ----------
    name, source : str
        See `Factor`.
    values : float64 array (T,)
    index : int64 array (T, axes)
    outside : bool array (T,), optional
        Places in the padding.
    """

    name: str
    values: np.ndarray
    index: np.ndarray
    source: str = ""
    outside: np.ndarray | None = None

    def factor(self, i: int) -> Factor:
        """That of term i."""
        padding = self.outside is not None and bool(self.outside[i])
        places = tuple(int(place) for place in self.index[i])
        return Factor(self.name, places, float(self.values[i]), self.source, PADDING if padding else "")


@dataclass(frozen=True)
class Block:
    """Terms of one kind.

    Attributes
    ----------
    name : str
        See `Term.block`.
    columns : tuple of Column
    values : float64 array (T,)
        The terms; by default the product of the columns.
    form : str
        See `Term.form`.
    notes : sequence of str, optional
        One for each term; by default `"padding"` where a factor lies there.
    magnitude : float
        What the rounding is relative to: the sum of the absolute terms, and more where terms are sums themselves.
    """

    name: str
    columns: tuple[Column, ...]
    values: np.ndarray
    form: str = ""
    notes: Sequence[str] | None = None
    magnitude: float = field(default=-1.0)

    def term(self, i: int, number: int) -> Term:
        """Term i of this block."""
        factors = tuple(column.factor(i) for column in self.columns)
        return Term(number, self.name, float(self.values[i]), factors, self.note(i), self.form)

    def note(self, i: int) -> str:
        """The note of term i."""
        if self.notes is not None:
            return self.notes[i]
        return PADDING if any(c.outside is not None and c.outside[i] for c in self.columns) else ""

    @property
    def padding(self) -> np.ndarray:
        """Which terms lie in the padding: bool (T,)."""
        found = np.zeros(len(self.values), bool)
        for column in self.columns:
            if column.outside is not None:
                found |= column.outside
        return found


def block(
    name: str,
    *columns: Column,
    values: np.ndarray | float | None = None,
    form: str = "",
    notes: Sequence[str] | None = None,
    magnitude: float | None = None,
) -> Block:
    """A block whose terms are the products of its columns, or these `values`."""
    if values is None:
        made = columns[0].values
        with np.errstate(all="ignore"):
            for column in columns[1:]:
                made = made * column.values
    else:
        made = np.atleast_1d(np.asarray(values, np.float64))
    made = made + 0.0  # -0, a product with padding, is 0
    with np.errstate(all="ignore"):
        size = float(np.abs(made).sum()) if magnitude is None else float(magnitude)
    return Block(name, columns, made, form, notes, size)


def number(name: str, value: float, many: int = 1, source: str = "") -> Column:
    """The same single number in many terms."""
    return Column(name, np.full(many, float(value)), np.empty((many, 0), np.int64), source)


def counted(many: int, one: str, several: str = "") -> str:
    """`"1 term"`, `"2 terms"`."""
    return f"{many} {one if many == 1 else several or f'{one}s'}"


class Terms(Sequence[Term]):
    """All terms of an explanation, in the order of its formula."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self.ends = np.cumsum([len(b.values) for b in self.blocks])

    @property
    def values(self) -> np.ndarray:
        """All of them: float64 (T,)."""
        return np.concatenate([b.values for b in self.blocks]) if self.blocks else np.empty(0)

    @property
    def padding(self) -> np.ndarray:
        """Which of them lie in the padding: bool (T,)."""
        return np.concatenate([b.padding for b in self.blocks]) if self.blocks else np.empty(0, bool)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @overload
    def __getitem__(self, i: int) -> Term: ...
    @overload
    def __getitem__(self, i: slice) -> list[Term]: ...
    def __getitem__(self, i: int | slice) -> Term | list[Term]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        place = i + len(self) if i < 0 else i
        if not 0 <= place < len(self):
            raise IndexError(i)
        at = int(np.searchsorted(self.ends, place, side="right"))
        first = place - (int(self.ends[at]) - len(self.blocks[at].values))
        return self.blocks[at].term(first, place)

    def __iter__(self) -> Iterator[Term]:
        return (self[i] for i in range(len(self)))
