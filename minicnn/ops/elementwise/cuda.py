"""Element-wise operations on the GPU (`unary.cu`, `binary.cu`), and what other operations need of the kind.

`unary` and `binary` run one function of these files on all numbers; `cast` converts; `sum_repeated` is the sum over
the axes along which an operand was repeated. Operands of one layout in memory are walked through as lines, whatever
their shape, so an image stays as it lies.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.axes import Shape
from minicnn.ops.reduce.folds import sum_over

HERE = Path(__file__).parent
AT_ONCE = 4  # numbers of a thread


def unary(function: str, x: Array, p: float = 0.0, dtype: Any = None) -> Array:
    """function(x), of `dtype` (that of x), in the memory layout of x."""
    order = cuda.memory_order(x)
    y = cuda.empty_like(x) if dtype is None else empty_in_order(x.shape, dtype, order)
    x_line, y_line = (cuda_kernels.contiguous(each.transpose(order)).reshape(-1) for each in (x, y))
    types = {"IN": cuda_kernels.type_name(x.dtype), "OUT": cuda_kernels.type_name(y.dtype)}
    run = cuda_kernels.kernel(HERE / "unary.cu", "unary_lines", OP=function, **types)
    run.over(-(-x.size // AT_ONCE), y_line, x_line, p, x.size)
    return y


def cast(x: Array, dtype: Any) -> Array:
    """x as numbers of another type; x itself if it has it already."""
    return x if x.dtype == dtype else unary("identity", x, dtype=dtype)


def binary(function: str, a: Array, b: Array, p: float = 0.0, dtype: Any = None) -> Array:
    """function(a, b), the operands repeated to a common shape as in NumPy."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    full = next((x for x in (a, b) if x.shape == shape), None)
    order = _order(len(shape)) if full is None else cuda.memory_order(full)
    y = empty_in_order(shape, dtype or a.dtype, order)
    ordered = tuple(shape[axis] for axis in order)
    steps = [tuple(cuda_kernels.steps(x, shape)[axis] for axis in order) for x in (a, b)]
    sizes, (a_steps, b_steps) = cuda_kernels.merged_steps(ordered, steps)
    types = {"IN": cuda_kernels.type_name(a.dtype), "OUT": cuda_kernels.type_name(y.dtype)}
    y_line = y.transpose(order).reshape(-1)
    left, right = cuda_kernels.Strided(a), cuda_kernels.Strided(b)
    count = math.prod(shape)
    if all(each in ((), (1,)) for each in (a_steps, b_steps)):
        run = cuda_kernels.kernel(HERE / "binary.cu", "binary_lines", OP=function, **types)
        run.over(-(-count // AT_ONCE), y_line, left, right, p, count)
        return y
    ones, zeros = (1,) * (cuda_kernels.MOST_AXES - len(sizes)), (0,) * (cuda_kernels.MOST_AXES - len(sizes))
    run = cuda_kernels.kernel(HERE / "binary.cu", "binary_strided", OP=function, **types)
    run.over(count, y_line, left, right, p, count, *ones, *sizes, *zeros, *a_steps, *zeros, *b_steps)
    return y


def _order(ndim: int) -> Shape:
    """The axes of a new array from the longest step to the shortest: images with channels last."""
    return (0, 2, 3, 1) if ndim == 4 else tuple(range(ndim))


def empty_in_order(shape: Shape, dtype: Any, order: Shape) -> Array:
    """A new array whose axes lie in memory in this order."""
    inverse = tuple(sorted(range(len(order)), key=order.__getitem__))
    return cuda.empty(tuple(shape[axis] for axis in order), dtype).transpose(inverse)


def sum_repeated(dy: Array, shape: Shape) -> Array:
    """The sum of dy over the axes along which an operand of that shape was repeated; may be dy itself."""
    missing = dy.ndim - len(shape)
    repeated = (missing + axis for axis, size in enumerate(shape) if size == 1 and dy.shape[missing + axis] != 1)
    axes = (*range(missing), *repeated)
    if not axes:
        return dy
    kept = sum_over(dy, axes, keepdim=True)
    return kept.reshape(kept.shape[missing:])


# ---- the passes ------------------------------------------------------------------------------------------------------


def add_forward(a: Array, b: Array) -> Array:
    """y = a + b"""
    return binary("add", a, b)


def add_grad_a(dy: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy"""
    return sum_repeated(dy, a_shape)


def add_grad_b(dy: Array, *, b_shape: Shape) -> Array:
    """db = sum_rep dy"""
    return sum_repeated(dy, b_shape)


def sub_forward(a: Array, b: Array) -> Array:
    """y = a - b"""
    return binary("subtract", a, b)


def sub_grad_a(dy: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy"""
    return sum_repeated(dy, a_shape)


def sub_grad_b(dy: Array, *, b_shape: Shape) -> Array:
    """db = -sum_rep dy"""
    return unary("minus", sum_repeated(dy, b_shape))


def mul_forward(a: Array, b: Array) -> Array:
    """y = a b"""
    return binary("multiply", a, b)


def mul_grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy b"""
    return sum_repeated(binary("multiply", dy, b), a_shape)


def mul_grad_b(dy: Array, a: Array, *, b_shape: Shape) -> Array:
    """db = sum_rep dy a"""
    return sum_repeated(binary("multiply", dy, a), b_shape)


def div_forward(a: Array, b: Array) -> Array:
    """y = a / b"""
    return binary("divide", a, b)


def div_grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy / b"""
    return sum_repeated(binary("divide", dy, b), a_shape)


def div_grad_b(dy: Array, a: Array, b: Array) -> Array:
    """db = -sum_rep dy (a / b) / b"""
    return sum_repeated(binary("minus_product", dy, binary("over_square", a, b)), b.shape)


def pow_forward(x: Array, *, exponent: float) -> Array:
    """y = x^e"""
    return unary("power", x, exponent)


def pow_grad_input(dy: Array, x: Array, *, exponent: float) -> Array:
    """dx = dy e x^(e-1); 0 for e = 0"""
    return binary("power_gradient", dy, x, exponent)


def exp_forward(x: Array) -> Array:
    """y = e^x"""
    return unary("exponential", x)


def exp_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y"""
    return binary("multiply", dy, y)


def log_forward(x: Array) -> Array:
    """y = ln x"""
    return unary("logarithm", x)


def log_grad_input(dy: Array, x: Array) -> Array:
    """dx = dy / x"""
    return binary("divide", dy, x)


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + e^-x)"""
    return unary("logistic", x)


def sigmoid_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y (1 - y)"""
    return binary("logistic_gradient", dy, y)


def tanh_forward(x: Array) -> Array:
    """y = tanh x"""
    return unary("hyperbolic_tangent", x)


def tanh_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy (1 - y^2)"""
    return binary("tangent_gradient", dy, y)
