"""Pictures of operations in steps: recurrent layers, and batch norm with what follows it."""

from __future__ import annotations

from generator.pictures.drawing import Drawing

TIMES = "\N{MULTIPLICATION SIGN}"


def _box(d: Drawing, x: float, y: float, text: str, kind: str = "box", width: float = 44, height: float = 26) -> None:
    d.rect(x - width / 2, y - height / 2, width, height, kind, radius=4)
    d.text(x, y, text, "number")


def _gate(d: Drawing, x: float, y: float, text: str) -> None:
    d.circle(x, y, 10, "box")
    d.text(x, y, text, "number")


def rnn() -> Drawing:
    """A layer unrolled through time."""
    d = Drawing(
        360,
        190,
        "One layer, unrolled, the same weights in every step; backwards (dashed) the next step sends a gradient too.",
    )
    for t in range(4):
        x = 64 + t * 84
        _box(d, x, 92, f"h[{t}]", "hit" if t == 2 else "box")
        d.line(x, 142, x, 108, "arrow")
        d.text(x, 154, f"x[{t}]", "name")
        d.line(x, 78, x, 50, "arrow")
        d.text(x, 40, f"y[{t}]", "name")
        d.line(x - 60 + (16 if t == 0 else 0), 92, x - 25, 92, "arrow")
        if t:
            d.path(f"M{x - 24} 99c-12 12-24 12-36 2", "arrow dashed")
            d.text(x - 42, 120, "da w_hh", "note")
    d.text(10, 92, "h0", "name")
    d.text(180, 178, "h[t] = s(x[t] w_ih + h[t-1] w_hh + b)", "note")
    return d


def lstm() -> Drawing:
    """The cell's line runs through by a sum."""
    d = Drawing(
        360, 196, "The cell c is carried on by a sum: f says what is kept, i what of g is added, o what is shown as h."
    )
    d.line(14, 40, 92, 40, "arrow thick")
    _gate(d, 104, 40, TIMES)
    d.line(116, 40, 170, 40, "arrow thick")
    _gate(d, 182, 40, "+")
    d.line(194, 40, 344, 40, "arrow thick")
    d.text(30, 26, "c[t-1]", "name")
    d.text(330, 26, "c[t]", "name")
    for x, text in ((104, "f"), (160, "i"), (204, "g"), (256, "o")):
        _box(d, x, 124, text, "hit" if text != "g" else "mark", 32)
        d.line(x, 164, x, 140, "arrow")
    d.line(104, 110, 104, 54, "arrow")
    _gate(d, 182, 84, TIMES)
    d.path("M160 110v-26h10", "arrow")
    d.path("M204 110v-26h-10", "arrow")
    d.line(182, 73, 182, 54, "arrow")
    _gate(d, 300, 124, TIMES)
    d.line(272, 124, 288, 124, "arrow")
    d.line(300, 42, 300, 64)
    _box(d, 300, 76, "tanh", "box", 40, 22)
    d.line(300, 88, 300, 112, "arrow")
    d.line(311, 124, 346, 124, "arrow")
    d.text(334, 112, "h[t]", "name")
    d.line(60, 164, 256, 164)
    d.text(10, 164, "x[t], h[t-1]", "note", "start")
    d.text(180, 186, "f, i, o between 0 and 1 (sigmoid); g between -1 and 1 (tanh)", "note")
    return d


def gru() -> Drawing:
    """One state, three gates."""
    d = Drawing(
        360,
        196,
        "The state h is a mixture: z says how much of the old one stays, r how much of it the new one, n, sees.",
    )
    d.line(14, 40, 92, 40, "arrow thick")
    _gate(d, 104, 40, TIMES)
    d.line(116, 40, 222, 40, "arrow thick")
    _gate(d, 234, 40, "+")
    d.line(246, 40, 344, 40, "arrow thick")
    d.text(30, 26, "h[t-1]", "name")
    d.text(330, 26, "h[t]", "name")
    for x, text in ((104, "z"), (170, "r"), (234, "n")):
        _box(d, x, 124, text, "hit" if text != "n" else "mark", 36)
        d.line(x, 164, x, 140, "arrow")
    d.line(104, 110, 104, 54, "arrow")
    d.line(188, 124, 214, 124, "arrow")
    _gate(d, 234, 84, TIMES)
    d.line(234, 110, 234, 96, "arrow")
    d.line(234, 73, 234, 54, "arrow")
    d.path("M106 84h116", "arrow")
    d.text(164, 76, "1 - z", "note")
    d.line(64, 164, 234, 164)
    d.text(10, 164, "x[t], h[t-1]", "note", "start")
    d.text(180, 186, "h[t] = (1 - z) n + z h[t-1]", "note")
    return d


def batch_norm_relu() -> Drawing:
    """Three operations, one pass over memory."""
    d = Drawing(
        360,
        120,
        "Three steps on each number while it is in a register: normalise and scale, add the residual, cut below 0.",
    )
    d.rect(64, 26, 232, 60, "window dashed")
    d.text(18, 56, "x", "name")
    d.line(28, 56, 72, 56, "arrow")
    _box(d, 114, 56, "batch norm", "hit", 80)
    d.line(156, 56, 180, 56, "arrow")
    _gate(d, 192, 56, "+")
    d.line(204, 56, 226, 56, "arrow")
    _box(d, 256, 56, "ReLU", "hit", 54)
    d.line(284, 56, 336, 56, "arrow")
    d.text(346, 56, "y", "name")
    d.line(192, 102, 192, 68, "arrow")
    d.text(192, 110, "residual", "name")
    return d
