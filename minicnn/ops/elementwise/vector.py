"""The sum of two `Images` of one shape: all of their memory as one line; the border of zeros stays zero.

Shapes: a, b, y: the `flat` of images. Its length is a whole number of vectors. Where neither operand is `Images`, NumPy
adds.
"""

from __future__ import annotations

from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images, put
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, vload
from minicnn.ops.axes import Shape
from minicnn.ops.lines import supports as supports_lines
from minicnn.ops.registry import Problem
from minicnn.ops.rows import SMALL

PART = 1 << 14  # numbers that one thread takes at a time


def add_supports(problem: Problem) -> str:
    """Two arrays (N, C, H, W) of one shape."""
    shapes = {*problem.shapes, *problem.options.values()}  # of a and b, or of dy and of a or b
    if len(shapes) != 1 or len(problem.shapes[0] or ()) != 4:
        return "both operands must be images of one shape"
    return supports_lines(problem)


def add_forward(a: Array, b: Array) -> Array:
    """y = a + b"""
    if Images.behind(a) is None and Images.behind(b) is None:
        return a + b
    return sum_of_images(Images.of(a), Images.of(b))


def sum_of_images(a: Images, b: Images) -> Array:
    """y = a + b, by the kernel alone"""
    y = a.like()
    _add(a.flat, b.flat, y.flat)
    return y.array


@kernel
def _add(a, b, y):
    # y = a + b; parallel over parts
    if a.size <= SMALL:
        _add_part(a, b, y, 0, a.size)
    else:
        for part in prange(-(-a.size // PART)):
            _add_part(a, b, y, part * PART, min(a.size, (part + 1) * PART))


@kernel(parallel=False)
def _add_part(a, b, y, start, stop):
    # the numbers from start to stop
    for i in range(start, stop, lanes(a)):
        put(y, i, vload(a, i) + vload(b, i))


def add_grad_a(dy: Array, *, a_shape: Shape) -> Array:
    """da = dy"""
    del a_shape  # that of dy
    return dy


def add_grad_b(dy: Array, *, b_shape: Shape) -> Array:
    """db = dy"""
    del b_shape
    return dy
