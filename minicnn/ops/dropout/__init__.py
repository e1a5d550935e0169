r"""Dropout: in training, set elements to zero at random, and enlarge the rest so that the mean stays.

Formula, with m = 1 where an element is kept (probability 1 - p) and m = 0 where it is dropped::

    y = x m / (1 - p)            and y = 0 x where p = 1

Shapes: x, mask, y, dy of any one shape; mask is boolean.

The passes, from `dy = dL/dy`::

    dx = dy m / (1 - p)

Both passes are pure: the mask is an argument. `draw_mask_for` draws one; `nn.functional.dropout` decides when, and from
which generator. A dropped NaN or infinity gives NaN (NaN * 0), as in PyTorch: a network that has blown up shows it.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| loops   | one compiled loop in the order of memory, on all threads | all | float32 and float64, preferred |
| formula | NumPy: the yardstick | all | any float dtype |
| cuda    | one thread a number; masks by a counter-based generator | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, check_arrays, device, is_array
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.ops.axes import check_gradient
from minicnn.ops.registry import Operation


def draw_mask(shape: tuple[int, ...], p: float, generator: np.random.Generator) -> np.ndarray:
    """A boolean array that is True (keep) with probability 1 - p.

    Parameters
    ----------
    shape : tuple of int
    p : float
        Probability of dropping an element, 0 <= p <= 1.
    generator : numpy.random.Generator
        Draws one number an element, whatever p is.
    """
    _check_probability(p)
    return generator.random(shape) >= p


def draw_mask_for(x: Array, p: float, generator: np.random.Generator) -> Array:
    """A mask for x, on its device: for the GPU drawn there, by a generator of its own whose key comes from this one.

    Masks of the CPU and of the GPU differ. The same generator in the same state gives the same bits on one of them.
    """
    if device(x) == "cpu":
        return draw_mask(x.shape, p, generator)
    from minicnn.ops.dropout import cuda

    return cuda.draw_mask(x.shape, _check_probability(p), generator)


def forward(x: Array, mask: Array, *, p: float) -> Array:
    """y = x mask / (1 - p).

    Parameters
    ----------
    x : array of any shape, float
    mask : boolean array of the same shape
        True where an element is kept.
    p : float
        The probability of dropping with which the mask was drawn.

    Returns
    -------
    array of the same shape
    """
    check_arrays("dropout", x=x)
    _check_mask(mask, x.shape, "dropout")
    return OPERATION.run("forward", (x, mask), {"p": _check_probability(p)}, x.shape)


def grad_input(dy: Array, mask: Array, *, p: float) -> Array:
    """dx = dy mask / (1 - p), the gradient with respect to x."""
    check_arrays("dropout.grad_input", dy=dy)
    _check_mask(mask, None, "dropout.grad_input")
    check_gradient(dy, mask.shape, "dropout.grad_input")
    return OPERATION.run("grad_input", (dy, mask), {"p": _check_probability(p)}, mask.shape)


def scale(p: float) -> float:
    """1 / (1 - p), the factor of the elements that stay; 0 where none can."""
    return 1 / (1 - p) if p < 1 else 0.0


def _check_probability(p: Any) -> float:
    if isinstance(p, bool) or not isinstance(p, (int, float, np.floating)) or not 0 <= p <= 1:
        raise ArgumentError("p is not a probability", called="dropout", seen=f"p={p!r}", rule="0 <= p <= 1")
    return float(p)


def _check_mask(mask: Any, shape: tuple[int, ...] | None, called: str) -> None:
    if not is_array(mask) or mask.dtype != np.bool_:
        seen = str(mask.dtype) if is_array(mask) else type(mask).__name__
        raise DTypeError("mask is not a boolean array", called=called, seen=seen, hint="draw one with draw_mask")
    if shape is not None and mask.shape != shape:
        raise ShapeError("mask does not have the shape of x", called=called, seen=f"mask {mask.shape}, x {shape}")


def record(needs: tuple[bool, ...], x: Array, *, mask: Array, p: float) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: the mask is saved for dx; x itself is not needed again."""
    return forward(x, mask, p=p), {"mask": mask if needs[0] else None, "options": {"p": p}}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradient of (x,) for the tape."""
    return (grad_input(dy, saved["mask"], **saved["options"]) if needs[0] else None,)


OPERATION = Operation(
    name="dropout",
    formula=r"y = \frac{m}{1 - p}\, x, \quad m \in \{0, 1\}",
    inputs=("x",),
    record=record,
    backward=backward,
    passes=("forward", "grad_input"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
