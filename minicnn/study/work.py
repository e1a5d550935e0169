"""Work to measure: one pass of one operation on given shapes, with its arrays, its cost, its right answer, and PyTorch.

Each operation that `minicnn bench` knows has a function here that makes its `Work`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minicnn.ops  # noqa: F401 (registers all operations)
from minicnn.errors import ArgumentError
from minicnn.ops import conv2d
from minicnn.ops.pooling import check_windows
from minicnn.ops.registry import Operation, Problem, algorithm, operation
from minicnn.study.layers import Layer

Shape = tuple[int, ...]
MOST_VALUES = 2**28  # of one array: 1 GiB in float32
EXACT = 4e9  # floating point operations up to which the formula itself gives the right answer
EPS = 1e-5


@dataclass(frozen=True)
class Work:
    """One pass on given arrays.

    Attributes
    ----------
    operation, pass_name : str
    title : str
        For people: shapes and options.
    arrays : tuple
        What the pass takes.
    options : dict
    shapes : tuple of shapes
        Of the results.
    flops : float
        Operations of the direct formula: two for each multiply-add.
    torch : callable
        Takes the module `torch` and a function from arrays to tensors; returns what is called with no arguments.
    in_flops : bool
        Whether arithmetic limits this work, so that its rate is given in FLOP/s; else in bytes a second.
    """

    operation: str
    pass_name: str
    title: str
    arrays: tuple[np.ndarray | None, ...]
    options: dict[str, Any]
    shapes: tuple[Shape, ...]
    flops: float
    torch: Callable[[Any, Callable[[np.ndarray], Any]], Callable[[], Any]] = field(repr=False)
    in_flops: bool = True

    @property
    def op(self) -> Operation:
        """The operation in the registry."""
        return operation(self.operation)

    @property
    def dtype(self) -> np.dtype:
        """Of all its numbers."""
        return next(a.dtype for a in self.arrays if a is not None)

    @property
    def bytes(self) -> float:
        """Every array read once, the first result written once: what no algorithm can do without."""
        numbers = sum(a.size for a in self.arrays if a is not None) + math.prod(self.shapes[0])
        return float(numbers * self.dtype.itemsize)

    @property
    def intensity(self) -> float:
        """Floating point operations for each byte."""
        return self.flops / self.bytes

    def problem(self) -> Problem:
        """As the registry describes it."""
        return self.op.problem(self.pass_name, self.arrays, self.options)

    def run(self, name: str) -> Any:
        """The result of the algorithm of that name; the first where there are several."""
        with algorithm(**{self.operation: name}):
            result = self.op.run(self.pass_name, self.arrays, self.options, *self.shapes)
        return result[0] if isinstance(result, tuple) else result

    def of(self, change: Callable[[np.ndarray], np.ndarray]) -> Work:
        """The same work on changed arrays."""
        return dataclasses.replace(self, arrays=tuple(None if a is None else change(a) for a in self.arrays))

    def reference(self) -> np.ndarray:
        """The right answer, in float64: by the formula, or for large convolutions by `im2col`, which is as exact."""
        exact = self.of(lambda a: a.astype(np.float64))
        large = self.operation == "conv2d" and self.flops > EXACT
        return np.asarray(exact.run("im2col" if large else "formula"))


# ---- convolution -----------------------------------------------------------------------------------------------------


def convolution(
    shape: Shape = (8, 64, 56, 56),
    kernel: Shape = (64, 3, 3),
    stride: Any = 1,
    padding: Any = 1,
    pass_name: str = "forward",
    dtype: Any = np.float32,
) -> Work:
    """A convolution of x: `shape` (N, C, H, W) with w: `kernel` (K, R, S)."""
    need("conv2d", shape, kernel, 4, 3)
    w_shape = (kernel[0], shape[1], *kernel[1:])
    options, y_shape = conv2d.check_shapes(shape, w_shape, stride, padding, 1, 1)
    x, w, dy = draw(dtype, shape, w_shape, y_shape)
    w /= math.sqrt(math.prod(w_shape[1:]))
    flops = 2.0 * math.prod(y_shape) * math.prod(w_shape[1:])
    arrays: dict[str, tuple[np.ndarray | None, ...]] = {
        "forward": (x, w, None),
        "grad_input": (dy, w),
        "grad_weight": (dy, x),
    }
    more = {"forward": {}, "grad_input": {"x_shape": shape}, "grad_weight": {"w_shape": w_shape}}
    result = {"forward": y_shape, "grad_input": shape, "grad_weight": w_shape}
    check_pass("conv2d", pass_name, arrays)

    def in_torch(torch: Any, tensor: Callable[[np.ndarray], Any]) -> Callable[[], Any]:
        tx, tw, tdy = tensor(x), tensor(w), tensor(dy)
        if pass_name == "forward":
            functional = torch.nn.functional
            return lambda: functional.conv2d(tx, tw, None, options["stride"], options["padding"])
        mask = [pass_name == "grad_input", pass_name == "grad_weight", False]
        given = (None, options["stride"], options["padding"], (1, 1), False, (0, 0), 1, mask)
        return lambda: torch.ops.aten.convolution_backward(tdy, tx, tw, *given)[mask.index(True)]

    title = f"x {_by(shape)}, w {_by(w_shape)}, stride {_pair(options['stride'])}, padding {_pair(options['padding'])}"
    everything = {**more[pass_name], **options}
    return Work("conv2d", pass_name, title, arrays[pass_name], everything, (result[pass_name],), flops, in_torch)


def layer_work(layer: Layer, batch: int, pass_name: str = "forward", dtype: Any = np.float32) -> Work:
    """The convolution of a layer of a network."""
    return convolution((batch, *layer.image), layer.kernel, layer.stride, layer.padding, pass_name, dtype)


# ---- other operations ------------------------------------------------------------------------------------------------


def linear(shape: Shape = (256, 512), kernel: Shape = (1000,), pass_name: str = "forward", dtype: Any = None) -> Work:
    """y = x @ w^T + b of x: `shape` (N, I) with `kernel` (J,) outputs."""
    need("linear", shape, kernel, 2, 1)
    (n, inputs), (outputs,) = shape, kernel
    x, w, b, dy = draw(dtype, shape, (outputs, inputs), (outputs,), (n, outputs))
    passes: dict[str, Any] = {
        "forward": ((x, w, b), (n, outputs), lambda t, x, w, b: t.nn.functional.linear(x, w, b)),
        "grad_input": ((dy, w), shape, lambda t, dy, w: dy @ w),
        "grad_weight": ((dy, x), (outputs, inputs), lambda t, dy, x: dy.T @ x),
    }
    check_pass("linear", pass_name, passes)
    arrays, result, function = passes[pass_name]
    title, flops = f"x {_by(shape)}, w {_by((outputs, inputs))}", 2.0 * n * inputs * outputs
    return Work("linear", pass_name, title, arrays, {}, (result,), flops, _torch(function, *arrays))


def max_pool2d(
    shape: Shape = (8, 64, 112, 112),
    kernel: Shape = (3, 3),
    stride: Any = 2,
    padding: Any = 1,
    pass_name: str = "forward",
    dtype: Any = None,
) -> Work:
    """The largest value of each window of `kernel` (R, S)."""
    need("max_pool2d", shape, kernel, 4, 2)
    check_pass("max_pool2d", pass_name, ["forward"])
    (x,) = draw(dtype, shape)
    options, y_shape = check_windows(shape, (kernel[0], kernel[1]), stride, padding, 1, False, "max_pool2d")
    function = _torch(
        lambda t, x: t.nn.functional.max_pool2d(x, kernel, options["stride"], options["padding"], return_indices=True)[
            0
        ],
        x,
    )
    flops = float(math.prod(y_shape) * math.prod(kernel))
    title = f"x {_by(shape)}, window {_by(kernel)}, stride {_pair(options['stride'])}"
    return Work("max_pool2d", pass_name, title, (x,), options, (y_shape, y_shape), flops, function, in_flops=False)


def batch_norm(shape: Shape = (8, 64, 56, 56), pass_name: str = "forward", dtype: Any = None) -> Work:
    """Normalisation by given statistics."""
    need("batch_norm", shape, (), 4, 0)
    check_pass("batch_norm", pass_name, ["forward"])
    x, weight, bias, mean, var = draw(dtype, shape, *[shape[1:2]] * 4)
    arrays = (x, weight, bias, mean, np.abs(var) + 0.5)
    options = {"eps": EPS, "training": False}
    function = _torch(
        lambda t, x, w, b, m, v: t.nn.functional.batch_norm(x, m, v, w, b, False, 0.0, EPS),
        *arrays,
    )
    title = f"x {_by(shape)}"
    return Work("batch_norm", pass_name, title, arrays, options, (shape,), 2.0 * x.size, function, in_flops=False)


def relu(shape: Shape = (8, 64, 56, 56), pass_name: str = "forward", dtype: Any = None) -> Work:
    """max(x, 0)."""
    need("relu", shape, (), None, 0)
    check_pass("relu", pass_name, ["forward"])
    (x,) = draw(dtype, shape)
    function = _torch(lambda t, x: t.relu(x), x)
    return Work("relu", pass_name, f"x {_by(shape)}", (x,), {}, (shape,), float(x.size), function, in_flops=False)


def add(shape: Shape = (8, 64, 56, 56), pass_name: str = "forward", dtype: Any = None) -> Work:
    """a + b."""
    need("add", shape, (), None, 0)
    check_pass("add", pass_name, ["forward"])
    a, b = draw(dtype, shape, shape)
    function = _torch(lambda t, a, b: t.add(a, b), a, b)
    return Work("add", pass_name, f"a, b {_by(shape)}", (a, b), {}, (shape,), float(a.size), function, in_flops=False)


WORKS: dict[str, Callable[..., Work]] = {
    "conv2d": convolution,
    "linear": linear,
    "max_pool2d": max_pool2d,
    "batch_norm": batch_norm,
    "relu": relu,
    "add": add,
}


# ---- what they share -------------------------------------------------------------------------------------------------


def draw(dtype: Any, *shapes: Shape) -> list[np.ndarray]:
    """Arrays of normally distributed numbers, the same at each call."""
    rng = np.random.Generator(np.random.PCG64(0))
    return [rng.standard_normal(shape, dtype=np.float32).astype(dtype or np.float32) for shape in shapes]


def need(name: str, shape: Shape, kernel: Shape, axes: int | None, kernel_axes: int) -> None:
    """Raise unless shapes have that many axes, none empty, and are not too large."""
    for what, found, wanted in (("shape", shape, axes), ("kernel", kernel, kernel_axes)):
        if (wanted is not None and len(found) != wanted) or 0 in found:
            rule = f"{wanted} sizes, {FORMS[wanted]}" if wanted is not None else "sizes of 1 or more"
            raise ArgumentError(f"{what} does not fit {name}", called="bench", seen=_by(found), rule=rule)
    if math.prod(shape) > MOST_VALUES or math.prod(kernel) * (shape[1] if len(shape) > 1 else 1) > MOST_VALUES:
        seen = " and ".join(_by(found) for found in (shape, kernel) if found)
        raise ArgumentError("too large to measure", called="bench", seen=seen, rule=f"at most {MOST_VALUES:,} values")


FORMS = {0: "none", 1: "J", 2: "NxI, or RxS for a window", 3: "KxRxS", 4: "NxCxHxW"}


def check_pass(name: str, pass_name: str, known: Any) -> None:
    """Raise unless the pass is one that is measured."""
    if pass_name not in known:
        raise ArgumentError(
            "unknown pass", called=f"bench {name}", seen=f"--pass {pass_name}", rule=f"one of {', '.join(known)}"
        )


def _torch(function: Callable[..., Any], *arrays: np.ndarray) -> Callable[[Any, Callable], Callable[[], Any]]:
    def make(torch: Any, tensor: Callable[[np.ndarray], Any]) -> Callable[[], Any]:
        tensors = [tensor(a) for a in arrays]
        return lambda: function(torch, *tensors)

    return make


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else _by(pair)
