"""The component that all three places share: its script, joined from the files in `js/`, and its style.

The files are parts of one ES module, in this order; they share one scope, and none of them imports or fetches
anything. The result is an anywidget: `export default { render({ model, el }) }`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PARTS = (
    "dom",
    "numbers",
    "colours",
    "maps",
    "pieces",
    "conv",
    "conv_gradients",
    "transposed",
    "pooling",
    "normalization",
    "vectors",
    "pointwise",
    "algorithms",
    "explained",
    "layers",
    "context",
    "step",
    "widget",
)


@cache
def script() -> str:
    """The ES module of the widget; a notebook loads it as it is, the page goes on with `host`."""
    return "\n".join((FOLDER / "js" / f"{part}.js").read_text(encoding="utf-8") for part in PARTS)


@cache
def host() -> str:
    """The lines that stand for a notebook in the page: a model with the same three methods, and the start."""
    return (FOLDER / "js" / "host.js").read_text(encoding="utf-8")


@cache
def style() -> str:
    """The style sheet; everything in it is below the class `minicnn`, so that a notebook stays as it is."""
    return (FOLDER / "widget.css").read_text(encoding="utf-8")
