"""The derivative with respect to one entry of an array, from values of the function alone.

    D(h) = (L(x + h) - L(x - h)) / 2h  =  dL/dx + O(h^2),      R = (4 D(h/2) - D(h)) / 3  =  dL/dx + O(h^4)

(R is Richardson's extrapolation.) A long step leaves its O(h^4), a short one drowns in rounding, so several are tried.
Each is a power of two, so that x + h is exact; and the terms of L are subtracted before they are summed, so that terms
that stay put add no rounding.

Kinks: where L has a corner (ReLU at 0, a tie of max pooling) there is no derivative. If the step is what crosses the
corner, a shorter one does not; if x sits on the corner itself, the slopes to its left and right differ, by the same
amount for every step, and the gradient must lie between them. (At a smooth bend that gap shrinks with the step; at a
jump it grows, and no gradient is right.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

STEPS = (2.0**-10, 2.0**-14, 2.0**-18, 2.0**-22, 2.0**-26, 2.0**-6)  # tried in turn, relative to |x|, at least to 1
KINK_STEPS = (2.0**-14, 2.0**-18)
ROUNDING = 2.0**-52  # relative error of one float64 operation
BLIND = 1e-12  # a gradient this small beside the terms of L that it moves cannot be told from zero


def compare(
    x: np.ndarray, i: int, analytic: float, terms: Callable[[], np.ndarray], smallest: float, tolerance: float
) -> tuple[float, float, bool]:
    """Hold a gradient against difference quotients.

    Parameters
    ----------
    x : float64 array
        Written to and restored.
    i : int
        The entry `x.flat[i]`.
    analytic : float
        The gradient there, dL/dx[i].
    terms : callable
        The terms of L at the present x.
    smallest : float
        Errors are relative to the gradient or the quotient, or to this if both are smaller.
    tolerance : float
        Largest relative error of a right gradient.

    Returns
    -------
    error : float
        The relative error; 0 for a gradient between the slopes of a kink.
    numeric : float
        The difference quotient.
    kink : bool
        Whether the entry sits on a kink.
    """
    here = float(x.flat[i])
    unit = 2.0 ** (math.frexp(max(1.0, abs(here)))[1] - 1)  # a power of two near |x|, at least 1

    def at(shift: float) -> np.ndarray:
        x.flat[i] = here + shift
        try:
            with np.errstate(all="ignore"):  # a step may leave the domain of the function
                return terms()
        finally:
            x.flat[i] = here

    def slope(from_: float, to: float) -> tuple[float, float]:
        """The difference quotient, and the size of the terms that changed."""
        left, right = at(from_), at(to)
        with np.errstate(all="ignore"):
            return float((right - left).sum()) / (to - from_), float(np.abs(right[right != left]).sum())

    best, found = math.inf, math.nan
    for h in (step * unit for step in STEPS):
        (wide, size), (narrow, _) = slope(-h, h), slope(-h / 2, h / 2)
        numeric = (4 * narrow - wide) / 3
        scale = max(abs(analytic), abs(numeric), smallest, BLIND / tolerance * size)
        if not math.isfinite(numeric) or ROUNDING * size / h > tolerance * scale:
            continue  # the step leaves the domain of fn, or drowns in rounding
        error = abs(analytic - numeric) / scale
        if error <= tolerance:
            return error, numeric, False
        if error < best:
            best, found = error, numeric
    far, near = (step * unit for step in KINK_STEPS)
    (far_left, _), (far_right, _) = slope(-far, 0.0), slope(0.0, far)
    (left, size), (right, _) = slope(-near, 0.0), slope(0.0, near)
    gap, far_gap = abs(right - left), abs(far_right - far_left)
    if not (far_gap / 4 < gap < far_gap * 4 and gap > 100 * ROUNDING * size / near):
        return best, found, False
    low, high = sorted(((far * right - near * far_right), (far * left - near * far_left)))  # at a step of 0
    low, high = low / (far - near) - 1e-3 * gap, high / (far - near) + 1e-3 * gap
    return (0.0 if low <= analytic <= high else best), found, True
