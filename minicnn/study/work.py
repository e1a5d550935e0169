"""Work to measure: one pass of one operation on given shapes, with its arrays, its cost, its right answer, and PyTorch.

`cases.py` says how each operation is called. What its passes are then given, masks, winners and saved results included,
is what the tape gives them: one forward pass, and where a gradient is asked for one backward pass, are watched.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError
from minicnn.ops.registry import Operation, Problem, algorithm, operation
from minicnn.study.case import Case, Request, Shape, draw
from minicnn.study.cases import CASES
from minicnn.study.layers import Layer
from minicnn.study.timing import relative_error
from minicnn.study.watched import Given, in_torch, watch

MOST_VALUES = 2**28  # of one array: 1 GiB in float32
EXACT = 1e9  # floating point operations up to which the formula itself gives the right answer
LARGE = 5e8  # operations of work of which nobody knows how long it takes
WORDS = {"RxS": "window", "PxQ": "output"}  # what a kernel without weights is called


@dataclass(frozen=True)
class Work:
    """One pass on given arrays.

    Attributes
    ----------
    request : Request
        What was asked for.
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
    view : bool
        Whether the result shares its memory with what the pass takes: then no number moves.
    """

    request: Request
    title: str
    arrays: Given
    options: dict[str, Any]
    shapes: tuple[Shape, ...]
    flops: float
    torch: Callable[[Any, Callable[[np.ndarray], Any]], Callable[[], Any]] = field(repr=False)
    in_flops: bool = True
    view: bool = False

    @property
    def operation(self) -> str:
        """Its name."""
        return self.request.operation

    @property
    def pass_name(self) -> str:
        """`forward`, `grad_input`, ..."""
        return self.request.pass_name

    @property
    def op(self) -> Operation:
        """The operation in the registry."""
        return operation(self.operation)

    @property
    def dtype(self) -> np.dtype:
        """Of all its numbers, but labels, places and masks."""
        return np.dtype(self.request.dtype)

    @property
    def bytes(self) -> float:
        """Every array read once, the result written once: what no algorithm can do without; 0 for a view.

        What a forward pass keeps for the way back is not counted.
        """
        if self.view:
            return 0.0
        results = self.shapes[:1] if self.pass_name == "forward" else self.shapes
        written = sum(math.prod(shape) for shape in results) * self.dtype.itemsize
        return float(sum(a.nbytes for a in self.arrays if a is not None) + written)

    @property
    def intensity(self) -> float:
        """Floating point operations for each byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    def problem(self) -> Problem:
        """As the registry describes it."""
        return self.op.problem(self.pass_name, self.arrays, self.options)

    def run(self, name: str) -> Any:
        """The result of the algorithm of that name; a tuple where there are several."""
        with algorithm(**{self.operation: name}), np.errstate(all="ignore"):
            return self.op.run(self.pass_name, self.arrays, self.options, *self.shapes)

    def of(self, change: Callable[[np.ndarray], np.ndarray]) -> Work:
        """The same work on changed arrays; those of whole numbers and of truths stay."""
        arrays = tuple(a if a is None or a.dtype.kind != "f" else change(a) for a in self.arrays)
        return dataclasses.replace(self, arrays=arrays)

    def estimate(self, name: str) -> float:
        """Seconds that an algorithm may take, from one image of the batch (one row); 0 where none can take long."""
        r = self.request
        if not self.in_flops or self.flops < LARGE or r.shape[0] == 1:
            return 0.0
        shape = (1, *r.shape[1:])
        one = work_of(r.operation, shape, r.kernel or None, r.stride, r.padding, r.pass_name, r.dtype)
        if self.op.supporting(one.problem())[name]:
            return 0.0
        seconds = []
        for _ in range(2):  # the first may compile
            start = time.perf_counter()
            one.run(name)
            seconds.append(time.perf_counter() - start)
        return min(seconds) * self.flops / one.flops

    def reference(self) -> tuple[np.ndarray, ...]:
        """The right results, in float64: by the formula, or for large convolutions by `im2col`, which is as exact."""
        exact = self.of(lambda a: a.astype(np.float64))
        large = self.operation == "conv2d" and self.flops > EXACT and self.in_flops
        return tuple(np.asarray(y) for y in several(exact.run("im2col" if large else "formula")))

    def error(self, result: Any, reference: tuple[np.ndarray, ...], peer: bool = False) -> float:
        """The largest error of all results, each relative to the largest value of its reference.

        A peer returns some of them: y of a forward pass, the gradients of inputs, which come last, of another one.
        """
        found = several(result)
        if not peer and len(found) != len(reference):
            return math.inf
        right = reference[-len(found) :] if self.pass_name.startswith("grad") else reference[: len(found)]
        return max(_error(a, _shown(b, np.shape(a)) if peer else b) for a, b in zip(found, right, strict=True))


def _error(found: Any, right: np.ndarray) -> float:
    """`relative_error`; places are right or wrong."""
    if right.dtype.kind in "iu":
        return 0.0 if np.array_equal(found, right) else math.inf
    return relative_error(found, right)


