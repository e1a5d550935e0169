"""The drawing as SVG: text as text, no script, nothing from outside; light and dark, and readable in grey.

What a box is stands in it in words; fill and border repeat it. The bar at its foot is the logarithm of the norm of the
gradient that came back to it, on one scale for all boxes.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable
from itertools import pairwise

from minicnn.errors import printable
from minicnn.study.graph.layout import Placed, place
from minicnn.study.graph.tape import TIMES, Box, Graph, graph_of, number, shortened
from minicnn.study.recording import Recording

EM = 11.5
NARROW, SLIM, BROAD = " .,·:;|'ijl", "ftr()-", f"mwMW{TIMES}…"
LINE, PAD, GAP, MARGIN, TOP = 15.0, 9.0, 26.0, 24.0, 44.0
SPREAD = 11.0  # between edges that enter one box
LEAST = 460.0  # width of a drawing, so that its heading has room
BAR = 84.0
LEGEND = "‖∂y‖: norm of the loss's gradient with respect to an output; bars: its logarithm, from {low} to {high}"
STYLE = """
.paper { fill: #ffffff } .edge { fill: none; stroke: #6a6a6a; stroke-width: 1.6 } .far { stroke-dasharray: 6 3 }
.tip { fill: #6a6a6a } text { font: 11.5px system-ui, "DejaVu Sans", sans-serif; fill: #161616 }
.name { font-weight: 700 } .title { font-size: 17px; font-weight: 700 } .soft { fill: #4a4a4a }
.box { stroke: #3a3a3a; stroke-width: 1.2; fill: #ffffff }
.input { fill: #f2f2f2; stroke-width: 2.4 } .weights { fill: #cfe0f7; stroke-width: 2 } .norm { fill: #ececec }
.pool { fill: #f9dfb8 } .end { fill: #ffffff; stroke-width: 2.6 } .track { fill: #bdbdbd } .bar { fill: #8a4b00 }
@media (prefers-color-scheme: dark) {
.paper { fill: #151515 } .edge { stroke: #a8a8a8 } .tip { fill: #a8a8a8 } text { fill: #f0f0f0 } .soft { fill: #c4c4c4 }
.box { stroke: #b8b8b8; fill: #1e1e1e } .input { fill: #2b2b2b } .weights { fill: #1d3a63 } .norm { fill: #303030 }
.pool { fill: #5a3d10 } .end { fill: #1e1e1e } .track { fill: #555555 } .bar { fill: #ffc66e } }
"""


def draw(recording: Recording, title: str = "A network", about: str = "") -> str:
    """The tape of a recording as an SVG file's text.

    Parameters
    ----------
    recording : Recording
        With labels, the norms of the gradients are drawn as well.
    title, about : str
        A heading, and a line below it.

    Raises
    ------
    ArgumentError
        If it has more than 4,000 steps.
    """
    graph = graph_of(recording)
    total = sum(parameter.numel() for parameter in recording.model.parameters())
    many = len(recording.steps)
    summary = f"{many} operations, {total:,} parameters"
    if recording.loss is not None and recording.loss.numel() == 1:
        summary += f", loss {number(float(recording.loss.detach().cpu().numpy().reshape(())))}"
    return _svg(graph, shortened(title), about, summary)


def _svg(graph: Graph, title: str, about: str, summary: str) -> str:
    widths = [_width(box) for box in graph.boxes]
    heights = [2 * PAD + LINE * len(box.lines) + (6 if box.norm is not None else 0) for box in graph.boxes]
    placed = place(widths, graph.edges)
    top = _tops(placed.rank, heights)
    ends = [x for edge in placed.bends for _, x in edge]
    left = min([x - w / 2 for x, w in zip(placed.x, widths, strict=True)] + ends) - MARGIN
    right = max([x + w / 2 for x, w in zip(placed.x, widths, strict=True)] + ends) + MARGIN
    spare = max(0.0, max(LEAST, 2 * MARGIN + 1.6 * _wide(title, bold=True)) - (right - left)) / 2
    left, right = left - spare, right + spare
    about = printable(" ".join(about.split()))
    heading = _heading(graph, summary, about, right - left - 2 * MARGIN)
    top = [y + TOP + LINE * len(heading) for y in top]
    bottom = max(top[r] + h for r, h in zip(placed.rank, heights, strict=True)) + MARGIN
    body = [*_edges(graph, placed, heights, top), *_boxes(graph.boxes, placed, widths, heights, top)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.1f} 0 {right - left:.1f} {bottom:.1f}" '
            f'width="{right - left:.0f}" height="{bottom:.0f}" role="img" aria-labelledby="title about">',
            f'<title id="title">{text(title)}</title>',
            f'<desc id="about">{text(f"{summary}. {about} From top to bottom; " + _spoken(graph))}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" x="{left:.1f}" y="0" width="{right - left:.1f}" height="{bottom:.1f}"/>',
            f'<text class="title" x="{left + MARGIN:.1f}" y="26">{text(title)}</text>',
            *(
                f'<text class="soft" x="{left + MARGIN:.1f}" y="{TOP + LINE * i:.0f}">{text(line)}</text>'
                for i, line in enumerate(heading)
            ),
            *body,
            "</svg>",
            "",
        ]
    )


def text(value: str) -> str:
    """Text as XML shows it."""
    return html.escape(value, quote=True)


def _spoken(graph: Graph) -> str:
    far = sum(1 for a, b in graph.edges if b - a > 1)
    return f"{len(graph.edges)} arrays flow, {far} of them past other operations."


def _heading(graph: Graph, summary: str, about: str, room: float) -> list[str]:
    """The lines below the title, none longer than there is room for."""
    norms = [box.norm for box in graph.boxes if box.norm]
    legend = LEGEND.format(low=number(min(norms)), high=number(max(norms))) if norms else ""
    letters = int(room / (0.6 * EM))
    return [line for part in (summary, about, legend) for line in textwrap.wrap(part, letters)]


def _width(box: Box) -> float:
    lines = (_wide(line, bold=i == 0) for i, line in enumerate(box.lines))
    return max(*lines, BAR) + (4 if box.kind == "input" else 2) * PAD


def _wide(line: str, bold: bool = False) -> float:
    """How wide a line is in DejaVu Sans, which is wider than most, about."""
    ems = sum(0.33 if c in NARROW else 0.42 if c in SLIM else 0.93 if c in BROAD else 0.64 for c in line)
    return ems * EM * (1.1 if bold else 1.0)


def _tops(rank: list[int], heights: list[float]) -> list[float]:
    """Upper edge of each rank, below the first."""
    tallest = [0.0] * (max(rank) + 1)
    for r, height in zip(rank, heights, strict=True):
        tallest[r] = max(tallest[r], height)
    tops, at = [], 0.0
    for height in tallest:
        tops.append(at)
        at += height + GAP
    return [*tops, at]


def _boxes(
    boxes: list[Box], placed: Placed, widths: list[float], heights: list[float], top: list[float]
) -> Iterable[str]:
    norms = [math.log10(box.norm) for box in boxes if box.norm]
    low, high = min(norms, default=0.0), max(norms, default=0.0)
    for box, x, rank, width, height in zip(boxes, placed.x, placed.rank, widths, heights, strict=True):
        y = top[rank]
        round_ = height / 2 if box.kind == "input" else 4 if box.kind != "norm" else 10
        yield f"<g><title>{text('; '.join(box.lines))}</title>"
        yield (
            f'<rect class="box {box.kind}" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="{round_:.0f}"/>'
        )
        for i, line in enumerate(box.lines):
            kind = ' class="name"' if i == 0 else ""
            yield f'<text{kind} x="{x:.1f}" y="{y + PAD + 11 + i * LINE:.1f}" text-anchor="middle">{text(line)}</text>'
        if box.norm is not None:
            share = (math.log10(box.norm) - low) / (high - low) if box.norm and high > low else 0.0
            for name, length in (("track", BAR), ("bar", max(2.0, share * BAR))):
                yield (
                    f'<rect class="{name}" x="{x - BAR / 2:.1f}" y="{y + height - PAD - 1:.1f}" '
                    f'width="{length:.1f}" height="4"/>'
                )
        yield "</g>"


def _edges(graph: Graph, placed: Placed, heights: list[float], top: list[float]) -> Iterable[str]:
    """Curves from the foot of a box to the head of another, through their bends; they enter side by side."""
    rank, x, bends = placed.rank, placed.x, placed.bends
    entering: dict[int, list[tuple[float, int]]] = {}
    for i, (a, b) in enumerate(graph.edges):
        entering.setdefault(b, []).append((bends[i][-1][1] if bends[i] else x[a], i))
    enters = {}
    for b, edges in entering.items():
        edges.sort()
        straight = next((j for j, (across, _) in enumerate(edges) if abs(across - x[b]) < 0.5), (len(edges) - 1) / 2)
        for j, (_, i) in enumerate(edges):
            enters[i] = x[b] + (j - straight) * SPREAD
    for i, (a, b) in enumerate(graph.edges):
        points = [(x[a], top[rank[a]] + heights[a])]
        for r, across in bends[i]:
            points += [(across, top[r]), (across, top[r + 1] - GAP)]
        points.append((enters[i], top[rank[b]] - 5))
        path = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
        for (x0, y0), (x1, y1) in pairwise(points):
            if abs(x0 - x1) < 0.05:
                path.append(f"V{y1:.1f}")
            else:
                half = (y1 - y0) / 2
                path.append(f"C{x0:.1f},{y0 + half:.1f} {x1:.1f},{y1 - half:.1f} {x1:.1f},{y1:.1f}")
        far = " far" if bends[i] else ""
        yield f'<path class="edge{far}" d="{" ".join(path)}"/>'
        tip_x, tip_y = points[-1][0], top[rank[b]]
        yield f'<path class="tip" d="M{tip_x:.1f},{tip_y:.1f}l-4,-7h8z"/>'
