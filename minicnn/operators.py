"""Operators and methods of tensors: each is one operation of `minicnn.ops`, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import autograd  # these two files need each other: a tensor has operators, and operators make tensors
from minicnn.backends.arrays import Array
from minicnn.errors import DTypeError
from minicnn.ops import values
from minicnn.ops.axes import one_axis

if TYPE_CHECKING:
    from minicnn.autograd import Tensor


class Operators:
    """What a tensor inherits: arithmetic, reductions, changes of shape, comparisons."""

    __slots__ = ()
    array: Array
    requires_grad: bool

    def __add__(self, other: Any) -> Tensor:
        return autograd.apply("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return autograd.apply("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return autograd.apply("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return autograd.apply("sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return autograd.apply("mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return autograd.apply("mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return autograd.apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return autograd.apply("div", other, self)

    def __neg__(self) -> Tensor:
        return autograd.apply("mul", self, -1.0)

    def __pow__(self, exponent: float) -> Tensor:
        return autograd.apply("pow", self, exponent=exponent)

    def __matmul__(self, other: Any) -> Tensor:
        return autograd.apply("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return autograd.apply("matmul", other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return autograd.apply("index", self, index=_arrays_in(index))

    def exp(self) -> Tensor:
        return autograd.apply("exp", self)

    def log(self) -> Tensor:
        return autograd.apply("log", self)

    def sqrt(self) -> Tensor:
        return self**0.5

    def sum(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return autograd.apply("sum", self, dim=dim, keepdim=keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return autograd.apply("mean", self, dim=dim, keepdim=keepdim)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The largest value, over all axes or a tuple of them; along one axis the pair (values, indices)."""
        values = autograd.apply("max", self, dim=dim, keepdim=keepdim)
        return values if dim is None or isinstance(dim, (tuple, list)) else (values, self.argmax(dim, keepdim))

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Index of the (first) largest value."""
        axis = None if dim is None or not self.array.ndim else one_axis(dim, self.array.ndim, "argmax")
        return autograd.Tensor(values.argmax(self.array, axis, keepdim))

    def reshape(self, *shape: Any) -> Tensor:
        return autograd.apply("reshape", self, shape=_one_or_several(shape))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        return autograd.apply("flatten", self, start_dim=start_dim, end_dim=end_dim)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchange two axes."""
        axes = list(range(self.array.ndim))
        first, second = (one_axis(dim, self.array.ndim, "transpose") for dim in (dim0, dim1))
        if first != second:
            axes[first], axes[second] = second, first
        return self.permute(*axes)

    def permute(self, *dims: Any) -> Tensor:
        """Put the axes into the order `dims`."""
        return autograd.apply("transpose", self, dims=_one_or_several(dims))

    @property
    def T(self) -> Tensor:  # noqa: N802
        return self.permute(*reversed(range(self.array.ndim)))

    # comparisons give plain tensors of booleans, without gradients

    def __eq__(self, other: object) -> Any:
        return autograd.Tensor(values.compare("==", self.array, _array_in(other)))

    def __ne__(self, other: object) -> Any:
        return autograd.Tensor(values.compare("!=", self.array, _array_in(other)))

    def __lt__(self, other: Any) -> Tensor:
        return autograd.Tensor(values.compare("<", self.array, _array_in(other)))

    def __gt__(self, other: Any) -> Tensor:
        return autograd.Tensor(values.compare(">", self.array, _array_in(other)))

    def __le__(self, other: Any) -> Tensor:
        return autograd.Tensor(values.compare("<=", self.array, _array_in(other)))

    def __ge__(self, other: Any) -> Tensor:
        return autograd.Tensor(values.compare(">=", self.array, _array_in(other)))

    __hash__ = object.__hash__

    # types

    def float(self) -> Tensor:
        """float32 values, of integers and booleans too; without a gradient, unless it is float32 already."""
        if self.requires_grad and self.array.dtype != "float32":
            raise DTypeError(
                "a cast is not recorded", called="Tensor.float", seen=str(self.array.dtype), hint="detach() first"
            )
        return self if self.array.dtype == "float32" else autograd.Tensor(values.cast(self.array, np.float32))  # type: ignore[return-value]


def _one_or_several(values: tuple[Any, ...]) -> Any:
    """The arguments (2, 3) of `f(2, 3)` or of `f((2, 3))`."""
    return values[0] if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


def _array_in(value: Any) -> Any:
    return value.array if isinstance(value, Operators) else value


def _arrays_in(index: Any) -> Any:
    return tuple(map(_array_in, index)) if isinstance(index, tuple) else _array_in(index)