def several(result: Any) -> tuple[Any, ...]:
    """Results as a tuple."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _shown(a: np.ndarray, shape: Shape) -> np.ndarray:
    """An LSTM's states hold h and c of each step; PyTorch shows h."""
    return a[0] if a.shape == (2, *shape) else a


def passes(name: str) -> Iterator[str]:
    """Names of the passes of an operation, forward first."""
    yield from sorted(operation(name).passes, key=lambda pass_name: pass_name != "forward")


def work_of(
    name: str,
    shape: Shape | None = None,
    kernel: Shape | None = None,
    stride: Any = None,
    padding: Any = None,
    pass_name: str = "forward",
    dtype: Any = np.float32,
) -> Work:
    """A pass of an operation on normally distributed numbers, the same at each call.

    Parameters
    ----------
    name : str
        Any operation of `minicnn.algorithms()`.
    shape, kernel : tuple of int, optional
        Of the input and of what works on it, in the form that `CASES[name]` says; usual ones if not given.
    stride, padding : int or pair, optional
    pass_name : str
    dtype : float32 or float64

    Raises
    ------
    ArgumentError, ShapeError
        For names, forms and sizes that do not fit, before any array is made.
    """
    request, case = _request(name, shape, kernel, stride, padding, pass_name, dtype)
    arrays = case.change(request, draw(dtype, *case.inputs(request)))
    given, options, results, dy = watch(request, case, arrays)
    in_flops = case.in_flops and pass_name != "grad_bias"  # a sum
    return Work(
        request,
        _title(request, case, arrays),
        given,
        options,
        tuple(y.shape for y in results),
        case.flops(request) if in_flops or not case.in_flops else float(math.prod(case.result(request))),
        in_torch(request, case, arrays, dy),
        in_flops,
        any(np.may_share_memory(results[0], a) for a in given if a is not None),
    )


def layer_work(layer: Layer, batch: int, pass_name: str = "forward", dtype: Any = np.float32) -> Work:
    """The convolution of a layer of a network."""
    return work_of("conv2d", (batch, *layer.image), layer.kernel, layer.stride, layer.padding, pass_name, dtype)


# ---- what is asked for -----------------------------------------------------------------------------------------------


def _request(
    name: str, shape: Shape | None, kernel: Shape | None, stride: Any, padding: Any, pass_name: str, dtype: Any
) -> tuple[Request, Case]:
    """What is asked for, with usual values for all that is not given; raises for what does not fit the operation."""
    if name not in CASES:
        raise ArgumentError("not measured", called="bench", seen=repr(name), rule=f"one of {', '.join(sorted(CASES))}")
    case, known = CASES[name], list(passes(name))
    if pass_name not in known:
        seen, rule = f"--pass {pass_name}", f"one of {', '.join(known)}"
        raise ArgumentError("unknown pass", called=f"bench {name}", seen=seen, rule=rule)
    has = {"kernel": bool(case.kernel), "stride": case.stride is not None, "padding": case.stride is not None}
    for what, value in (("kernel", kernel), ("stride", stride), ("padding", padding)):
        if value is not None and not has[what]:
            raise ArgumentError(f"{name} has no {what}", called="bench", hint=f"leave out --{what}")
    shape, kernel = tuple(shape or case.shape), tuple(kernel or case.kernel)
    _check_form("shape", name, shape, case.form)
    _check_form("kernel", name, kernel, case.kernel_form)
    stride, padding = (case.stride if stride is None else stride), (case.padding if padding is None else padding)
    request = Request(name, pass_name, np.dtype(dtype), shape, kernel, stride, padding)
    if max(math.prod(some) for some in (*case.inputs(request), case.result(request))) > MOST_VALUES:
        seen = " and ".join(by(some) for some in (shape, kernel) if some)
        raise ArgumentError("too large to measure", called="bench", seen=seen, rule=f"at most {MOST_VALUES:,} values")
    return request, case


def _check_form(what: str, name: str, sizes: Shape, form: str) -> None:
    """Raise unless there are as many sizes as the form has letters, none of them 0."""
    wanted = form.count("x") + 1
    if (form and len(sizes) != wanted) or 0 in sizes:
        rule = f"{wanted} size{'s' * (wanted > 1)} of 1 or more, {form}" if form else "sizes of 1 or more"
        raise ArgumentError(f"{what} does not fit {name}", called="bench", seen=by(sizes), rule=rule)


def _title(r: Request, case: Case, arrays: list[np.ndarray]) -> str:
    """Shapes and options, for people."""
    names = case.names or operation(r.operation).inputs
    parts = [f"{name} {by(a.shape)}" for name, a in zip(names, arrays, strict=False)]
    if case.kernel_form in WORDS:
        parts.append(f"{WORDS[case.kernel_form]} {by(r.kernel)}")
    if case.stride is not None:
        parts += [f"stride {_pair(r.stride)}", f"padding {_pair(r.padding)}"]
    parts += [case.words] if case.words else []
    return ", ".join(parts)


def by(shape: Shape) -> str:
    """`8x64x56x56`."""
    return "x".join(map(str, shape))


def _pair(value: Any) -> str:
    pair = value if isinstance(value, tuple) else (value, value)
    return str(pair[0]) if pair[0] == pair[1] else by(pair)
