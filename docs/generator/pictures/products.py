"""Pictures of operations on whole rows, columns and arrays."""

from __future__ import annotations

from generator.pictures.drawing import Drawing

SIDE = 20.0


def _product(d: Drawing, names: tuple[str, str, str], sizes: tuple[int, int, int], *, turned: bool) -> None:
    """A row of the left factor, a column of the right one (a row, if it is turned), and the number that they give."""
    m, k, n = sizes
    row, column = 1, 2
    x, y = 14.0, 40.0
    d.grid(x, y, m, k, SIDE, lambda i, _j: "hit" if i == row else "cell")
    d.text(x + k * SIDE / 2, y - 12, names[0], "name")
    x += k * SIDE + 22
    if turned:
        d.grid(x, y, n, k, SIDE, lambda i, _j: "mark" if i == column else "cell")
        width = k
    else:
        d.grid(x, y, k, n, SIDE, lambda _i, j: "mark" if j == column else "cell")
        width = n
    d.text(x - 11, y + 1.5 * SIDE, "·", "sign")
    d.text(x + width * SIDE / 2, y - 12, names[1], "name")
    x += width * SIDE + 8
    d.line(x, y + 1.5 * SIDE, x + 20, y + 1.5 * SIDE, "arrow")
    x += 28
    d.grid(x, y, m, n, SIDE, lambda i, j: "both" if (i, j) == (row, column) else "cell")
    d.text(x + n * SIDE / 2, y - 12, names[2], "name")


def matmul() -> Drawing:
    """A row times a column."""
    d = Drawing(360, 140, "A number of y is the sum of products of a row of a and a column of b.")
    _product(d, ("a: M x K", "b: K x N", "y: M x N"), (3, 4, 5), turned=False)
    return d


def linear() -> Drawing:
    """A row times a row of the weights."""
    d = Drawing(
        360,
        140,
        "A number of y is the sum of products of an input (a row of x) and the weights of one output (a row of w).",
    )
    _product(d, ("x: N x I", "w: J x I", "y: N x J"), (3, 4, 4), turned=True)
    return d


def elementwise() -> Drawing:
    """Broadcasting, and the sum that turns it round."""
    d = Drawing(
        360, 150, "a + b with a row b that is repeated: its gradient is the sum of dy over the rows that used it."
    )
    d.grid(14, 34, 3, 4, SIDE)
    d.text(14 + 2 * SIDE, 22, "a", "name")
    d.text(106, 64, "+", "sign")
    d.grid(118, 34, 3, 4, SIDE, lambda i, j: "hit" if i == 0 and j == 1 else "cell" if i == 0 else "pad")
    d.text(118 + 2 * SIDE, 22, "b, repeated", "name")
    d.line(204, 64, 228, 64, "arrow")
    d.grid(236, 34, 3, 4, SIDE, lambda _i, j: "hit" if j == 1 else "cell")
    d.text(236 + 2 * SIDE, 22, "y", "name")
    d.path(f"M{236 + 1.5 * SIDE} 98v16h{-(236 + 1.5 * SIDE) + 118 + 1.5 * SIDE}v-14", "arrow dashed")
    d.text(206, 126, "db: the sum of dy over the column", "note")
    return d


def reduce() -> Drawing:
    """Rows become numbers."""
    d = Drawing(
        360,
        140,
        "The sum over an axis: each number of y is made of one row; backwards its gradient goes to all of that row.",
    )
    d.grid(40, 34, 4, 5, SIDE, lambda i, _j: "hit" if i == 1 else "cell")
    d.text(40 + 2.5 * SIDE, 22, "x: (4, 5)", "name")
    d.line(152, 74, 190, 74, "arrow")
    d.grid(200, 34, 4, 1, SIDE, lambda i, _j: "hit" if i == 1 else "cell")
    d.text(210, 22, "sum, dim=1", "name")
    d.text(236, 54, "one number a row", "note", "start")
    return d


def shape() -> Drawing:
    """The same numbers in other places."""
    d = Drawing(
        360,
        140,
        "Numbers move and nothing is computed: reshaped, and transposed; gradients go back the same way.",
    )
    d.grid(14, 44, 2, 3, 24, lambda i, j: "hit" if (i, j) == (0, 2) else "cell", lambda i, j: str(3 * i + j))
    d.text(50, 32, "x", "name")
    d.line(92, 68, 124, 68, "arrow")
    d.grid(134, 32, 3, 2, 24, lambda i, j: "hit" if (i, j) == (1, 0) else "cell", lambda i, j: str(2 * i + j))
    d.text(158, 20, "reshape(3, 2)", "name")
    d.path("M50 96v22h222v-10", "arrow")
    d.grid(248, 32, 3, 2, 24, lambda i, j: "hit" if (i, j) == (2, 0) else "cell", lambda i, j: str(3 * j + i))
    d.text(276, 20, "transpose(0, 1)", "name")
    return d


def dropout() -> Drawing:
    """Some numbers are dropped, the rest are larger."""
    d = Drawing(
        360,
        136,
        "With p = 1/2 half the numbers (crossed out) become 0, and the others are doubled; both passes share the mask.",
    )
    dropped = {(0, 1), (0, 3), (1, 0), (1, 2), (2, 1), (2, 2), (3, 3), (3, 0)}
    d.grid(14, 34, 4, 4, 22, label=lambda i, j: str(VALUES[i][j]))
    d.text(58, 22, "x", "name")
    d.line(112, 78, 138, 78, "arrow")
    for x, name, label in (
        (148.0, "y", lambda i, j: "0" if (i, j) in dropped else str(2 * VALUES[i][j])),
        (264.0, "dx", lambda i, j: "0" if (i, j) in dropped else "2dy"),
    ):
        d.grid(x, 34, 4, 4, 22, lambda i, j: "faint" if (i, j) in dropped else "hit", label)
        for i, j in sorted(dropped):
            d.path(f"M{x + j * 22 + 3} {34 + i * 22 + 19}l16-16", "thin")
        d.text(x + 44, 22, name, "name")
    return d


VALUES = ((3, 1, 4, 1), (5, 9, 2, 6), (5, 3, 5, 8), (9, 7, 9, 3))


def batch_norm() -> Drawing:
    """Which numbers share a mean."""
    d = Drawing(
        360,
        170,
        "Batch norm: all numbers of one channel, over all images and pixels (hatched), share a mean and a variance.",
    )
    for n in range(3):
        for c in range(4):
            kind = "hit" if c == 1 else "cell"
            d.grid(70 + c * 64, 24 + n * 44, 2, 3, 17, lambda _i, _j, kind=kind: kind)
        d.text(34, 41 + n * 44, f"image {n}", "note")
    for c in range(4):
        d.text(70 + c * 64 + 25, 160, f"channel {c}", "note")
    d.rect(128, 18, 63, 132, "window")
    return d
