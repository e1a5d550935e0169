"""The roofline picture: how fast can a kernel be, and how fast is it (Williams, Waterman, Patterson 2009).

Work that needs I floating point operations for each byte it moves cannot run faster than `min(peak, I * bandwidth)`:
a slope, where memory limits, up to a plateau, where arithmetic does. Each algorithm is a dot under (or, if it saves
operations as Winograd's does, above) that roof: rates count the operations of the direct formula.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from minicnn.study.bench import Measurement

MARKERS = "osD^vPX*<>"
APART = 0.055  # least distance of two labels, as a share of the picture's height
LONGEST = 28  # letters of a label


def roofline(measurement: Measurement) -> bytes:
    """Draw the picture.

    Parameters
    ----------
    measurement : Measurement

    Returns
    -------
    bytes
        A PNG.
    """
    from matplotlib.figure import Figure

    work, machine = measurement.work, measurement.machine
    rows = [row for row in measurement.rows if row.ok]
    rates = [work.flops / row.seconds / 1e9 for row in rows]
    ridge = machine.flops / machine.bandwidth
    left, right = min(work.intensity, ridge) / 8, max(work.intensity, ridge) * 60
    peak = machine.flops / 1e9
    low, high = min([*rates, peak / 50]) / 3, max([*rates, peak]) * 3

    figure = Figure(figsize=(9, 5.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    x = np.geomspace(left, right, 200)
    axes.plot(x, np.minimum(peak, x * machine.bandwidth / 1e9), color="0.15", linewidth=2, zorder=2)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    axes.text(right, peak * 1.12, f"peak {peak:,.0f} GFLOP/s ", ha="right", va="bottom", fontsize=10)
    axes.text(
        0.02,
        0.97,
        f"slope: memory, {machine.bandwidth / 1e9:,.0f} GB/s",
        transform=axes.transAxes,
        va="top",
        fontsize=10,
    )
    axes.axvline(work.intensity, color="0.75", linewidth=1, linestyle=":", zorder=1)
    _dots(axes, measurement, rows, rates, (low, high))
    axes.set_xlabel("arithmetic intensity: floating point operations for each byte moved")
    axes.set_ylabel("GFLOP/s (of the direct formula)")
    axes.set_title(f"{work.operation} {work.pass_name}\n{work.title}, {work.dtype}", fontsize=11)
    axes.grid(color="0.92", which="major")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # the name of a user's algorithm may have letters that the font lacks
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _dots(axes: Any, measurement: Measurement, rows: list, rates: list[float], limits: tuple[float, float]) -> None:
    """One dot for each algorithm, and its label to the right, moved up or down so that none covers another."""
    intensity = measurement.work.intensity
    span = np.log(limits[1] / limits[0])
    order = np.argsort(rates, kind="stable")
    places = spread([float(np.log(rates[i] / limits[0]) / span) for i in order], APART)
    for at, place in zip(order, places, strict=True):
        row, rate = rows[at], rates[at]
        color = "#b35900" if row.peer else "#00588f"
        axes.plot(
            intensity, rate, marker=MARKERS[at % len(MARKERS)], color=color, markersize=7, linestyle="none", zorder=4
        )
        name = row.name if len(row.name) <= LONGEST else row.name[: LONGEST - 1] + "…"
        axes.annotate(
            f"{name}: {rate:,.3g}".replace("$", r"\$"),
            (intensity, rate),
            xytext=(intensity * 1.9, limits[0] * np.exp(place * span)),
            va="center",
            fontsize=10,
            color=color,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.7},
            zorder=5,
        )


def spread(places: list[float], apart: float) -> list[float]:
    """Increasing places between 0 and 1, moved as little as needed to be `apart` from each other.

    Examples
    --------
    >>> spread([0.5, 0.5], 0.1)
    [0.45, 0.55]
    """
    groups: list[tuple[float, int]] = []  # each: the middle, and how many places stand around it
    for place in places:
        groups.append((place, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < apart * (groups[-1][1] + groups[-2][1]) / 2:
            (b, m), (a, n) = groups.pop(), groups.pop()
            groups.append(((a * n + b * m) / (n + m), n + m))
    return [round(middle + apart * (i - (many - 1) / 2), 12) for middle, many in groups for i in range(many)]
