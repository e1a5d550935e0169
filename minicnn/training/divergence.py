"""Where NaN or infinity began: in the images, in a parameter, in a gradient, in a layer, or in the loss.

It is looked for when a loss is not finite, in the order in which one thing makes the other: a gradient that overflows
makes parameters infinite at the end of its step, and these make the loss of the next step NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.backends.arrays import moved
from minicnn.nn import Module


def is_finite(tensor: Any) -> bool:
    """Whether a tensor or array holds neither NaN nor infinity."""
    array = tensor.array if isinstance(tensor, Tensor) else tensor
    return array.dtype.kind != "f" or bool(np.isfinite(moved(array, "cpu")).all())


def origin(model: Module, x: Tensor, forward: Callable[[Tensor], Tensor]) -> str:
    """In words, where NaN or infinity began in one batch.

    Parameters
    ----------
    model : Module
        As it was when the loss came out: its parameters still have the gradients of the step before.
    x : Tensor (N, ...)
        The batch.
    forward : callable
        From the batch to the scores, with the random numbers of that pass.
    """
    if not is_finite(x):
        wrong = [i for i in range(len(x)) if not is_finite(x.array[i])]
        return f"the images of the batch hold it, the first one is image {wrong[0]} of {len(x)}"
    if held := held_by_parameters(model):
        return held
    if statistics := [name for name, tensor in _used_statistics(model) if not is_finite(tensor)]:
        return f"{_list(statistics)}: a running statistic holds it"
    return _layer(model, x, forward)


def held_by_parameters(model: Module) -> str:
    """In words, which parameters hold NaN or infinity, and what made them so; empty if none does.

    Of gradients that do, the last layer's comes first: backward goes from there.
    """
    held = [name for name, tensor in model.named_parameters() if not is_finite(tensor)]
    if not held:
        return ""
    gradients = [name for name, p in model.named_parameters() if p.grad is not None and not is_finite(p.grad)]
    since = f"{_list(held)}: the parameter holds it since the step before"
    return f"{since}, by the gradient of {gradients[-1]}" if gradients else f"{since}, whose gradients were finite"


def _used_statistics(model: Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers of what is in evaluation mode; in training mode they are only written."""
    for path, module in model.named_modules():
        if not module.training:
            for name, tensor in module.__dict__["_buffers"].items():
                if tensor is not None:
                    yield f"{path}.{name}" if path else name, tensor


def _layer(model: Module, x: Tensor, forward: Callable[[Tensor], Tensor]) -> str:
    """The first module whose output is not finite, in a repeated pass; a layer ends before what it is a part of."""
    found: list[str] = []

    def watch(name: str) -> Callable[[Module, tuple[Any, ...], Any], None]:
        def look(module: Module, inputs: tuple[Any, ...], output: Any) -> None:
            tensors = output if isinstance(output, (tuple, list)) else (output,)
            if not found and not all(is_finite(t) for t in tensors if isinstance(t, Tensor)):
                clean = all(is_finite(t) for t in inputs if isinstance(t, Tensor))
                found.append(
                    f"{name or type(module).__name__}: the first layer whose output holds it"
                    + ("" if clean else ", and already its input, which no layer made")
                )

        return look

    removers = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with no_grad():
            forward(x)
    finally:
        for remove in removers:
            remove()
    return found[0] if found else "the loss itself: the scores are finite"


def _list(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
