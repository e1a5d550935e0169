"""An explanation for a terminal."""

from __future__ import annotations

from minicnn.errors import printable
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.terms import Term

WIDE = 40  # columns of a factor


def as_text(explained: Explanation, most: int | None) -> str:
    """The lines; the `most` largest terms, or all in the formula's order for None."""
    value = explained.total if explained.engine is None else explained.engine
    lines = [
        f"{explained.title} = {value:.9g}",
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
    shown = list(explained.terms) if every else explained.largest(most or 0)
    if not shown and not len(explained.terms):
        return ["  no terms: 0"]
    several = len(explained.terms.blocks) > 1
    rows = [_row(term, several) for term in shown]
    wide = min(88, max((len(text) for text, _, _ in rows), default=0))
    running, lines = 0.0, []
    head = "sum so far" if explained.how == "sum" else "largest so far"
    lines.append(f"  {'term':{wide}}  {'value':>14}  {head:>14}")
    best = float("-inf")
    for text, value, note in rows:
        running += value
        best = max(best, value)
        so_far = running if explained.how == "sum" else best
        lines.append(f"  {text:{wide}}  {value:14.7g}  {so_far:14.7g}  {note}".rstrip())
    if not every:
        lines += _rest(explained, shown, running, wide)
    return lines


def _rest(explained: Explanation, shown: list[Term], running: float, wide: int) -> list[str]:
    """The terms that are not shown: how many, the largest, their sum; and those in the padding."""
    padding, many = explained.in_padding, len(explained.terms)
    left = many - len(shown) - padding
    lines = []
    if left and explained.how == "sum":
        biggest = explained.largest(len(shown) + 1)[-1].value
        rest = explained.rest(shown)
        text = f"{left} more terms, none larger than {abs(biggest):.3g}"
        lines.append(f"  {text:{wide}}  {rest:14.7g}  {running + rest:14.7g}")
    elif left:
        lines.append(f"  {left} more candidates, all smaller or equal")
    if padding:
        what = "are 0" if explained.how == "sum" else "never win"
        lines.append(f"  {padding} terms lie in the padding and {what}")
    return lines


def _row(term: Term, several: bool) -> tuple[str, float, str]:
    """How the term is made, its value, and what is to be said of it: its note, or of several kinds which it is."""
    numbers = " · ".join(f"{factor.value:.6g}" for factor in term.factors)
    text = f"{term}" + (f"  =  {numbers}" if len(term.factors) > 1 and not term.form else "")
    if term.form and term.factors:
        text += f"  with {numbers}"
    kind = term.block if several and term.block != "products" else ""
    return text, term.value, term.note or kind


def _verdict(explained: Explanation) -> list[str]:
    """Total, engine's value, difference."""
    word = "total" if explained.how == "sum" else "largest"
    kind = f"of {len(explained.terms)} term{'s' * (len(explained.terms) != 1)}, in float64"
    lines = [f"  {word:8} {explained.total:.9g}  ({kind})"]
    if explained.engine is None:
        return [*lines, "  engine   keeps no such number"]
    by = f", by {explained.algorithm}" if explained.algorithm else ""
    lines.append(f"  engine   {explained.engine:.9g}  ({explained.dtype}{by})")
    lines.append(f"  equal    they differ by {explained.difference:.2g}; rounding allows {explained.bound:.2g}")
    return lines


def _wrapped(head: str, text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 108, initial_indent=head, subsequent_indent=" " * len(head)) if text else []
