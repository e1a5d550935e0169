"""One page of HTML that needs nothing else: its pictures stand in it, it has no script, and it asks no network.

Whatever comes from outside (names of files and classes) goes through `text`. The page's own security policy allows
nothing but its style and its pictures, so that even a name that slipped through could load nothing.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from minicnn.errors import printable

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #555; --paper: #fff; --card: #f3f3f1; --line: #c9c9c5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #b0b0b0; --paper: #161616; --card: #232323; --line: #4a4a4a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0 .8rem; max-width: 44rem; }
.soft, figcaption, dt { color: var(--soft); font-size: .85rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .7rem; }
dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .75rem; color: var(--soft); }
img { display: block; max-width: 100%; height: auto; }
.plot { background: #fff; border: 1px solid var(--line); border-radius: .4rem; padding: .4rem; margin: .6rem 0; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .7rem; margin: .6rem 0; }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .4rem; }
figure .row { display: flex; gap: .3rem; align-items: center; min-height: 4rem; }
figure .row img { flex: 1 1 0; min-width: 0; max-height: 14rem; object-fit: contain; }
figcaption { line-height: 1.35; margin-top: .3rem; }
figcaption b { color: var(--ink); }
.scroll { overflow-x: auto; max-height: 32rem; overflow-y: auto; border: 1px solid var(--line); border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); overflow-wrap: normal; }
th { position: sticky; top: 0; background: var(--card); font-weight: 600; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 7rem; }
@media print { .scroll { max-height: none; } figure, .plot { break-inside: avoid; } }
"""


def text(value: object) -> str:
    """Any text as HTML shows it, letter for letter; letters that cannot be seen are written out."""
    return html.escape(printable(" ".join(str(value).split())), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """A whole page; `body` is HTML."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{text(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def section(title: str, explanation: str, *body: str) -> str:
    """A heading, a sentence that says how to read what follows, and HTML."""
    return "\n".join(["<section>", f"<h2>{text(title)}</h2>", f"<p>{text(explanation)}</p>", *body, "</section>"])


def numbers(values: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: (name, value, remark)."""
    cards = [
        f"<div><dt>{text(name)}</dt><dd>{text(value)}{f'<small>{text(remark)}</small>' if remark else ''}</dd></div>"
        for name, value, remark in values
    ]
    return "\n".join(["<dl>", *cards, "</dl>"])


def plot(png: bytes, alt: str) -> str:
    """A drawn picture, on white whatever the page's colour."""
    return f'<div class="plot">{image(png, alt)}</div>'


def image(data: bytes, alt: str) -> str:
    """A picture in the page: PNG or JPEG."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f'<img src="data:image/{kind};base64,{base64.b64encode(data).decode()}" alt="{text(alt)}">'


def figure(images: Sequence[bytes], alt: str, lines: Sequence[str]) -> str:
    """Pictures side by side over their caption, whose first line is strong."""
    shown = "".join(image(data, alt) for data in images)
    caption = "<br>".join([f"<b>{text(lines[0])}</b>", *map(text, lines[1:])])
    return f'<figure><div class="row">{shown}</div><figcaption>{caption}</figcaption></figure>'


def sheet(figures: Iterable[str], wide: bool = False) -> str:
    """Figures in as many columns as fit."""
    return "\n".join([f'<div class="sheet{" wide" if wide else ""}">', *figures, "</div>"])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls in itself where it is too wide."""
    top = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = ["<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join(['<div class="scroll" tabindex="0"><table>', f"<tr>{top}</tr>", *body, "</table></div>"])
