r"""The transforms of Winograd's convolutions F(2x2, 3x3) and F(4x4, 3x3), one dimension at a time.

A convolution of 3 taps is a product of polynomials, and a polynomial of degree m + 1 is known from its values at m + 2
points: so m neighbouring outputs need m + 2 products instead of 3 m (Winograd 1980; Lavin and Gray 2016, section 4)::

    y = A^T [(G w) * (B^T d)]              d: m + 2 inputs, w: 3 taps, y: m outputs, * number by number

In two dimensions the same is done to columns, then to rows: F(4x4, 3x3) takes 36 products for 16 outputs of 9 taps
each, 144 / 36 = 4 times fewer; F(2x2, 3x3) takes 16 for 4, 2.25 times fewer.

The points decide the rounding error. F(2, 3) has 0, 1, -1 and infinity. For F(4, 3) the text-book has 0, +-1, +-2 and
infinity; we take 0, +-3/4, +-3/2 and infinity, whose powers are more alike: the error is a quarter (see this folder's
README), and all numbers of A and B are still exact in binary.

Rows of the matrices, with points a = 3/4 and b = 3/2::

    B^T:  a²b²  0    -(a²+b²)  0   1  0       G (row of point p): (1, p, p²) / prod over the other points q of (p - q);
          0    -ab²  -b²       a   1  0       first row (1, 0, 0) / (a² b²), last row (0, 0, 1)
          0     ab²  -b²      -a   1  0
          0    -a²b  -a²       b   1  0       A^T: 1  1   1   1   1   0
          0     a²b  -a²      -b   1  0            0  a  -a   b  -b   0
          0     a²b²  0  -(a²+b²)  0  1            0  a²  a²  b²  b²  0
                                                   0  a³ -a³  b³ -b³  1

Each function takes a tuple of vectors (16 channels each, say) and returns a tuple; the length says which F it is.
`adjoint_*` are the transposed matrices, which the gradient of the weights needs: dw = G^T [(B^T d) * (A dy)].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}


def matrices(m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T (m, m + 2), G (m + 2, 3) and B^T (m + 2, m + 2) in float64, from the points."""
    points = np.array(POINTS[m])
    at = np.vander(points, m, increasing=True).T
    at = np.hstack([at, np.eye(m)[:, -1:]])
    others = [np.delete(points, i) for i in range(m + 1)]
    scale = np.array([np.prod(p - q) for p, q in zip(points, others, strict=True)])
    g = np.vstack([np.vander(points, 3, increasing=True) / scale[:, None], [0, 0, 1]])
    rows = [np.append(np.poly(q)[::-1], 0.0) for q in others]  # prod (x - q): coefficients, the lowest first
    bt = np.vstack([*rows, np.poly(points)[::-1]])
    return at, g, bt


G4 = matrices(4)[1]
G00, G10, G11, G12, G30, G31, G32 = (float(v) for v in (G4[0, 0], *G4[1], *G4[3]))


def input_transform(d: Any) -> Any:
    """B^T d: 4 -> 4 or 6 -> 6."""
    return tuple(matrices(len(d) - 2)[2] @ np.array(d))


@overload(input_transform)
def _input_transform(d):  # type: ignore[no-untyped-def]
    if len(d) == 4:
        return lambda d: (d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1])

    def six(d):  # type: ignore[no-untyped-def]
        p = d[4] - 2.25 * d[2]
        q = 0.75 * d[3] - 1.6875 * d[1]
        r = d[4] - 0.5625 * d[2]
        s = 1.5 * d[3] - 0.84375 * d[1]
        first = 1.265625 * d[0] - 2.8125 * d[2] + d[4]
        return (first, p + q, p - q, r + s, r - s, 1.265625 * d[1] - 2.8125 * d[3] + d[5])

    return six


def output_transform(m: Any) -> Any:
    """A^T m: 4 -> 2 or 6 -> 4."""
    return tuple(matrices(len(m) - 2)[0] @ np.array(m))


@overload(output_transform)
def _output_transform(m):  # type: ignore[no-untyped-def]
    if len(m) == 4:
        return lambda m: (m[0] + m[1] + m[2], m[1] - m[2] + m[3])

    def six(m):  # type: ignore[no-untyped-def]
        a, b, c, d = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
        return (m[0] + a + c, 0.75 * b + 1.5 * d, 0.5625 * a + 2.25 * c, 0.421875 * b + 3.375 * d + m[5])

    return six


def adjoint_output_transform(y: Any) -> Any:
    """A y: 2 -> 4 or 4 -> 6."""
    return tuple(matrices(len(y))[0].T @ np.array(y))


@overload(adjoint_output_transform)
def _adjoint_output_transform(y):  # type: ignore[no-untyped-def]
    if len(y) == 2:
        return lambda y: (y[0], y[0] + y[1], y[0] - y[1], y[1])

    def four(y):  # type: ignore[no-untyped-def]
        even, odd = y[0] + 0.5625 * y[2], 0.75 * y[1] + 0.421875 * y[3]
        even2, odd2 = y[0] + 2.25 * y[2], 1.5 * y[1] + 3.375 * y[3]
        return (y[0], even + odd, even - odd, even2 + odd2, even2 - odd2, y[3])

    return four


def weight_transform(m: int, w: Any) -> Any:
    """G w: 3 -> m + 2."""
    return tuple(matrices(m)[1] @ np.array(w))


@overload(weight_transform, prefer_literal=True)
def _weight_transform(m, w):  # type: ignore[no-untyped-def]
    if m.literal_value == 2:

        def two(m, w):  # type: ignore[no-untyped-def]
            even, odd = 0.5 * (w[0] + w[2]), 0.5 * w[1]
            return (-1.0 * w[0], even + odd, even - odd, w[2])

        return two

    def four(m, w):  # type: ignore[no-untyped-def]
        even, odd = G10 * w[0] + G12 * w[2], G11 * w[1]
        even2, odd2 = G30 * w[0] + G32 * w[2], G31 * w[1]
        return (G00 * w[0], even + odd, even - odd, even2 + odd2, even2 - odd2, w[2])

    return four


def adjoint_weight_transform(u: Any) -> Any:
    """G^T u: 4 -> 3 or 6 -> 3."""
    return tuple(matrices(len(u) - 2)[1].T @ np.array(u))


@overload(adjoint_weight_transform)
def _adjoint_weight_transform(u):  # type: ignore[no-untyped-def]
    if len(u) == 4:

        def two(u):  # type: ignore[no-untyped-def]
            half = 0.5 * (u[1] + u[2])
            return (half - u[0], 0.5 * (u[1] - u[2]), half + u[3])

        return two

    def four(u):  # type: ignore[no-untyped-def]
        a, b, c, d = u[1] + u[2], u[1] - u[2], u[3] + u[4], u[3] - u[4]
        return (G00 * u[0] + G10 * a + G30 * c, G11 * b + G31 * d, G12 * a + G32 * c + u[5])

    return four


def added(u: Any, v: Any) -> Any:
    """u + v, number by number."""
    return tuple(a + b for a, b in zip(u, v, strict=True))


@overload(added)
def _added(u, v):  # type: ignore[no-untyped-def]
    if len(u) == 4:
        return lambda u, v: (u[0] + v[0], u[1] + v[1], u[2] + v[2], u[3] + v[3])
    return lambda u, v: (u[0] + v[0], u[1] + v[1], u[2] + v[2], u[3] + v[3], u[4] + v[4], u[5] + v[5])
