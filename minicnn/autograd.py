"""The tape: tensors that remember how they were made, and the walk back that adds up gradients.

Forward: `apply("conv2d", x, w, b)` runs an operation on arrays. If an input wants a gradient, the result carries a
`Node`: the operation, where its inputs came from, and the arrays that the operation saved. Nodes point back to the
nodes before them.

Backward: `loss.backward()` visits the nodes in reverse topological order. At each node the chain rule is one call,
`operation.backward(needs, saved, dy)`; a tensor that was used several times adds up what comes back.

This file knows no operation's mathematics: operations are looked up by name in `minicnn.ops.registry`. Operators
such as `a + b` stand in `minicnn/operators.py`.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minicnn.backends.arrays import FLOATS, Array, device, device_name, is_array, moved
from minicnn.errors import ArgumentError, DeviceError, DTypeError, GraphError, ShapeError
from minicnn.operators import Operators
from minicnn.ops import values
from minicnn.ops.axes import one_axis
from minicnn.ops.registry import Operation, operation

_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Nothing is recorded in this block, or in the function that it decorates; other threads go on recording."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded."""
    return _recording.get()


Observer = Callable[[Operation, Sequence["Tensor | None"], dict[str, Any], "Tensor"], Any]
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Call `observer(operation, inputs, options, output)` after each operation in this block."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


