r"""Operations that move elements and compute nothing: reshape, flatten, transpose, index, concatenate.

Formula: each element of y *is* an element of x, so its gradient goes back to the place it came from::

    reshape      y = the elements of x in row-major order, in another shape       dx = reshape dy back
    flatten      y = the axes start_dim..end_dim of x as one                      dx = reshape dy back
    transpose    y[i_dims[0], i_dims[1], ...] = x[i_0, i_1, ...]                  dx = the inverse permutation of dy
    index        y = x[index], NumPy's indexing                                   dx[index] += dy, dx = 0 elsewhere
    concatenate  y = [x0, x1, ...] one after the other along dim                  dx_k = its piece of dy

An element that an integer index names twice gets the sum of both gradients, added in the order of the index.

Shapes: as the table says; `shape` may hold one -1, which stands for whatever is left over. `index` holds ints, slices,
None, Ellipsis, integer arrays and boolean arrays. Any dtype: labels are moved as images are.

y may share memory with x, and dx with dy (as in PyTorch); no pass writes into its arguments.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| formula | NumPy | all | any dtype |
| cuda    | views, and copies in other orders; numbers at places that an index names | all | on the GPU: any dtype |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, is_array, moved
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.ops.axes import Shape, check_gradient, one_axis, permutation
from minicnn.ops.registry import Operation
from minicnn.ops.windows import is_whole

Saved = dict[str, Any]

# ---- reshape and flatten --------------------------------------------------------------------------------------------


def reshape_forward(x: Array, *, shape: int | Sequence[int]) -> Array:
    """The elements of x in row-major order, in another shape; one -1 stands for what is left over."""
    check_array(x, "reshape")
    full = _complete(x.shape, shape)
    return RESHAPE.run("forward", (x,), {"shape": full}, full)


def reshape_grad_input(dy: Array, x_shape: Shape) -> Array:
    """dx: dy in the shape `x_shape` of x."""
    check_array(dy, "reshape.grad_input", "dy")
    full = _complete(dy.shape, x_shape)
    return RESHAPE.run("grad_input", (dy,), {"x_shape": full}, full)


def _complete(x_shape: Shape, shape: Any) -> Shape:
    """`shape` without -1; raises unless it holds as many elements as `x_shape`."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not all(is_whole(size) and size >= -1 for size in sizes) or sizes.count(-1) > 1:
        raise ArgumentError(
            "shape is not valid", called="reshape", seen=f"shape={shape!r}", rule="whole numbers >= 0, at most one -1"
        )
    known = prod(size for size in sizes if size != -1)
    total = prod(x_shape)
    fits = total == known if -1 not in sizes else known > 0 and total % known == 0
    if not fits:
        raise ShapeError(
            f"cannot reshape {tuple(x_shape)} into {sizes}",
            called="reshape",
            seen=f"{total} elements",
            rule="the sizes beside -1 divide the number of elements" if -1 in sizes else "as many elements as before",
        )
    return tuple(int(total // known if size == -1 else size) for size in sizes)


def flatten_forward(x: Array, *, start_dim: int = 0, end_dim: int = -1) -> Array:
    """The axes `start_dim` to `end_dim` of x as one; a single number becomes an array of one."""
    check_array(x, "flatten")
    start = one_axis(start_dim, x.ndim, "flatten", "start_dim")
    end = one_axis(end_dim, x.ndim, "flatten", "end_dim")
    if start > end:
        raise ArgumentError(
            "start_dim comes after end_dim",
            called="flatten",
            seen=f"start_dim={start_dim}, end_dim={end_dim}, x {x.shape}",
        )
    shape = (*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :])
    return FLATTEN.run("forward", (x,), {"start_dim": start, "end_dim": end}, shape)


def flatten_grad_input(dy: Array, x_shape: Shape) -> Array:
    """dx: dy in the shape `x_shape` of x."""
    check_array(dy, "flatten.grad_input", "dy")
    full = _complete(dy.shape, x_shape)
    return FLATTEN.run("grad_input", (dy,), {"x_shape": full}, full)


def _keeping_shape(forward: Callable[..., Array], grad_input: Callable[..., Array]) -> tuple[Any, Any]:
    """Record and backward of an operation whose gradient needs the shape of x alone."""

    def record(_: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, Saved]:
        return forward(x, **options), {"x_shape": x.shape, "options": options}

    def backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
        return (grad_input(dy, saved["x_shape"]) if needs[0] else None,)

    return record, backward


# ---- transpose ------------------------------------------------------------------------------------------------------


def transpose_forward(x: Array, *, dims: Sequence[int]) -> Array:
    """The axes of x in the order `dims`."""
    check_array(x, "transpose")
    order = permutation(dims, x.ndim, "transpose")
    return TRANSPOSE.run("forward", (x,), {"dims": order}, tuple(x.shape[axis] for axis in order))


def transpose_grad_input(dy: Array, *, dims: Sequence[int]) -> Array:
    """dx: the axes of dy back in the order of x; `dims` as given to forward."""
    check_array(dy, "transpose.grad_input", "dy")
    order = permutation(dims, dy.ndim, "transpose.grad_input")
    shape = tuple(dy.shape[order.index(axis)] for axis in range(dy.ndim))
    return TRANSPOSE.run("grad_input", (dy,), {"dims": order}, shape)


def _transpose_record(_: tuple[bool, ...], x: Array, *, dims: Sequence[int]) -> tuple[Array, Saved]:
    order = permutation(dims, x.ndim, "transpose")
    return transpose_forward(x, dims=order), {"options": {"dims": order}}


def _transpose_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    return (transpose_grad_input(dy, **saved["options"]) if needs[0] else None,)


# ---- index ----------------------------------------------------------------------------------------------------------


def index_forward(x: Array, *, index: Any) -> Array:
    """x[index]; shares memory with x unless the index holds an array."""
    check_array(x, "index")
    entries = _entries(index)
    return INDEX.run("forward", (x,), {"index": entries}, _indexed_shape(x.shape, entries))


def index_grad_input(dy: Array, x_shape: Shape, *, index: Any) -> Array:
    """dx, of shape `x_shape`: dy at the places that `index` names, added up where it names one several times."""
    check_array(dy, "index.grad_input", "dy")
    entries = _entries(index)
    check_gradient(dy, _indexed_shape(x_shape, entries), "index.grad_input")
    return INDEX.run("grad_input", (dy,), {"x_shape": tuple(x_shape), "index": entries}, tuple(x_shape))


def _entries(index: Any) -> tuple[Any, ...]:
    """The index as a tuple; whatever names several places becomes an array of our own, which nobody changes later."""
    return tuple(_entry(entry) for entry in (index if isinstance(index, tuple) else (index,)))


def _entry(entry: Any) -> Any:
    if entry is None or entry is Ellipsis or isinstance(entry, (slice, bool)) or is_whole(entry):
        return entry
    if is_array(entry):  # on the CPU: the shape of y depends on it
        return moved(entry, "cpu").copy()
    array = np.asarray(entry)
    return array if array.size else array.astype(np.intp)  # an empty list names no place


def _indexed_shape(x_shape: Shape, entries: tuple[Any, ...]) -> Shape:
    """The shape of x[entries]; NumPy judges whether the index fits."""
    try:
        return np.broadcast_to(False, x_shape)[entries].shape  # no memory behind it, so that looking is cheap
    except (IndexError, ValueError, TypeError) as error:
        raise ShapeError(
            "the index does not fit",
            called="index",
            seen=f"x {tuple(x_shape)}, index [{', '.join(map(_brief, entries))}]",
            rule=str(error),
        ) from None


def _brief(entry: Any) -> str:
    if is_array(entry):
        return f"{entry.dtype} array {entry.shape}"
    if isinstance(entry, slice):
        parts = (entry.start, entry.stop) if entry.step is None else (entry.start, entry.stop, entry.step)
        return ":".join("" if part is None else str(part) for part in parts)
    return "..." if entry is Ellipsis else repr(entry)


def _index_record(needs: tuple[bool, ...], x: Array, *, index: Any) -> tuple[Array, Saved]:
    kept = _entries(index) if needs[0] else None
    return index_forward(x, index=index), {"x_shape": x.shape, "options": {"index": kept}}


def _index_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    return (index_grad_input(dy, saved["x_shape"], **saved["options"]) if needs[0] else None,)


# ---- concatenate ----------------------------------------------------------------------------------------------------


def concatenate_forward(*arrays: Array, dim: int = 0) -> Array:
    """The arrays one after the other along `dim`; their other axes are equal."""
    if not arrays:
        raise ArgumentError("nothing to concatenate", called="concatenate", rule="at least one array")
    for k, x in enumerate(arrays):
        check_array(x, "concatenate", f"x{k}")
    axis = one_axis(dim, arrays[0].ndim, "concatenate")
    _check_alike(arrays, axis)
    shape = list(arrays[0].shape)
    shape[axis] = sum(x.shape[axis] for x in arrays)
    return CONCATENATE.run("forward", arrays, {"dim": axis}, tuple(shape))


def concatenate_grad_inputs(dy: Array, shapes: Sequence[Shape], *, dim: int = 0) -> tuple[Array, ...]:
    """For each array, whose shapes were `shapes`, its piece of dy."""
    called = "concatenate.grad_inputs"
    check_array(dy, called, "dy")
    axis = one_axis(dim, dy.ndim, called)
    y_shape = list(shapes[0])
    y_shape[axis] = sum(shape[axis] for shape in shapes)
    check_gradient(dy, y_shape, called)
    pieces = tuple(map(tuple, shapes))
    return CONCATENATE.run("grad_inputs", (dy,), {"shapes": pieces, "dim": axis}, *pieces)


def _check_alike(arrays: Sequence[Array], axis: int) -> None:
    if not arrays[0].ndim:
        raise ShapeError(
            "numbers without axes cannot be concatenated", called="concatenate", hint="reshape them to (1,)"
        )
    if len({x.dtype for x in arrays}) > 1:
        raise DTypeError(
            "the arrays have different dtypes",
            called="concatenate",
            seen=", ".join(str(x.dtype) for x in arrays),
            rule="one dtype for all arrays of a call (no silent casts)",
        )
    if len({(*x.shape[:axis], *x.shape[axis + 1 :]) for x in arrays}) > 1 or len({x.ndim for x in arrays}) > 1:
        raise ShapeError(
            "the arrays do not fit each other",
            called="concatenate",
            seen=", ".join(str(x.shape) for x in arrays),
            rule=f"equal shapes but for axis {axis}",
        )


def _concatenate_record(_: tuple[bool, ...], *arrays: Array, dim: int = 0) -> tuple[Array, Saved]:
    return concatenate_forward(*arrays, dim=dim), {"shapes": [x.shape for x in arrays], "options": {"dim": dim}}


def _concatenate_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    pieces = concatenate_grad_inputs(dy, saved["shapes"], **saved["options"])
    return tuple(piece if need else None for piece, need in zip(pieces, needs, strict=True))


# ---- all ------------------------------------------------------------------------------------------------------------


def check_array(x: Any, called: str, name: str = "x") -> None:
    """Raise unless x is an array, of whatever dtype."""
    if not is_array(x):
        raise DTypeError(f"{name} is not an array", called=called, seen=type(x).__name__, rule="arrays in, arrays out")


def _operation(name: str, formula: str, record: Any, backward: Any, grads: str = "grad_input") -> Operation:
    return Operation(
        name=name,
        formula=formula,
        inputs=("x",),
        record=record,
        backward=backward,
        passes=("forward", grads),
        algorithms=("formula",),
        cuda=("cuda",),
        package=__name__,
        prefix=f"{name}_",
    )


RESHAPE = _operation("reshape", r"y = \mathrm{reshape}(x)", *_keeping_shape(reshape_forward, reshape_grad_input))
FLATTEN = _operation("flatten", r"y = \mathrm{flatten}(x)", *_keeping_shape(flatten_forward, flatten_grad_input))
TRANSPOSE = _operation("transpose", r"y_{\pi(i)} = x_i", _transpose_record, _transpose_backward)
INDEX = _operation("index", r"y_i = x_{index(i)}", _index_record, _index_backward)
CONCATENATE = _operation(
    "concatenate", r"y = [x_0, x_1, \dots]", _concatenate_record, _concatenate_backward, grads="grad_inputs"
)
