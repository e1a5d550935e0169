"""How far two computations of one sum may lie apart by rounding alone.

Adding T numbers one after the other in a format of unit roundoff u gives at most T u sum|terms| of error, and where
roundings do not conspire about sqrt(T) u sum|terms| (Higham and Mary 2019): three times that is the bound here, where
it is the smaller one. The explanation's own sum is in float64; for a float64 engine its error counts as well.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SAFETY = 3.0  # standard deviations, or more
FEW = 8.0  # roundings in the numbers around a sum: a division, an exponential, a scale
# Of F(2x2, 3x3) and F(4x4, 3x3), relative to all pixels that their tiles mix: about fifty times what was ever seen.
WINOGRAD = {2: 0.5, 4: 2.0}


def bound(dtype: Any, count: int, magnitude: float, factor: float = 1.0) -> float:
    """The largest difference that rounding explains.

    Parameters
    ----------
    dtype : float dtype of the engine's value
    count : int
        Number of terms.
    magnitude : float
        Sum of the absolute terms.
    factor : float
        Of algorithms whose intermediate numbers are larger than the terms.
    """
    info = np.finfo(dtype)
    unit = float(info.eps) / 2 + float(np.finfo(np.float64).eps) / 2
    roundings = FEW + min(float(count), SAFETY * math.sqrt(count))
    return factor * roundings * unit * magnitude + (FEW + count) * float(info.smallest_normal)


def overflows(dtype: Any, count: int, magnitude: float) -> bool:
    """Whether a number on the way to the sum may be larger than any of this dtype: of a mean, the sum before it."""
    return not count * magnitude <= float(np.finfo(dtype).max)
