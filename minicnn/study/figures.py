"""Figures of the tutorials: readable in grey, below the cell in a notebook, a file when the tutorial runs as a script.

They are drawn without pyplot, so that nothing global changes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, MissingPackageError
from minicnn.files import cannot_write, write_atomically
from minicnn.training.drawing import png, tidy

__all__ = ["HATCHES", "LINES", "figure", "numbers", "show", "tidy"]

FOLDER = Path("runs", "tutorials")
SHADE = 0.45  # the darkest cell of `numbers`: black digits stay legible on it

# For plot(..., **LINES[i]) and bar(..., **HATCHES[i]): told apart without colour.
LINES: tuple[dict[str, Any], ...] = (
    {"color": "0.0", "linestyle": "-", "marker": "o", "markersize": 4},
    {"color": "0.35", "linestyle": "--", "marker": "s", "markersize": 4},
    {"color": "0.55", "linestyle": ":", "marker": "^", "markersize": 5},
    {"color": "0.2", "linestyle": "-.", "marker": "x", "markersize": 5},
)
HATCHES: tuple[dict[str, Any], ...] = (
    {"facecolor": "0.25", "edgecolor": "0.0"},
    {"facecolor": "0.95", "edgecolor": "0.0", "hatch": "///"},
    {"facecolor": "0.75", "edgecolor": "0.0", "hatch": "..."},
    {"facecolor": "1.0", "edgecolor": "0.0", "hatch": "xx"},
)


def figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A figure of that size in inches, and its axes: one, or an array (columns,) or (rows, columns) of them."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackageError(
            "matplotlib is not installed", called="figure", hint="pip install matplotlib"
        ) from None
    drawn = Figure(figsize=(width, height), dpi=120, layout="compressed")  # room for the titles of square axes too
    return drawn, drawn.subplots(rows, columns)


def numbers(
    axes: Any, values: Any, title: str = "", *, marked: Collection[tuple[int, int]] = (), form: str = "{:g}"
) -> None:
    """Draw a matrix as cells with their numbers: the darker, the larger its absolute value; NaN is an empty cell.

    Parameters
    ----------
    axes : matplotlib Axes
    values : array (rows, columns)
    title : str
    marked : collection of (row, column)
        Cells with a thick frame around all of them.
    form : str
        How a number is written.
    """
    values = np.asarray(values, float)
    if values.ndim != 2:
        raise ArgumentError("not a matrix", called="numbers", seen=f"shape {values.shape}", rule="(rows, columns)")
    from matplotlib.patches import Rectangle

    finite = np.abs(np.where(np.isfinite(values), values, 0.0))
    shade = 1 - SHADE * finite / (finite.max(initial=0.0) or 1.0)
    rows, columns = values.shape
    for (row, column), value in np.ndenumerate(values):
        place, colour = (column - 0.5, row - 0.5), str(shade[row, column])
        axes.add_patch(Rectangle(place, 1, 1, facecolor=colour, edgecolor="0.5", linewidth=0.6))
        if not np.isnan(value):
            axes.text(column, row, form.format(value + 0.0), ha="center", va="center", fontsize=9)  # -0 becomes 0
    for row, column in marked:
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            if (row + down, column + right) not in marked:
                ends = [column + (right - down) / 2, column + (right + down) / 2]
                sides = [row + (down - right) / 2, row + (down + right) / 2]
                axes.plot(ends, sides, color="0.0", linewidth=2.2, solid_capstyle="projecting", zorder=3)
    axes.set_xlim(-0.6, columns - 0.4)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10)


def show(drawn: Any, name: str = "") -> None:
    """In a notebook, the figure below the cell; in a script, the file `runs/tutorials/NAME.png`, whose path is printed.

    Parameters
    ----------
    drawn : matplotlib Figure
        Or anything else that a notebook knows how to show, such as an explanation; a script prints it.
    name : str
        Says what is seen: it is the file's name, and in a notebook what a screen reader says.
    """
    if not hasattr(drawn, "savefig"):
        if _in_notebook():
            from IPython.display import display

            display(drawn)
        else:
            print(drawn)
        return
    content = png(drawn)
    if _in_notebook():
        from IPython.display import Image, display

        display(Image(content, alt=name.replace("-", " ")))
        return
    path = FOLDER / f"{name}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from None
    write_atomically(path, content)
    print(f"figure: {os.fspath(path)}")


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
