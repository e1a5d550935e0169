"""An explanation for a terminal."""

from __future__ import annotations

import textwrap

import numpy as np

from minicnn.errors import printable
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import shown
from minicnn.study.explain.terms import Term, counted

WIDEST = 88  # columns of a term


def as_text(explained: Explanation, most: int | None) -> str:
    """The lines; the `most` largest terms, or all in the formula's order for None."""
    value = explained.total if explained.engine is None else explained.engine
    lines = [
        f"{explained.title} = {shown(value, 9)}",
        "",
        f"  formula  {explained.general.text}",
        f"  here     {explained.formula.text}",
        *_wrapped("  where    ", explained.words),
        *(line for note in explained.notes for line in _wrapped("  note     ", note)),
        "",
        *_table(explained, most),
        "",
        *_verdict(explained),
    ]
    for part in explained.parts:
        lines += ["", *(f"    {line}".rstrip() for line in as_text(part, most if most is None else 3).splitlines())]
    return printable("\n".join(lines))


def _table(explained: Explanation, most: int | None) -> list[str]:
    """Terms, largest first, with the sum so far; then what is left."""
    every = most is None or len(explained.terms) <= most
    chosen = list(explained.terms) if every else explained.largest(most or 0)
    if not len(explained.terms):
        return ["  no terms: 0"]
    is_sum, several = explained.how == "sum", len(explained.terms.blocks) > 1
    wide = max((len(str(term)) for term in chosen if term.numbers), default=0)
    texts = [f"{term!s:{wide}}  =  {term.numbers}" if term.numbers else str(term) for term in chosen]
    values = np.array([term.value for term in chosen])
    with np.errstate(all="ignore"):
        so_far = np.cumsum(values) if is_sum else np.maximum.accumulate(values)
    kinds = [term.note or (term.block if several and term.block != "products" else "") for term in chosen]
    rows = list(zip(texts, values, so_far, kinds, strict=True))
    if not every and (left := len(explained.terms) - len(chosen) - explained.in_padding):
        rows.append(_rest(explained, chosen, left))
    column = min(WIDEST, max(len(text) for text, *_ in rows)) if rows else len("term")
    lines = [f"  {'term':{column}}  {'value':>14}  {'sum so far' if is_sum else 'largest so far':>14}"]
    for text, value, sum_so_far, note in rows:
        lines.append(f"  {text:{column}}  {shown(value, 7):>14}  {shown(sum_so_far, 7):>14}  {note}".rstrip())
    if not every and explained.in_padding:
        one, more = ("is 0", "are 0") if is_sum else ("never wins", "never win")
        lie = f"term lies in the padding and {one}", f"terms lie in the padding and {more}"
        lines.append(f"  {counted(explained.in_padding, *lie)}")
    return lines


def _rest(explained: Explanation, chosen: list[Term], left: int) -> tuple[str, float, float, str]:
    """The row of the terms that are not shown: how many, the largest, their sum."""
    best = explained.largest(len(chosen) + 1)[-1].value
    if explained.how == "largest":
        return f"{counted(left, 'more candidate')}, none larger", best, explained.total, ""
    text = f"{counted(left, 'more term')}, none larger than {shown(abs(best), 3)}"
    return text, explained.rest(chosen), explained.total, ""


def _verdict(explained: Explanation) -> list[str]:
    """Total, engine's value, difference."""
    word = "total" if explained.how == "sum" else "largest"
    kind = f"of {counted(len(explained.terms), 'term')}, in float64"
    lines = [f"  {word:8} {shown(explained.total, 9)}  ({kind})"]
    if explained.engine is None:
        return [*lines, "  engine   keeps no such number"]
    by = f", by {explained.algorithm}" if explained.algorithm else ""
    lines.append(f"  engine   {shown(explained.engine, 9)}  ({explained.dtype}{by})")
    if explained.overflow:
        return [*lines, f"  equal    no: {explained.dtype} cannot hold the terms, or a sum of them"]
    if not explained.difference:
        return [*lines, "  equal    exactly"]
    return [*lines, f"  equal    they differ by {explained.difference:.2g}; rounding allows {explained.bound:.2g}"]


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, 108, initial_indent=head, subsequent_indent=" " * len(head)) if text else []
