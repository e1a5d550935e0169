r"""LaTeX becomes MathML while the site is built: no script, no font and no network where it is read.

In Markdown `$...$` stands in a line and `$$...$$` by itself; pymdownx.arithmatex marks them, and `with_mathml` turns
what it has marked into MathML.
"""

from __future__ import annotations

import functools
import html
import re

MARKED = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


class MathematicsError(Exception):
    """LaTeX that cannot be converted."""


@functools.cache
def mathml(latex: str, display: bool) -> str:
    """MathML of a formula.

    Raises
    ------
    MathematicsError
        With the formula and what is wrong with it.
    """
    from math_core import LatexError, LatexToMathML

    try:
        converter = LatexToMathML(fancy_error=False)
        made: str = converter.convert_with_local_state(latex.strip(), displaystyle=display)
    except LatexError as error:
        raise MathematicsError(f"{latex.strip()}: {error}") from None
    return made


def with_mathml(page: str) -> str:
    """HTML with all marked LaTeX replaced by MathML."""

    def converted(found: re.Match[str]) -> str:
        made = mathml(html.unescape(found[3]), display=found[2] == "[")
        if found[2] == "[":  # a long formula is moved sideways, with the keys too
            return f'<div class="formula" tabindex="0">{made}</div>'
        return made

    return MARKED.sub(converted, page)
