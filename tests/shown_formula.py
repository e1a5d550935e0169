"""What a formula says that an explanation shows, computed: so that its text is tested, and not only its terms."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np

SIGNS = str.maketrans({"\u2212": "-", "·": "*", "^": "§"})  # § becomes ** when indices are through
FUNCTIONS = {
    "e": math.e,
    "tanh": math.tanh,
    "ln": math.log,
    "root": math.sqrt,
    "max": max,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
}
INDEXED = re.compile(r"(\w+)\[([^\[\]]*)\]")
BRACKET = re.compile(r"\[([^\[\]]*)\]")  # Iverson's: [j=4] is 1 where it holds
FARTHEST = 32  # place in any array
SUM = re.compile(r"(Σ|max)_\(")


def value_of(formula: str, arrays: Mapping[str, np.ndarray]) -> float:
    """The right side of `y[0,1] = b[1] + Σ_(i=0..3) x[0,i] · w[1,i]`, from the arrays it names; around images lies 0.

    Raises
    ------
    NameError, SyntaxError
        The formula says something in words, or names what is no array.
    """
    text = formula.split(" = ", 1)[1].translate(SIGNS).replace("√(", "root(")
    names: dict[str, object] = {**FUNCTIONS, "at": _reader(arrays)}
    names |= {name: float(array) for name, array in arrays.items() if array.ndim == 0}
    return float(eval(_python(text), {"__builtins__": {"sum": sum, "range": range}, "most": max, **names}))


def _reader(arrays: Mapping[str, np.ndarray]) -> Callable[..., float]:
    def at(name: str, *index: int) -> float:
        if name not in arrays or arrays[name].ndim != len(index):
            raise NameError(name)
        inside = [0 <= i < size for i, size in zip(index, arrays[name].shape, strict=True)]
        image = name in ("x", "dy") and len(index) == 4  # which has padding around it
        if not all(inside[: 2 if image else 4]):
            raise IndexError(f"{name}{list(index)}")
        return float(arrays[name][index]) if all(inside) else 0.0

    return at


def _python(text: str) -> str:
    """The text as Python: sums as generators, x[...] as calls."""
    found = SUM.search(text)
    if found:
        over = text[found.end() : (end := _closing(text, found.end()))]
        body = text[end + 1 : (stop := _end_of_product(text, end + 1))]
        loops = " ".join(_loop(one.strip()) for one in over.replace(":", ",").split(","))
        kind = "sum" if found[1] == "Σ" else "most"
        return f"{_python(text[: found.start()])}{kind}({_python(body)} {loops}){_python(text[stop:])}"
    text = INDEXED.sub(lambda m: f"at('{m[1]}', {_multiplied(m[2])})", text)
    text = BRACKET.sub(lambda m: f"({m[1].replace('=', '==')})", text)
    return text.replace("§", "**")


def _loop(over: str) -> str:
    """`r=0..2`, and `p*2=5-r` for the places p where that holds."""
    letter, _, right = over.partition("=")
    ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", right)
    if ends:
        return f"for {letter} in range({ends[1]}, {ends[2]} + 1)"
    if not re.fullmatch(r"[a-z](\*\d)?=\d+-[a-z](\*\d)?", over):
        raise NameError(over)
    return f"for {letter[0]} in range({FARTHEST}) if {letter} == {right}"


def _multiplied(index: str) -> str:
    return re.sub(r"([0-9])([a-z])", r"\1*\2", index)  # 2h, twice h


def _closing(text: str, start: int) -> int:
    depth = 1
    for k in range(start, len(text)):
        depth += (text[k] in "([") - (text[k] in ")]")
        if not depth:
            return k
    raise SyntaxError(text)


def _end_of_product(text: str, start: int) -> int:
    """Where a sum's summand ends: at the next sum of terms, or where what it stands in is closed."""
    depth = 0
    for k in range(start, len(text)):
        depth += (text[k] in "([") - (text[k] in ")]")
        if depth < 0 or (not depth and text[k : k + 3] in (" + ", " - ")):
            return k
    return len(text)
