"""What an operation's passes take: it is run once on the tape and watched; and the same pass in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import minicnn
from minicnn.autograd import Tensor
from minicnn.ops.registry import Operation, algorithm, operation, register_algorithm, unregister_algorithm
from minicnn.study.case import Arrays, Case, Request, draw

WATCHED = "watched"
WANTED = {  # the inputs of the call whose gradients a pass computes, the last of its results
    "grad_input": (0,),
    "grad_weight": (1,),
    "grad_bias": (2,),
    "grad_a": (0,),
    "grad_b": (1,),
    "grad_target": (1,),
    "grad_inputs": (0, 1),
    "grad_steps": (1,),
}
WANTED_OF = {("lstm", "grad_steps"): (1, 2), ("batch_norm_relu", "grad"): (0, 1, 2, 3)}

Given = tuple[np.ndarray | None, ...]
Watched = tuple[Given, dict[str, Any], tuple[Any, ...], np.ndarray | None]


def watch(r: Request, case: Case, arrays: Arrays) -> Watched:
    """Arrays and options that the pass takes, its results, and dy, from one run of the operation on the tape."""
    wanted = _wanted(r)
    tensors = [Tensor(a, requires_grad=i in wanted) for i, a in enumerate(arrays)]
    dy = None
    with _watched(operation(r.operation)) as seen:
        y = case.call(minicnn, r, *tensors)
        if wanted:
            (dy,) = draw(r.dtype, y.shape, seed=1)  # other numbers than x: gradients of sums of x^2 may vanish
            if r.operation == "lstm":
                dy[1] = 0  # nothing comes back to the cells but through h: PyTorch shows no others
            y.backward(dy)
    given, options, result = seen[r.pass_name]
    plain = tuple(np.asarray(a, order="C") if a is not None and a.dtype.kind == "f" else a for a in given)
    return plain, options, result if isinstance(result, tuple) else (result,), dy


@contextmanager
def _watched(op: Operation) -> Iterator[dict[str, tuple[Given, dict[str, Any], Any]]]:
    """What each pass of the operation takes and returns in this block, by the name of the pass."""
    seen: dict[str, tuple[Given, dict[str, Any], Any]] = {}

    def watching(pass_name: str) -> Callable[..., Any]:
        def run(*arrays: Any, **options: Any) -> Any:
            fits = op.choose(op.problem(pass_name, arrays, options))
            result = op.algorithm(fits).passes[pass_name](*arrays, **options)
            seen[pass_name] = arrays, options, result
            return result

        return run

    register_algorithm(op.name, WATCHED, **{pass_name: watching(pass_name) for pass_name in op.passes})
    try:
        with algorithm(**{op.name: WATCHED}):
            yield seen
    finally:
        unregister_algorithm(op.name, WATCHED)


def _wanted(r: Request) -> tuple[int, ...]:
    """The inputs of the call whose gradients the pass computes."""
    return WANTED_OF.get((r.operation, r.pass_name)) or WANTED.get(r.pass_name, ())


def in_torch(r: Request, case: Case, arrays: Arrays, dy: np.ndarray | None) -> Any:
    """The same pass in PyTorch; gradients of a forward pass that has been run before."""
    wanted, call = _wanted(r), case.torch or case.call

    def make(torch: Any, tensor: Callable[[np.ndarray], Any]) -> Callable[[], Any]:
        tensors = [tensor(a) for a in arrays]
        if dy is None:
            return lambda: call(torch, r, *tensors)
        inputs = [tensors[i].requires_grad_() for i in wanted]
        y = call(torch, r, *tensors)
        tdy = tensor(dy if dy.shape == tuple(y.shape) else dy[0])  # the states of an LSTM: h, of h and c
        return lambda: torch.autograd.grad(y, inputs, tdy, retain_graph=True)

    return make
