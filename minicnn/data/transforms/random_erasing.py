"""`RandomErasing`: a rectangle of an array is covered; torchvision's rule.

Source: Zhong et al. 2017, "Random Erasing Data Augmentation".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backends.arrays import FLOATS
from minicnn.data.checks import real
from minicnn.data.randomness import sample_generator
from minicnn.data.transforms.compose import Transform
from minicnn.data.transforms.sampling import TRIES, interval, positive, probability
from minicnn.errors import ArgumentError, DTypeError, ShapeError

RANDOM = "random"


class RandomErasing(Transform):
    """Cover a random rectangle, with probability `p`; on arrays, after `ToTensor` and `Normalize`.

    Parameters
    ----------
    p : float
        Between 0 and 1.
    scale : (smallest, largest)
        Area of the rectangle, as a share of the image's area; uniform.
    ratio : (smallest, largest)
        Height / width of the rectangle; its logarithm is uniform.
    value : number, one number a channel, or "random"
        What covers it; "random": normally distributed numbers. After `Normalize`, 0 is the mean colour.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
    ) -> None:
        called = "RandomErasing"
        self.p = probability(called, p)
        self.scale = interval(called, "scale", scale, 0, 1)
        self.ratio = positive(called, "ratio", interval(called, "ratio", ratio, 0, math.inf))
        if isinstance(value, str) and value != RANDOM:
            raise ArgumentError(
                "an unknown value", called=called, seen=f"value={value!r}", rule=f'numbers or "{RANDOM}"'
            )
        if isinstance(value, (list, tuple)):
            self.value: Any = tuple(real(called, f"value[{i}]", number) for i, number in enumerate(value))
        else:
            self.value = value if value == RANDOM else real(called, "value", value)

    def __call__(self, x: Any) -> np.ndarray:
        """The array (C, H, W), or a copy of it with a rectangle covered."""
        if not isinstance(x, np.ndarray) or x.dtype not in FLOATS or x.ndim != 3:
            raise DTypeError(
                "not a float array (C, H, W)",
                called="RandomErasing",
                seen=f"array {x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__,
                hint="put ToTensor() before RandomErasing",
            )
        if isinstance(self.value, tuple) and len(self.value) != x.shape[0]:
            raise ShapeError(
                "value and the image differ in channels",
                called="RandomErasing",
                seen=f"value={self.value}, image {x.shape}",
                rule="one number, or one a channel",
            )
        draw = sample_generator()
        if draw.random() >= self.p:
            return x
        top, left, height, width = self.rectangle(x.shape[1], x.shape[2])
        if not height:
            return x
        cover = draw.standard_normal((x.shape[0], height, width)) if self.value == RANDOM else self._cover()
        y = x.copy()
        y[:, top : top + height, left : left + width] = cover
        return y

    def rectangle(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width) in an image of `height` x `width`; height 0 where none fits."""
        draw = sample_generator()
        low, high = (math.log(number) for number in self.ratio)
        for _ in range(TRIES):
            area, ratio = height * width * draw.uniform(*self.scale), math.exp(draw.uniform(low, high))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h < height and w < width:
                return int(draw.integers(height - h + 1)), int(draw.integers(width - w + 1)), h, w
        return 0, 0, 0, 0

    def _cover(self) -> np.ndarray:
        return np.asarray(self.value).reshape(-1, 1, 1)
