"""Pictures of functions: their curves and their slopes."""

from __future__ import annotations

import math
from collections.abc import Callable

from generator.pictures.drawing import Drawing

Function = Callable[[float], float]


def _axes(
    d: Drawing, box: tuple[float, float, float, float], x: tuple[float, float], y: tuple[float, float]
) -> Callable[[float, float], tuple[float, float]]:
    """Axes through 0 in a box (left, top, width, height); a function from numbers to places."""
    left, top, width, height = box

    def place(a: float, b: float) -> tuple[float, float]:
        return left + (a - x[0]) / (x[1] - x[0]) * width, top + height - (b - y[0]) / (y[1] - y[0]) * height

    _, zero = place(x[0], max(y[0], 0))
    d.line(left, zero, left + width, zero, "axis")
    across, _ = place(max(x[0], 0), y[0])
    d.line(across, top, across, top + height, "axis")
    return place


def _plot(
    d: Drawing,
    place: Callable[[float, float], tuple[float, float]],
    f: Function,
    x: tuple[float, float],
    kind: str = "curve",
) -> None:
    d.curve([place(a, f(a)) for a in (x[0] + (x[1] - x[0]) * i / 80 for i in range(81))], kind)


def relu() -> Drawing:
    """Relu, and its slope."""
    d = Drawing(360, 150, "ReLU (left) and its slope (right), which is 0 up to and including x = 0, and 1 beyond.")
    place = _axes(d, (10, 20, 150, 110), (-2, 2), (-0.4, 2))
    d.curve([place(-2, 0), place(0, 0), place(2, 2)])
    d.text(80, 34, "y = max(x, 0)", "name", "end")
    place = _axes(d, (200, 20, 150, 110), (-2, 2), (-0.4, 2))
    d.curve([place(-2, 0), place(0, 0)])
    d.curve([place(0, 1), place(2, 1)])
    d.circle(*place(0, 0), 3, "dot")
    d.circle(*place(0, 1), 3, "ring")
    d.text(242, 34, "dy/dx", "name")
    d.text(346, 56, "1", "note")
    return d


def mse() -> Drawing:
    """A parabola with its slope at one place."""
    d = Drawing(
        360, 160, "The squared error of one number: its slope, 2 (x - t), grows with the distance from the target t."
    )
    place = _axes(d, (30, 16, 300, 124), (-2.2, 2.2), (-0.5, 4.6))
    _plot(d, place, lambda x: x * x, (-2.1, 2.1))
    d.curve([place(0.8, 0.48), place(2.15, 1.44 + 2.4 * 0.95)], "slope")
    d.circle(*place(1.2, 1.44), 4, "dot")
    d.text(*place(1.3, 0.9), "slope 2 (x - t)", "note", "start")
    d.text(place(0, 0)[0], 152, "t", "name")
    return d


def cross_entropy() -> Drawing:
    """-log p."""
    d = Drawing(
        360, 170, "The loss is -log p, with p the probability of the true class: log C where all C classes are alike."
    )
    place = _axes(d, (36, 14, 290, 130), (0, 1), (0, 4.2))
    _plot(d, place, lambda p: -math.log(p), (0.0152, 1))
    x, y = place(0.1, math.log(10))
    d.circle(x, y, 4, "dot")
    d.text(x + 8, y - 8, "10 classes, nothing learned: log 10 = 2.303", "note", "start")
    d.text(place(0.75, 0)[0], place(0, 0)[1] + 12, "p", "name")
    d.text(18, 20, "loss", "name")
    for p in (0, 0.5, 1):
        d.text(place(p, 0)[0], place(p, 0)[1] + 12, f"{p:g}", "note")
    return d


def softmax() -> Drawing:
    """Scores become probabilities."""
    d = Drawing(360, 170, "Scores of any size (left) become probabilities (right): each e^x, divided by their sum.")
    scores = (1.0, 3.0, -1.0, 2.0)
    total = sum(math.exp(s) for s in scores)
    for i, s in enumerate(scores):
        kind = "hit" if i == 1 else "mark"
        d.rect(24 + i * 32, 90 - max(s, 0) * 22, 22, abs(s) * 22, kind)
        d.text(35 + i * 32, 90 + (12 if s > 0 else -10), f"{s:g}", "note")
        p = math.exp(s) / total
        d.rect(214 + i * 34, 124 - p * 100, 24, p * 100, kind)
        d.text(226 + i * 34, 136, f"{p:.2f}", "note")
    d.line(14, 90, 152, 90, "axis")
    d.line(204, 124, 350, 124, "axis")
    d.line(162, 76, 194, 76, "arrow")
    d.text(80, 158, "x", "name")
    d.text(277, 158, "y, whose sum is 1", "name")
    return d


def updates() -> Drawing:
    """Gradient descent in a long valley, without and with momentum."""
    d = Drawing(
        360,
        178,
        "24 steps of one rate in a valley 20 times as steep across as along: SGD (dashed), and with momentum 0.5.",
    )
    steep, rate, keep = 20.0, 0.08, 0.5

    def place(a: float, b: float) -> tuple[float, float]:
        return 330 - a * 52, 84 - b * 44

    for level in (0.5, 2.0, 5.0, 9.0, 15.0):
        a, b = math.sqrt(2 * level), math.sqrt(2 * level / steep)
        d.curve([place(a * math.cos(t / 30), b * math.sin(t / 30)) for t in range(189)], "thin")
    for momentum, kind in ((0.0, "slope dashed"), (keep, "curve")):
        w, v, points = [5.4, 1.35], [0.0, 0.0], []
        for _ in range(24):
            points.append(place(*w))
            v = [momentum * v[0] + w[0], momentum * v[1] + steep * w[1]]
            w = [w[0] - rate * v[0], w[1] - rate * v[1]]
        d.curve(points, kind)
    d.circle(*place(0, 0), 4, "dot")
    return d
