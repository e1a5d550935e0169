"""Pictures of operations that move a window over an image."""

from __future__ import annotations

import math

from generator.pictures.drawing import Drawing

SIDE = 22.0


def conv2d() -> Drawing:
    """A window over a padded image, and the number that it gives."""
    d = Drawing(
        360,
        216,
        "A 3 x 3 kernel on a 5 x 5 image, padding 1, stride 2: the hatched window gives the hatched number of y.",
    )
    _image(d, 10, 30, 7, 1, (0, 2), 3)
    d.text(10 + 3.5 * SIDE, 18, "x with padding", "name")
    d.grid(186, 52, 3, 3, SIDE, lambda _i, _j: "mark")
    d.text(186 + 1.5 * SIDE, 40, "w", "name")
    d.grid(282, 52, 3, 3, SIDE, lambda i, j: "hit" if (i, j) == (0, 1) else "cell")
    d.text(282 + 1.5 * SIDE, 40, "y", "name")
    d.text(175, 85, "·", "sign")
    d.line(256, 85, 278, 85, "arrow")
    d.text(10, 200, "dashed: padding, counted as 0. The next window is 2 further.", "note", "start")
    d.path(f"M{10 + 3.5 * SIDE} {30 + 7 * SIDE + 4}h{2 * SIDE}", "arrow")
    return d


def conv_transpose2d() -> Drawing:
    """One pixel lays a copy of the kernel onto y; copies overlap."""
    d = Drawing(
        360,
        176,
        "Each pixel of x lays a copy of the kernel, times its value, onto y, 2 apart; where they overlap they add up.",
    )
    d.grid(10, 52, 2, 2, SIDE, lambda i, j: "hit" if (i, j) == (0, 0) else "mark" if (i, j) == (0, 1) else "cell")
    d.text(10 + SIDE, 40, "x", "name")
    d.text(68, 74, "·", "sign")
    d.grid(82, 41, 3, 3, SIDE)
    d.text(82 + 1.5 * SIDE, 29, "w", "name")
    d.line(160, 74, 190, 74, "arrow")

    def kind(i: int, j: int) -> str:
        first, second = i < 3 and j < 3, i < 3 and j >= 2
        return "both" if first and second else "hit" if first else "mark" if second else "cell"

    d.grid(204, 30, 5, 5, SIDE, kind, lambda i, j: "+" if i < 3 and j == 2 else "")
    d.text(204 + 2.5 * SIDE, 18, "y", "name")
    d.rect(204, 30, 3 * SIDE, 3 * SIDE, "window")
    d.rect(204 + 2 * SIDE, 30, 3 * SIDE, 3 * SIDE, "window dashed")
    d.text(314, 160, "stride 2: the copies share a column", "note", "end")
    return d


VALUES = ((3, 1, 4, 1), (5, 9, 2, 6), (5, 3, 5, 8), (9, 7, 9, 3))


def max_pool2d() -> Drawing:
    """Winners, and where the gradient goes."""
    d = Drawing(
        360, 150, "2 x 2 windows, stride 2: the largest number wins, and the gradient goes back to the winner alone."
    )
    winners = {(1, 1), (1, 3), (3, 0), (3, 2)}
    d.grid(10, 30, 4, 4, SIDE, lambda i, j: "hit" if (i, j) in winners else "cell", lambda i, j: str(VALUES[i][j]))
    _frames(d, 10, 30)
    d.text(10 + 2 * SIDE, 18, "x", "name")
    d.line(104, 74, 128, 74, "arrow")
    d.grid(136, 52, 2, 2, SIDE, lambda _i, _j: "hit", lambda i, j: "9699"[2 * i + j])
    d.text(136 + SIDE, 40, "y", "name")
    d.line(188, 74, 256, 74, "arrow dashed")
    d.text(222, 62, "backwards", "note")
    d.grid(262, 30, 4, 4, SIDE, lambda i, j: "hit" if (i, j) in winners else "cell", lambda i, j: _won(i, j, winners))
    _frames(d, 262, 30)
    d.text(262 + 2 * SIDE, 18, "dx", "name")
    d.text(10, 136, "of equal maxima the first wins", "note", "start")
    return d


def avg_pool2d() -> Drawing:
    """Means, and equal shares."""
    d = Drawing(
        360, 150, "2 x 2 windows, stride 2: the mean of each; backwards each pixel of a window gets a quarter of dy."
    )
    d.grid(10, 30, 4, 4, SIDE, lambda i, j: "hit" if i < 2 and j < 2 else "cell", lambda i, j: str(VALUES[i][j]))
    _frames(d, 10, 30)
    d.text(10 + 2 * SIDE, 18, "x", "name")
    d.line(104, 74, 128, 74, "arrow")
    means = ("4.5", "3.25", "6", "6.25")
    d.grid(134, 46, 2, 2, 28, lambda i, j: "hit" if i == j == 0 else "cell", lambda i, j: means[2 * i + j])
    d.text(162, 34, "y", "name")
    d.line(194, 74, 256, 74, "arrow dashed")
    d.text(225, 62, "backwards", "note")
    d.grid(
        262,
        30,
        4,
        4,
        SIDE,
        lambda i, j: "hit" if i < 2 and j < 2 else "cell",
        lambda i, j: "¼" if i < 2 and j < 2 else "",
    )
    _frames(d, 262, 30)
    d.text(262 + 2 * SIDE, 18, "dx", "name")
    return d


def adaptive_avg_pool2d() -> Drawing:
    """Windows of seven rows for three numbers."""
    d = Drawing(
        360,
        132,
        "Seven columns for three numbers: window p holds columns floor(7p/3) to ceil(7(p+1)/3) - 1.",
    )
    side, size, count = 34.0, 7, 3
    d.grid(60, 30, 1, size, side, label=lambda _i, j: str(j))
    d.text(40, 47, "x", "name")
    for p in range(count):
        start, stop = p * size // count, math.ceil((p + 1) * size / count)
        y = 70 + (p % 2) * 8
        d.rect(60 + start * side, y, (stop - start) * side, 7, "hit" if p % 2 == 0 else "mark")
        middle = 60 + (start + stop) / 2 * side
        d.line(middle, y + 9, middle, 100, "arrow")
        d.rect(middle - 14, 101, 28, 22, "hit" if p % 2 == 0 else "mark")
        d.text(middle, 112, str(p), "number")
    d.text(40, 112, "y", "name")
    return d


def _won(i: int, j: int, winners: set[tuple[int, int]]) -> str:
    return "dy" if (i, j) in winners else "0"


def _frames(d: Drawing, x: float, y: float) -> None:
    for i in range(2):
        for j in range(2):
            d.rect(x + 2 * j * SIDE, y + 2 * i * SIDE, 2 * SIDE, 2 * SIDE, "window thin")


def _image(d: Drawing, x: float, y: float, size: int, padding: int, at: tuple[int, int], kernel: int) -> None:
    """A padded image with a window at one place."""

    def kind(i: int, j: int) -> str:
        inside = padding <= i < size - padding and padding <= j < size - padding
        hit = at[0] <= i < at[0] + kernel and at[1] <= j < at[1] + kernel
        return ("hit" if hit else "cell") if inside else ("hit pad" if hit else "pad")

    d.grid(x, y, size, size, SIDE, kind)
    d.rect(x + at[1] * SIDE, y + at[0] * SIDE, kernel * SIDE, kernel * SIDE, "window")
