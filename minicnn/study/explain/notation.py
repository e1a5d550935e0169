"""Formulas as small trees of signs that are written in three ways: for a terminal, as LaTeX, and as MathML.

An explanation needs its formula twice, with letters and with the numbers of the index filled in; both are made by the
same functions here.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

_LATEX = {
    "−": "-",
    "·": r"\cdot ",
    "σ": r"\sigma ",
    "δ": r"\delta ",
    "π": r"\pi ",
    "γ": r"\gamma ",
    "β": r"\beta ",
    "μ": r"\mu ",
    "ε": r"\epsilon ",
    "∂": r"\partial ",
    "∈": r"\in ",
    "≤": r"\le ",
    "…": r"\dots ",
    "_": r"\_",
    "%": r"\%",
}


@dataclass(frozen=True)
class Math:
    """One formula, written three times.

    Attributes
    ----------
    text : str
        Unicode, one line.
    latex : str
        For `$...$`.
    mathml : str
        The inside of a `<math>` element.
    """

    text: str
    latex: str
    mathml: str

    def as_mathml(self) -> str:
        """A whole `<math>` element."""
        return f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"><mrow>{self.mathml}</mrow></math>'

    def __str__(self) -> str:
        return self.text


Part = Math | str | int | float


def shown(value: float, digits: int) -> str:
    """A number to so many significant digits; zero has no sign."""
    return f"{value + 0.0:.{digits}g}"


def math(part: Part) -> Math:
    """A sign, a word or a number as a formula."""
    if isinstance(part, Math):
        return part
    if isinstance(part, str):
        tag = "mn" if part.replace(".", "").isdigit() else "mi"
        return Math(part, _latex(part), f"<{tag}>{html.escape(part)}</{tag}>")
    text = (shown(part, 6) if isinstance(part, float) else str(part)).replace("-", "−")
    return Math(text, _latex(text), f"<mn>{text}</mn>")


def at(name: Part, *indices: Part) -> Math:
    """x[n,c]: a name with indices."""
    base, inner = math(name), [math(i) for i in indices]
    text, latex = ",".join(i.text for i in inner), ",".join(i.latex for i in inner)
    mathml = "<mo>,</mo>".join(i.mathml for i in inner)
    return Math(f"{base.text}[{text}]", f"{base.latex}_{{{latex}}}", _row("msub", base.mathml, mathml))


def sum_over(over: str, body: Part) -> Math:
    """The sum of `body` over what `over` says (`"c,r,s"`)."""
    inner = math(body)
    below = _row("munder", "<mo>∑</mo>", f"<mtext>{html.escape(over)}</mtext>")
    return Math(f"Σ_({over}) {inner.text}", rf"\sum_{{{_latex(over)}}} {inner.latex}", below + inner.mathml)


def largest(over: str, body: Part) -> Math:
    """The largest `body` over what `over` says."""
    inner = math(body)
    below = _row("munder", "<mo>max</mo>", f"<mtext>{html.escape(over)}</mtext>")
    return Math(f"max_({over}) {inner.text}", rf"\max_{{{_latex(over)}}} {inner.latex}", below + inner.mathml)


def frac(above: Part, below: Part) -> Math:
    """above / below."""
    a, b = math(above), math(below)
    text = f"{_closed(a)} / {_closed(b)}"
    return Math(text, rf"\frac{{{a.latex}}}{{{b.latex}}}", _row("mfrac", a.mathml, b.mathml))


def power(base: Part, exponent: Part) -> Math:
    """base^exponent."""
    a, b = _signed(base), math(exponent)
    above = f"({b.text})" if b.text.startswith("−") else _closed(b)
    return Math(f"{_closed(a)}^{above}", f"{{{a.latex}}}^{{{b.latex}}}", _row("msup", a.mathml, b.mathml))


def root(inside: Part) -> Math:
    """The square root."""
    a = math(inside)
    return Math(f"√({a.text})", rf"\sqrt{{{a.latex}}}", f"<msqrt>{a.mathml}</msqrt>")


def call(name: str, *arguments: Part) -> Math:
    """name(arguments)."""
    inner = joined(", ", *arguments)
    latex = rf"\mathrm{{{_latex(name)}}}\left({inner.latex}\right)"
    return Math(f"{name}({inner.text})", latex, f"<mi>{name}</mi>{par(inner).mathml}")


def par(inside: Part) -> Math:
    """(inside)."""
    a = math(inside)
    return Math(f"({a.text})", rf"\left({a.latex}\right)", f"<mrow><mo>(</mo>{a.mathml}<mo>)</mo></mrow>")


def bracket(inside: Part) -> Math:
    """[inside]: 1 where it holds, else 0."""
    a = math(inside)
    return Math(f"[{a.text}]", rf"\left[{a.latex}\right]", f"<mrow><mo>[</mo>{a.mathml}<mo>]</mo></mrow>")


def times(*parts: Part) -> Math:
    """A product."""
    return joined(" · ", *parts)


def plus(*parts: Part) -> Math:
    """A sum of these."""
    return joined(" + ", *parts)


def minus(a: Part, b: Part) -> Math:
    """a − b."""
    return joined(" − ", a, b)


def equals(a: Part, b: Part) -> Math:
    """a = b."""
    return joined(" = ", a, b)


def joined(sign: str, *parts: Part) -> Math:
    """The parts with a sign between them; a negative number behind one stands in parentheses."""
    inner = [_signed(part) if k and sign.strip() in "+−·" else math(part) for k, part in enumerate(parts)]
    latex = _latex(sign) if sign.strip() != "·" else r"\, "
    return Math(
        sign.join(i.text for i in inner),
        latex.join(i.latex for i in inner),
        f"<mo>{html.escape(sign.strip())}</mo>".join(i.mathml for i in inner),
    )


def prefixed(sign: str, part: Part) -> Math:
    """−x."""
    a = math(part)
    return Math(f"{sign}{a.text}", f"{_latex(sign)}{a.latex}", f"<mo>{html.escape(sign)}</mo>{a.mathml}")


def affine(start: int, letter: str, step: int = 1) -> str:
    """The text `9+2r` of a place that moves with a letter."""
    moving = letter if step == 1 else f"{step}{letter}"
    if start == 0:
        return moving
    return f"{start}+{moving}".replace("-", "−")


def _signed(part: Part) -> Math:
    """With parentheses where it begins with a minus."""
    a = math(part)
    return par(a) if a.text.startswith("−") else a


def _closed(a: Math) -> str:
    """The text, in parentheses where it is made of several parts."""
    depth = 0
    for letter in a.text:
        depth += (letter in "([") - (letter in ")]")
        if letter == " " and not depth:
            return f"({a.text})"
    return a.text


def _row(tag: str, *children: str) -> str:
    return f"<{tag}>" + "".join(f"<mrow>{child}</mrow>" for child in children) + f"</{tag}>"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
