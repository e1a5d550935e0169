"""Small SVG drawings that stand in a page: they take its colours, and tell things apart without colour too.

What counts in a picture is hatched and framed, not only coloured; so it can be read in grey, in print and in the dark.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch-ground" width="6" height="6"/><line class="hatch-line" x1="0" y1="0" x2="0" y2="6"/></pattern>'
    '<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="dots-ground" width="6" height="6"/>'
    '<circle class="dots-dot" cx="3" cy="3" r="1.1"/></pattern>'
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
    '<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


class Drawing:
    """An SVG picture.

    Parameters
    ----------
    width, height : float
        Of the picture, in its own units; 14 of them are the height of a line of text.
    title : str
        What it shows, for those who cannot see it.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, kind: str = "cell", radius: float = 0) -> None:
        """A rectangle; `kind` says how it looks: cell, pad, window, hit, mark, faint, box."""
        place = " ".join(
            f'{name}="{_number(v)}"'
            for name, v in zip(("x", "y", "width", "height"), (x, y, width, height), strict=True)
        )
        self.parts.append(f'<rect class="{kind}" {place} rx="{_number(radius)}"/>')

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> None:
        """Text whose middle (or `start`, or `end`) is at x, and whose vertical middle is at y."""
        self.parts.append(
            f'<text class="{kind}" x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "line") -> None:
        """A line; `arrow` has a tip at its end."""
        self.path(f"M{_number(x1)} {_number(y1)}L{_number(x2)} {_number(y2)}", kind)

    def path(self, d: str, kind: str = "line") -> None:
        """A path, in SVG's own words."""
        tip = ' marker-end="url(#tip)"' if "arrow" in kind.split() else ""
        self.parts.append(f'<path class="{kind}" d="{d}"{tip}/>')

    def curve(self, points: list[tuple[float, float]], kind: str = "curve") -> None:
        """A line through points."""
        self.path("M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points), kind)

    def circle(self, x: float, y: float, radius: float, kind: str = "box") -> None:
        """A circle."""
        self.parts.append(f'<circle class="{kind}" cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"/>')

    def grid(
        self,
        x: float,
        y: float,
        rows: int,
        columns: int,
        side: float,
        kind: Callable[[int, int], str] = lambda _i, _j: "cell",
        label: Callable[[int, int], str] = lambda _i, _j: "",
    ) -> None:
        """An array of numbers: `kind(i, j)` says how a cell looks, `label(i, j)` what stands in it."""
        for i in range(rows):
            for j in range(columns):
                self.rect(x + j * side, y + i * side, side, side, kind(i, j))
                if label(i, j):
                    self.text(x + (j + 0.5) * side, y + (i + 0.5) * side, label(i, j), "number")

    def svg(self) -> str:
        """The picture, in one line, to stand in HTML."""
        return (
            f'<figure class="picture"><svg viewBox="0 0 {_number(self.width)} {_number(self.height)}" role="img" '
            f'xmlns="http://www.w3.org/2000/svg" aria-label="{escape(self.title, quote=True)}">'
            f"{HATCH}{''.join(self.parts)}</svg><figcaption>{escape(self.title)}</figcaption></figure>"
        )
