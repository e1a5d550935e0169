"""Pooling: who won (and who would have, had it not come later), and means of windows.

Letters as in `minicnn.ops.max_pool2d`: x (N, C, H, W), y (N, C, P, Q), windows of R x S pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import moved
from minicnn.ops import max_pool2d
from minicnn.ops.avg_pool2d import check_options as check_average
from minicnn.ops.max_pool2d import check_options as check_largest
from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.conv2d import letters
from minicnn.study.explain.notation import affine, at, bracket, equals, frac, largest, sum_over, times
from minicnn.study.explain.terms import PADDING, block, counted, number

X_GENERAL = at("x", "n", "c", "p·σ+r·δ−π", "q·σ+s·δ−π")
Windows = tuple[np.ndarray, np.ndarray]  # places p and q, or rows and columns


# ---- the largest ----------------------------------------------------------------------------------------------------


@explains("max_pool2d", "y")
def largest_of_window(asked: Asked) -> Answer:
    """y[n,c,p,q]: the largest pixel of the window; of equal ones the first."""
    n, c, p, q = asked.index
    options, starts, (rows, columns) = _window(asked, _largest_options(asked), (p, q))
    x = asked.column("x", n, c, rows, columns, padded=True)
    assert x.outside is not None
    values = np.where(x.outside, -np.inf, x.values)
    winner = _winner(asked)[n, c, p, q]
    width = asked.shape("x")[3]
    flat = rows * width + columns
    won = (flat == winner) & ~x.outside
    tie = (values == values[won].max(initial=-np.inf)) & ~won & ~x.outside
    notes = [
        PADDING if outside else "won" if first else "tie: came later" if same else ""
        for outside, first, same in zip(x.outside, won, tie, strict=True)
    ]
    kernel, spread = options["kernel_size"], options["dilation"]
    places = [affine(starts[a], letter, spread[a]) for a, letter in enumerate("rs")]
    over = f"r=0..{kernel[0] - 1}, s=0..{kernel[1] - 1}"
    answer = Answer(
        equals(at("y", "n", "c", "p", "q"), largest("r,s", X_GENERAL)),
        equals(at("y", n, c, p, q), largest(over, at("x", n, c, *places))),
        [block("candidates", x, values=values, notes=notes)],
        words=f"x: {asked.source('x')} {asked.shape('x')}, channel {c}; the pixel [{winner // width},{winner % width}] "
        "won",
        how="largest",
    )
    answer.notes.append(letters(options))
    if tie.any():
        answer.notes.append(
            f"{int(tie.sum())} more with the same value: the first in reading order wins, and gets all of the gradient"
        )
    return answer


@explains("max_pool2d", "grad x")
def largest_gradient(asked: Asked) -> Answer:
    """dx[n,c,h,w]: the gradients of the windows that this pixel won."""
    n, c, height, width = asked.index
    p, q = _windows_of(asked, _largest_options(asked), (height, width))
    winner = _winner(asked)[n, c, p, q]
    across = asked.shape("x")[3]
    won = winner == height * across + width
    dy = asked.column("dy", n, c, p, q)
    gate, passed = _numbers("[won]", won), np.where(won, dy.values, 0.0)  # a window that was lost sends 0, never NaN
    notes = [
        "won" if mine else f"lost to [{w // across},{w % across}]" for mine, w in zip(won, winner.tolist(), strict=True)
    ]
    sign = "winner[n,c,p,q] = (h,w)"
    general = sum_over("p,q", times(at("dy", "n", "c", "p", "q"), bracket(sign)))
    here = sum_over("p,q", times(at("dy", n, c, "p", "q"), bracket(f"winner[{n},{c},p,q] = ({height},{width})")))
    return Answer(
        equals(at("dx", "n", "c", "h", "w"), general),
        equals(at("dx", *asked.index), here),
        [block("windows that held this pixel", dy, gate, values=passed, notes=notes)],
        words=f"{asked.source('x')} at {asked.at} stood in {counted(len(p), 'window')}, and won {int(won.sum())}",
    )


def _largest_options(asked: Asked) -> dict[str, Any]:
    given = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, **asked.options}
    return check_largest(asked.shape("x"), **given)[0]


def _winner(asked: Asked) -> np.ndarray:
    """Flat index of each window's winner: as the engine kept it, else found again."""
    kept = asked.step.saved.get("winner")
    return moved(kept, "cpu") if kept is not None else max_pool2d.forward(asked.array("x"), **asked.options)[1]


# ---- means ----------------------------------------------------------------------------------------------------------


@explains("avg_pool2d", "y")
def mean_of_window(asked: Asked) -> Answer:
    """y[n,c,p,q]: the sum of the window over the number of its pixels."""
    n, c, p, q = asked.index
    options, starts, (rows, columns) = _window(asked, _average_options(asked), (p, q))
    divisor = _divisor(asked, options, np.array([p]), np.array([q]))[0]
    x = asked.column("x", n, c, rows, columns, padded=True)
    kernel = options["kernel_size"]
    places = [affine(starts[a], letter) for a, letter in enumerate("rs")]
    over = f"r=0..{kernel[0] - 1}, s=0..{kernel[1] - 1}"
    general = times(frac("1", at("A", "p", "q")), sum_over("r,s", at("x", "n", "c", "p·σ+r−π", "q·σ+s−π")))
    return Answer(
        equals(at("y", "n", "c", "p", "q"), general),
        equals(at("y", n, c, p, q), times(frac("1", int(divisor)), sum_over(over, at("x", n, c, *places)))),
        [block("pixels", x, number(f"1/{int(divisor)}", 1 / divisor, len(rows)))],
        words=f"x: {asked.source('x')} {asked.shape('x')}, channel {c}; the window counts {int(divisor)} pixels",
        notes=[letters(options)],
    )


