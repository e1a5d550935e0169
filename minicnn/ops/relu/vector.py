"""ReLU on `Images`: all of their memory as one line; the border of zeros stays zero, so it needs no care.

Shapes: x, y, dy, dx: the `flat` of images. Its length is a whole number of vectors. Arrays that are no `Images` take
the way of `loops`.
"""

from __future__ import annotations

from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, relu, vload, vstore, where_positive
from minicnn.ops.lines import supports
from minicnn.ops.relu import loops
from minicnn.ops.rows import SMALL

__all__ = ["forward", "grad_input", "supports"]

PART = 1 << 14  # numbers that one thread takes at a time


def forward(x: Array) -> Array:
    """y = max(x, 0)"""
    images = Images.behind(x)
    return loops.forward(x) if images is None else of_images(images)


def of_images(images: Images) -> Array:
    """y = max(x, 0), by the kernel alone"""
    y = images.like()
    _forward(images.flat, y.flat)
    return y.array


@kernel
def _forward(x, y):
    # y = max(x, 0); parallel over parts; NaN passes
    if x.size <= SMALL:
        _forward_part(x, y, 0, x.size)
    else:
        for part in prange(-(-x.size // PART)):
            _forward_part(x, y, part * PART, min(x.size, (part + 1) * PART))


@kernel(parallel=False)
def _forward_part(x, y, start, stop):
    # the numbers from start to stop
    for i in range(start, stop, lanes(x)):
        vstore(y, i, relu(vload(x, i)))


def grad_input(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0 (or NaN), 0 where y = 0"""
    images = Images.behind(y)
    if images is None:
        return loops.grad_input(dy, y)
    gradient, dx = Images.of(dy), images.like()
    _grad_input(gradient.flat, images.flat, dx.flat)
    return dx.array


@kernel
def _grad_input(dy, y, dx):
    # dx = dy where y > 0, else 0; parallel over parts
    if y.size <= SMALL:
        _grad_input_part(dy, y, dx, 0, y.size)
    else:
        for part in prange(-(-y.size // PART)):
            _grad_input_part(dy, y, dx, part * PART, min(y.size, (part + 1) * PART))


@kernel(parallel=False)
def _grad_input_part(dy, y, dx, start, stop):
    # the numbers from start to stop
    for i in range(start, stop, lanes(y)):
        vstore(dx, i, where_positive(vload(y, i), vload(dy, i)))
