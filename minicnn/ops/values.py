"""What the tape does with arrays itself, on any device: constants, copies, sums of gradients, comparisons, places.

None of it is differentiated. On the CPU each is a line of NumPy; on the GPU a kernel.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, device
from minicnn.errors import DeviceError
from minicnn.ops.registry import operation

COMPARISONS = {  # by name: NumPy's function, the kernel's, and whether it takes the operands the other way round
    "==": (np.equal, "equal", False),
    "!=": (np.not_equal, "not_equal", False),
    "<": (np.less, "less", False),
    "<=": (np.less_equal, "less_equal", False),
    ">": (np.greater, "less", True),
    ">=": (np.greater_equal, "less_equal", True),
}


def number(value: Any, like: Array) -> Array:
    """A Python number as an array without axes, with dtype and device of `like`."""
    if isinstance(like, np.ndarray):
        return np.asarray(value, dtype=like.dtype)
    from minicnn.backends import cuda

    made = cuda.empty((), like.dtype)
    made.fill(like.dtype.type(value))
    return made


def ones_like(x: Array) -> Array:
    """Ones with shape, dtype, device and memory layout of x."""
    if isinstance(x, np.ndarray):
        return np.ones_like(x)
    from minicnn.backends import cuda

    made = cuda.empty_like(x)
    made.transpose(cuda.memory_order(made)).fill(1)
    return made


def copy(x: Array) -> Array:
    """A copy; on the GPU in the memory layout of x."""
    if isinstance(x, np.ndarray):
        return x.copy()
    from minicnn.backends import cuda, cuda_kernels

    made = cuda.empty_like(x)
    cuda_kernels.copy_into(made, x)
    return made


def plus(a: Array, b: Array) -> Array:
    """a + b, of one shape; an array also where both are single numbers (NumPy answers with a scalar)."""
    if a.ndim == 4 or device(a) == "cuda":  # the operation keeps the layout of images
        return operation("add").run("forward", (a, b), {}, a.shape)
    return np.asarray(a + b)


def owns_memory(x: Array) -> bool:
    """Whether no other array sees the memory of x. On the GPU images are views: of memory that only they refer to."""
    if x.base is None:
        return True
    return device(x) == "cuda" and sys.getrefcount(x.base) <= _BASE_REFERENCES


def _base_references() -> int:
    """How often Python counts the owner of memory to which one view refers."""
    view = np.zeros((2, 3)).T
    return sys.getrefcount(view.base)


_BASE_REFERENCES = _base_references()


def compare(sign: str, a: Array, b: Any) -> Any:
    """a == b, a < b, ...: booleans; b an array or a Python number, repeated to fit as in NumPy."""
    function, name, turned = COMPARISONS[sign]
    if isinstance(a, np.ndarray) and not _on_gpu(b):
        return function(a, b)
    if not _on_gpu(a) or isinstance(b, np.ndarray):
        raise DeviceError(
            "the operands are on different devices", called=sign, rule="all arrays of a call on one device"
        )
    from minicnn.ops.elementwise.cuda import binary, cast

    common = np.result_type(a.dtype, b.dtype if _on_gpu(b) else b)
    left = cast(a, common)
    right = cast(b, common) if _on_gpu(b) else number(b, left)
    return binary(name, *((right, left) if turned else (left, right)), dtype=np.bool_)


def _on_gpu(value: Any) -> bool:
    return hasattr(value, "__cuda_array_interface__")


def argmax(x: Array, axis: int | None, keepdims: bool) -> Array:
    """Index of the (first) largest value along an axis, or of all in row-major order."""
    if isinstance(x, np.ndarray):
        return np.argmax(x, axis=axis, keepdims=keepdims)
    from minicnn.backends import cuda_kernels
    from minicnn.ops.reduce import folds

    if axis is not None and x.ndim:
        return folds.argmax(x, axis, keepdim=keepdims)
    place = folds.argmax(cuda_kernels.contiguous(x).reshape(-1), 0)
    return place.reshape((1,) * x.ndim if keepdims else ())


def cast(x: Array, dtype: Any) -> Array:
    """x as numbers of another type."""
    if isinstance(x, np.ndarray):
        return x.astype(dtype)
    from minicnn.ops.elementwise.cuda import cast

    return cast(x, dtype)