class Node:
    """One recorded operation.

    Attributes
    ----------
    operation : Operation
        What was computed; `operation.formula` says how.
    parents : tuple
        For each input: the `Node` that made it, the leaf `Tensor` that collects its gradient, or None.
    shapes : tuple
        Shape of each input.
    shape : tuple
        Shape of the output.
    saved : dict or None
        The named arrays that the backward pass needs; None once released.
    retained : weakref to a Tensor, or None
        The tensor that asked for its gradient by `retain_grad`.
    """

    __slots__ = ("needs", "operation", "parents", "retained", "saved", "shape", "shapes")

    def __init__(self, op: Operation, inputs: Sequence[Tensor | None], needs: tuple[bool, ...], saved: dict) -> None:
        self.operation = op
        self.needs = needs
        self.parents = tuple(
            (t.node or t) if t is not None and need else None for t, need in zip(inputs, needs, strict=True)
        )
        self.shapes = tuple(None if t is None else t.shape for t in inputs)
        self.saved: dict | None = saved
        self.shape: tuple[int, ...] = ()
        self.retained: weakref.ref[Tensor] | None = None  # weak: the tensor points here already

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each input; numbered where the operation takes any number of them (`x0`, `x1`, ...)."""
        known, many = tuple(self.operation.inputs), len(self.shapes)
        return known[:many] if many <= len(known) else tuple(f"{known[0]}{i}" for i in range(many))

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n} {s}" for n, s in zip(self.names, self.shapes, strict=True) if s is not None)
        return f"<{self.operation.name}: {inputs} -> {self.shape}>"

    def gradients(self, dy: Array) -> tuple[Array | None, ...]:
        """The chain rule at this node: the gradient of each input from the gradient of the output."""
        if self.saved is None:
            raise GraphError(
                "the saved arrays of this graph are already released",
                called=self.operation.name,
                rule="one backward pass a graph",
                hint="run the forward pass again, or keep them with backward(retain_graph=True)",
            )
        return self.operation.backward(self.needs, self.saved, dy)


class Tensor(Operators):
    """An array that can be differentiated.

    Parameters
    ----------
    array : array, Tensor, list or number
        Lists and Python floats become float32; arrays and NumPy's numbers keep their dtype; arrays are not copied.
    requires_grad : bool
        Whether `backward` collects a gradient here. Only floating point tensors can.
    """

    __slots__ = ("__weakref__", "array", "grad", "node", "requires_grad")
    __array_priority__ = 100  # so that `array * tensor` comes to Tensor.__rmul__

    def __init__(self, array: Any, requires_grad: bool = False) -> None:
        if isinstance(array, Tensor):
            array = array.array
        elif not is_array(array):
            typed = isinstance(array, np.generic)
            array = np.asarray(array)
            if array.dtype == np.float64 and not typed:  # from Python floats, which carry no dtype of their own
                array = array.astype(np.float32)
        if array.dtype.kind not in "fiub":
            raise DTypeError("not an array of numbers", called="Tensor", seen=str(array.dtype))
        if requires_grad and array.dtype not in FLOATS:
            raise DTypeError(
                "only floating point tensors have gradients", called="Tensor", seen=str(array.dtype), rule="float dtype"
            )
        self.array: Array = array
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.node: Node | None = None

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.node is None

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its length along `dim`."""
        if dim is not None and not self.ndim:
            raise ShapeError("a single number has no axes", called="size")
        return self.shape if dim is None else self.shape[one_axis(dim, self.ndim, "size")]

    def numel(self) -> int:
        return self.array.size

    @property
    def device(self) -> str:
        """Where the array lives: `"cpu"` or `"cuda"`."""
        return device(self.array)

    def to(self, where: str) -> Tensor:
        """The values on another device, `"cpu"` or `"cuda"`; the tensor itself if it is there already.

        A copy between devices is not recorded: move what a graph begins with, or `detach` first. (`Module.to` moves
        parameters in place.)
        """
        if device_name(where) == self.device:
            return self
        if self.requires_grad:
            raise GraphError(
                "a tensor that requires a gradient cannot change its device",
                called="Tensor.to",
                hint="use tensor.detach().to(...), or model.to(...) for parameters",
            )
        return Tensor(moved(self.array, where))

    def cuda(self) -> Tensor:
        """The values on the GPU."""
        return self.to("cuda")

    def cpu(self) -> Tensor:
        """The values on the CPU."""
        return self.to("cpu")

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array: on the CPU the array itself, not a copy."""
        if self.requires_grad:
            raise GraphError("a tensor that requires a gradient", called="numpy", hint="use tensor.detach().numpy()")
        if self.device != "cpu":
            raise DeviceError("a tensor on the GPU", called="numpy", hint="use tensor.cpu().numpy()")
        return self.array

    def item(self) -> Any:
        """The value of a tensor that has just one, as a Python number."""
        if self.numel() != 1:
            raise ShapeError("item() needs exactly one value", called="Tensor.item", seen=f"shape {self.shape}")
        return self.array.item()

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError("a single number has no length", called="len")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __repr__(self) -> str:
        host = np.asarray(moved(self.array, "cpu"))
        text = np.array2string(host, precision=4, separator=", ", threshold=200, prefix="tensor(")
        note = ", cuda" if self.device == "cuda" else ""
        note += f", node={self.node}" if self.node else ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({text}, {self.dtype}{note})"

    # ---- gradients --------------------------------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same array, outside the graph."""
        return Tensor(self.array)

    def retain_grad(self) -> Tensor:
        """Collect the gradient here too, although an operation made this tensor."""
        if self.node is not None:
            self.node.retained = weakref.ref(self)
        return self

    def add_grad(self, gradient: Array, own: bool = False) -> None:
        """grad += gradient; the array is copied unless it is this tensor's `own`: nobody else will see or change it."""
        if self.grad is not None:
            self.grad = Tensor(_plus(self.grad.array, gradient))
        else:
            self.grad = Tensor(gradient if own else values.copy(gradient))

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add d(self)/d(leaf) to `.grad` of every leaf that requires a gradient.

        Parameters
        ----------
        gradient : array or Tensor, optional
            The gradient with respect to this tensor; 1 for a single number.
        retain_graph : bool
            Keep the saved arrays for another backward pass.
        """
        if not self.requires_grad:
            raise GraphError(
                "nothing here requires a gradient",
                called="backward",
                hint="create inputs or parameters with requires_grad=True, outside no_grad",
            )
        dy = self._first_gradient(gradient)
        if self.node is None:
            self.add_grad(dy)
            return
        pending: dict[Node, Array] = {self.node: dy}
        for node in _reverse_topological(self.node):
            dy = pending.pop(node)
            retained = node.retained() if node.retained is not None else None
            if retained is not None:
                retained.add_grad(dy)
            gradients = node.gradients(dy)
            for parent, shape, dx in zip(node.parents, node.shapes, gradients, strict=True):
                if parent is None:
                    continue
                if dx is None or dx.shape != shape:
                    raise GraphError(
                        "a gradient does not have the shape of its input",
                        called=f"{node.operation.name}.backward",
                        seen=str(None if dx is None else dx.shape),
                        rule=str(shape),
                    )
                if isinstance(parent, Tensor):
                    own = sys.getrefcount(dx) <= _OWN_REFERENCES and values.owns_memory(dx)
                    parent.add_grad(dx, own)
                else:
                    pending[parent] = _plus(pending[parent], dx) if parent in pending else dx
            if not retain_graph:
                node.saved = None

    def _first_gradient(self, gradient: Any) -> Array:
        if gradient is None:
            if self.numel() != 1:
                raise ShapeError(
                    "backward() without a gradient needs a single number",
                    called="backward",
                    seen=f"shape {self.shape}",
                    hint="reduce to a loss first, or pass gradient=",
                )
            return values.ones_like(self.array)
        array = gradient.array if isinstance(gradient, Tensor) else gradient
        if not is_array(array):
            array = moved(np.asarray(array, self.dtype), self.device)
        elif device(array) != self.device:
            raise DeviceError(
                "the gradient is on another device", called="backward", seen=device(array), rule=self.device
            )
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ShapeError(
                "the gradient must look like the tensor",
                called="backward",
                seen=f"gradient {array.shape} {array.dtype}",
                rule=f"{self.shape} {self.dtype}",
            )
        return array


def _own_references() -> int:
    """How often Python counts a gradient that nobody but the loop in `backward` knows."""
    gradients, count = (np.zeros(1),), 0
    for _, _, dx in zip((None,), (None,), gradients, strict=True):
        count = sys.getrefcount(dx)
    return count


_OWN_REFERENCES = _own_references()


def apply(name: str, *inputs: Any, **options: Any) -> Tensor:
    """Run an operation on tensors and record it if an input wants a gradient.

    Parameters
    ----------
    name : str
        The operation, `"conv2d"`.
    inputs : Tensor, array, number or None
        Python numbers take the dtype of the first tensor.
    options
        Passed to the operation as they are.
    """
    op = operation(name)
    first = next((v for v in inputs if isinstance(v, Tensor)), None)
    absent = [None] * (len(op.inputs) - len(inputs)) if inputs else []  # a bias that is left out
    tensors = [_as_tensor(v, first) for v in [*inputs, *absent]]
    recording = _recording.get()
    needs = tuple(recording and t is not None and t.requires_grad for t in tensors)
    y, saved = op.record(needs, *(None if t is None else t.array for t in tensors), **options)
    result = Tensor(y)
    if any(needs):
        result.requires_grad = True
        result.node = Node(op, tensors, needs, saved)
        result.node.shape = result.shape
    observer = _observer.get()
    if observer is not None:
        observer(op, tensors, options, result)
    return result


def _as_tensor(value: Any, like: Tensor | None) -> Tensor | None:
    if value is None or isinstance(value, Tensor):
        return value
    if like is not None and isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return Tensor(values.number(value, like.array))
    if isinstance(value, (list, tuple)) or is_array(value):
        return Tensor(value)
    raise ArgumentError("not a tensor, array or number", called="apply", seen=type(value).__name__)


def _plus(a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):  # gradients that blow up show it by themselves
        return values.plus(a, b)


def _reverse_topological(root: Node) -> list[Node]:
    """All nodes that lead to `root`, each before the nodes it came from; with a stack, so that long chains fit.

    Depth-first search puts a node into `order` when all its parents are there already; reversed, that is the order in
    which gradients flow.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((p, False) for p in node.parents if isinstance(p, Node) and p not in seen)
    return order[::-1]