@explains("avg_pool2d", "grad x")
def mean_gradient(asked: Asked) -> Answer:
    """dx[n,c,h,w]: a share from every window that held the pixel."""
    options = _average_options(asked)
    p, q = _windows_of(asked, options, asked.index[2:])
    return _shares(asked, p, q, _divisor(asked, options, p, q))


@explains("adaptive_avg_pool2d", "y")
def adaptive_mean(asked: Asked) -> Answer:
    """y[n,c,p,q]: the mean of as many pixels as one of P x Q windows has."""
    n, c, p, q = asked.index
    (first, last), (left, right) = (_adaptive(asked, a, place) for a, place in enumerate((p, q)))
    rows, columns = (axis.ravel() for axis in np.mgrid[first:last, left:right])
    x, many = asked.column("x", n, c, rows, columns), len(rows)
    over = f"h={first}..{last - 1}, w={left}..{right - 1}"
    general = times(frac("1", at("A", "p", "q")), sum_over("h,w in the window", at("x", "n", "c", "h", "w")))
    return Answer(
        equals(at("y", "n", "c", "p", "q"), general),
        equals(at("y", n, c, p, q), times(frac("1", many), sum_over(over, at("x", n, c, "h", "w")))),
        [block("pixels", x, number(f"1/{many}", 1 / many, many))],
        words=f"x: {asked.source('x')} {asked.shape('x')}, channel {c}; the window has {many} pixels",
    )


@explains("adaptive_avg_pool2d", "grad x")
def adaptive_gradient(asked: Asked) -> Answer:
    """dx[n,c,h,w]: a share from every window that held the pixel."""
    held, sizes = [], []
    for a, place in enumerate(asked.index[2:]):
        windows = [_adaptive(asked, a, out) for out in range(asked.shape("y")[2 + a])]
        held.append([out for out, (first, last) in enumerate(windows) if first <= place < last])
        sizes.append({out: last - first for out, (first, last) in enumerate(windows)})
    p, q = (axis.ravel() for axis in np.meshgrid(*map(np.array, held), indexing="ij"))
    areas = np.array([sizes[0][a] * sizes[1][b] for a, b in zip(p.tolist(), q.tolist(), strict=True)], float)
    return _shares(asked, p, q, areas)


def _shares(asked: Asked, p: np.ndarray, q: np.ndarray, areas: np.ndarray) -> Answer:
    n, c = asked.index[:2]
    dy = asked.column("dy", n, c, p, q)
    general = sum_over("p,q", frac(at("dy", "n", "c", "p", "q"), at("A", "p", "q")))
    here = sum_over("p,q", frac(at("dy", n, c, "p", "q"), at("A", "p", "q")))
    notes = [f"A = {int(area)}" for area in areas]
    return Answer(
        equals(at("dx", "n", "c", "h", "w"), general),
        equals(at("dx", *asked.index), here),
        [block("windows that held this pixel", dy, _numbers("1/A", 1 / areas), notes=notes)],
        words=f"{asked.source('x')} at {asked.at} stood in {counted(len(p), 'window')}, of A pixels each",
    )


def _average_options(asked: Asked) -> dict[str, Any]:
    given = {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True, **asked.options}
    return {**check_average(asked.shape("x"), **given)[0], "dilation": (1, 1)}


def _divisor(asked: Asked, options: dict[str, Any], p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """A[p,q]: pixels of the window that count."""
    area = np.ones(len(p))
    for a, place in enumerate((p, q)):
        size, border = asked.shape("x")[2 + a], options["padding"][a]
        start = place * options["stride"][a] - border
        end = np.minimum(start + options["kernel_size"][a], size + border)
        if not options["count_include_pad"]:
            start, end = np.maximum(start, 0), np.minimum(end, size)
        area = area * (end - start)
    return area


def _adaptive(asked: Asked, a: int, place: int) -> tuple[int, int]:
    """First pixel of a window, and the one after its last."""
    size, out = asked.shape("x")[2 + a], asked.shape("y")[2 + a]
    return place * size // out, -(-(place + 1) * size // out)


# ---- windows --------------------------------------------------------------------------------------------------------


def _window(asked: Asked, options: dict[str, Any], out: tuple[int, int]) -> tuple[dict[str, Any], list[int], Windows]:
    """The options, the corner, and all rows and columns of the window of an output."""
    starts = [place * options["stride"][a] - options["padding"][a] for a, place in enumerate(out)]
    r, s = (axis.ravel() for axis in np.indices(options["kernel_size"]))
    rows, columns = (starts[a] + tap * options["dilation"][a] for a, tap in enumerate((r, s)))
    return options, starts, (rows, columns)


def _windows_of(asked: Asked, options: dict[str, Any], pixel: tuple[int, ...]) -> Windows:
    """All outputs whose windows hold the pixel."""
    held = []
    for a, place in enumerate(pixel):
        from_start = place + options["padding"][a] - np.arange(asked.shape("y")[2 + a]) * options["stride"][a]
        spread = options["dilation"][a]
        inside = (from_start >= 0) & (from_start < spread * options["kernel_size"][a]) & (from_start % spread == 0)
        held.append(np.flatnonzero(inside))
    p, q = (axis.ravel() for axis in np.meshgrid(*held, indexing="ij"))
    return p, q


def _numbers(name: str, values: Any) -> Any:
    """A column of single numbers."""
    column = number(name, 0.0, len(values))
    return type(column)(name, np.asarray(values, np.float64), column.index)
