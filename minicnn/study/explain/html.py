"""An explanation for a notebook or a page: formula in MathML, terms as a table with bars, parts to unfold.

One `<div>` with its own style; no script, nothing fetched. Blue and orange, which colour-blind people tell apart, and
every bar's sign is in its number as well. Colours follow the notebook's theme, or the page's
`color-scheme`.
"""

from __future__ import annotations

from html import escape
from xml.etree import ElementTree

from minicnn.study.explain.explanation import FOLD, Explanation
from minicnn.study.explain.notation import Math, shown
from minicnn.study.explain.terms import Term, counted

MOST = 400  # terms in a page; the rest is counted and summed

STYLE = """
.minicnn-explain{--plus:light-dark(#0072b2,#56b4e9);--minus:light-dark(#d55e00,#e69f00);--line:#8886;
  --dim:color-mix(in srgb,currentColor 75%,transparent);font:14px/1.45 system-ui,sans-serif;max-width:80em}
:is([data-jp-theme-light="true"],.vscode-light,html[theme="light"]) .minicnn-explain{color-scheme:light}
:is([data-jp-theme-light="false"],.vscode-dark,html[theme="dark"]) .minicnn-explain{color-scheme:dark}
.minicnn-explain h4{margin:.3em 0;font-size:1.05em;overflow-wrap:anywhere}
.minicnn-explain .scroll{overflow-x:auto;margin:.4em 0}
.minicnn-explain math{font-size:1.15em;width:max-content;margin:0 0 .2em}
.minicnn-explain p{margin:.25em 0;color:var(--dim)}
.minicnn-explain p.verdict{color:inherit}
.minicnn-explain table{border-collapse:collapse;margin:0;font-size:1em;font-variant-numeric:tabular-nums}
.minicnn-explain :is(th,td){padding:.1em .6em;text-align:right;border:0;border-bottom:1px solid var(--line);
  background:none;white-space:nowrap}
.minicnn-explain :is(th:first-child,td:first-child,.left){text-align:left}
.minicnn-explain td.note{color:var(--dim)}
.minicnn-explain i.bar{display:inline-block;height:.75em;min-width:1px;background:var(--plus)}
.minicnn-explain i.minus{background:var(--minus)}
.minicnn-explain .verdict b{font-weight:600}
.minicnn-explain details{margin:.3em 0 .3em .6em;padding-left:.6em;border-left:2px solid var(--line)}
.minicnn-explain summary{cursor:pointer}
@media (max-width:36em){.minicnn-explain :is(th,td){padding:.1em .3em}
  .minicnn-explain .terms td{white-space:normal}.minicnn-explain .terms td:nth-child(-n+2){min-width:6em}}
"""


def as_html(explained: Explanation) -> str:
    """The `<div>`."""
    return _in_style(_body(explained))


def chain_as_html(title: str, rows: list[list[str]], verdict: list[str]) -> str:
    """A path to the loss: its title, a table whose first row is its head, and lines below it."""
    head, *others = ("".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in _tagged(rows))
    body = "".join(f"<tr>{row}</tr>" for row in others)
    lines = "".join(f"<p>{escape(line)}</p>" for line in verdict)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return _in_style(f'<h4>{escape(title)}</h4><div class="scroll">{table}</div>{lines}')


def _tagged(rows: list[list[str]]) -> list[tuple[str, list[str]]]:
    return [("td" if k else "th", row) for k, row in enumerate(rows)]


def _in_style(body: str) -> str:
    return f'<div class="minicnn-explain"><style>{STYLE}</style>{body}</div>'


def _body(explained: Explanation) -> str:
    value = explained.total if explained.engine is None else explained.engine
    pieces = [
        f"<h4>{escape(explained.title)} = {shown(value, 9)}</h4>",
        _math(explained.general),
        _math(explained.formula),
        *(f"<p>{escape(line)}</p>" for line in (explained.words, *explained.notes) if line),
        _table(explained),
        _verdict(explained),
    ]
    for part in explained.parts:
        head = f"{part.place} = {shown(part.total, 9)}"
        pieces.append(f"<details><summary>{escape(head)}</summary>{_body(part)}</details>")
    return "".join(pieces)


def _math(formula: Math) -> str:
    """The formula; what is not well-formed comes as text."""
    text = formula.as_mathml()
    try:
        ElementTree.fromstring(text)
    except ElementTree.ParseError:  # a name with signs of XML in it
        return f"<p>{escape(formula.text)}</p>"
    return f'<div class="scroll">{text}</div>'


def _table(explained: Explanation) -> str:
    """The largest terms, and all in the formula's order to unfold."""
    many = len(explained.terms)
    if not many:
        return "<p>no terms: 0</p>"
    first = explained.largest(FOLD) if many > FOLD else list(explained.terms)
    tables = _rows(first, explained)
    left = many - len(first)
    if left:
        rest = explained.rest(first)
        padding = f", {explained.in_padding} of them in the padding" if explained.in_padding else ""
        summed = f", together {shown(rest, 7)}" if explained.how == "sum" else ""
        every = _rows(explained.terms[: min(many, MOST)], explained)
        cut = f"<p>the first {MOST} of {many}; as_dict() has all</p>" if many > MOST else ""
        head = f"{counted(left, 'more term')}{padding}{summed}; all in order"
        tables += f"<details><summary>{head}</summary>{cut}{every}</details>"
    return tables


def _rows(terms: list[Term], explained: Explanation) -> str:
    size = max((abs(t.value) for t in terms if abs(t.value) < float("inf")), default=0.0) or 1.0
    running, best, rows = 0.0, float("-inf"), []
    several = len(explained.terms.blocks) > 1
    for term in terms:
        running, best = running + term.value, max(best, term.value)
        so_far = running if explained.how == "sum" else best
        share = min(1.0, abs(term.value) / size)
        sign = " minus" if term.value < 0 else ""
        bar = f'<i class="bar{sign}" style="width:{6 * share:.2f}em"></i>'
        where = "; ".join(f"{f}: {f.source}" for f in term.factors if f.source)
        note = term.note or (term.block if several else "")
        rows.append(
            f'<tr><td title="{escape(where, quote=True)}">{escape(str(term))}</td>'
            f'<td class="left">{escape(term.numbers)}</td>'
            f'<td>{shown(term.value, 7)}</td><td class="left">{bar}</td><td>{shown(so_far, 7)}</td>'
            f'<td class="left note">{escape(note)}</td></tr>'
        )
    head = "sum so far" if explained.how == "sum" else "largest so far"
    return (
        '<div class="scroll"><table class="terms"><thead><tr><th>term</th><th class="left">with numbers</th>'
        f"<th>value</th><th></th><th>{head}</th><th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _verdict(explained: Explanation) -> str:
    word = "total" if explained.how == "sum" else "largest"
    text = f"<b>{word} {shown(explained.total, 9)}</b> of {counted(len(explained.terms), 'term')}, in float64"
    if explained.engine is not None:
        by = f" by {escape(explained.algorithm)}" if explained.algorithm else ""
        text += f"; <b>engine {shown(explained.engine, 9)}</b> in {explained.dtype}{by}: "
        differ = f"they differ by {explained.difference:.2g}, and rounding allows {explained.bound:.2g}"
        overflow = f"not equal: {explained.dtype} cannot hold the terms, or a sum of them"
        text += overflow if explained.overflow else differ if explained.difference else "exactly equal"
    return f'<p class="verdict">{text}</p>'
