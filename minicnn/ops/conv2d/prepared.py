"""A convolution whose weights are packed once and then used for every batch: inference.

Bias, a residual and ReLU are added while the outputs are still in registers (the kernel's *epilogue*), so that they
cost no pass over memory. Without the packing of weights, the algorithms' costs differ from those of training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images
from minicnn.backends.scratch import aligned_zeros
from minicnn.ops.conv2d import direct, winograd
from minicnn.ops.conv2d.cost import by_panels, cost
from minicnn.ops.registry import Problem

ALGORITHMS = ("winograd4", "winograd2", "direct")


class Prepared:
    """relu?(x * w + b + residual?) with constant w and b, for images of one shape.

    Parameters
    ----------
    w : array (K, C, R, S), float32 or float64
    b : array (K,)
    options : dict
        stride, padding, dilation as pairs; groups.
    x_shape : (N, C, H, W)

    Attributes
    ----------
    algorithm : str
        Empty if none of the algorithms with packed weights supports the problem.
    """

    def __init__(self, w: Array, b: Array, options: dict[str, Any], x_shape: tuple[int, ...]) -> None:
        problem = Problem("conv2d", "forward", (x_shape, w.shape, b.shape), w.dtype, "cpu", options)
        fits = [n for n in ALGORITHMS if not (direct if n == "direct" else winograd).supports(problem)]
        self.algorithm = min(fits, key=lambda name: cost(name, problem, prepared=True), default="")
        self.w, self.b = w, b
        self.steps = {key: options[key] for key in ("stride", "padding", "dilation")}
        self._kept: dict[Any, np.ndarray] = {}
        if self.algorithm.startswith("winograd"):
            self._m = m = int(self.algorithm[-1])
            size = winograd.transformed_size(m, w.shape[1], w.shape[0], w.dtype)
            tiles = x_shape[0] * -(-x_shape[2] // m) * -(-x_shape[3] // m)
            self._panels = by_panels(size * w.itemsize, tiles, prepared=True)
            if self._panels:
                self._u = winograd.pack_taps(m, w)
            else:
                self._u = aligned_zeros(size, w.dtype)
                winograd.transform(m, w, False, self._u)
            self.w = w[:, :0].copy()  # not needed any more

    def __call__(self, x: Array, residual: Array | None, relu: bool) -> Array:
        """The images (N, K, P, Q)."""
        rest = None if residual is None else Images.of(residual)
        if self.algorithm == "direct":
            return direct.convolve(x, self.w, self.b, rest, relu, **self.steps, kept=self._kept).array
        k, images = len(self.w), Images.of(x)
        if self._panels:
            return winograd.convolve_panels(self._m, images, self.w, False, self._u, k, self.b, rest, relu).array
        return winograd.convolve(self._m, images, self._u, k, self.b, rest, relu).array
