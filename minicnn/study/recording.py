"""A run of a network, kept: every operation with its layer, its arrays, and the gradients that came back to it.

Explanations, pages and graphs read a recording; they never repeat the run. It costs the memory of all arrays between
the layers, twice with gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, observing
from minicnn.backends import random
from minicnn.backends.arrays import Array
from minicnn.errors import ArgumentError, GraphError
from minicnn.nn import CrossEntropyLoss
from minicnn.nn.module import Module
from minicnn.ops.registry import Operation, algorithm, named_algorithms


@dataclass(frozen=True, eq=False)
class Step:
    """One operation that ran.

    Attributes
    ----------
    number : int
        Its place in the order of the run.
    layer : str
        Dotted path of the innermost module that ran it, `"layer1.0.conv1"`; `""` for the network itself, and for what
        stands outside of it, `"loss"`.
    operation : Operation
        What was computed; `operation.formula` says how.
    inputs : tuple of Tensor or None
        In the order of `names`.
    options : dict
        Stride, padding, ...
    output : Tensor
    algorithms : dict
        Those that `minicnn.algorithm` named around the run.
    saved : dict
        The named arrays that the backward pass read; after `Recording.backward` they are still there.
    """

    number: int
    layer: str
    operation: Operation
    inputs: tuple[Tensor | None, ...]
    options: dict[str, Any]
    output: Tensor
    algorithms: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each input (`x`, `w`, `b`)."""
        if self.output.node is not None:
            return self.output.node.names
        known = tuple(self.operation.inputs)
        many = len(self.inputs)
        return known[:many] if many <= len(known) else tuple(f"{known[0]}{i}" for i in range(many))

    @property
    def saved(self) -> dict[str, Any]:
        """What the operation kept for its backward pass; empty where nothing was recorded."""
        node = self.output.node
        return {} if node is None or node.saved is None else node.saved

    @property
    def dy(self) -> Array | None:
        """The gradient of the loss with respect to the output, from all that used it; None before a backward pass."""
        return None if self.output.grad is None else self.output.grad.array

    def gradients(self) -> dict[str, Array]:
        """What this step alone sends back to each of its inputs, computed by the engine again: the same bits."""
        if self.dy is None or self.output.node is None:
            raise ArgumentError(
                "no gradient came to this step",
                called=f"explain {self.operation.name}",
                seen=f"layer {self.layer!r}",
                hint="record the run with labels, so that it has a loss; constants, and what it does not use, get none",
            )
        with algorithm(**self.algorithms):
            found = self.output.node.gradients(self.dy)
        return {name: dx for name, dx in zip(self.names, found, strict=True) if dx is not None}

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n} {t.shape}" for n, t in zip(self.names, self.inputs, strict=True) if t is not None)
        return f"<{self.number} {self.layer}: {self.operation.name}({inputs}) -> {self.output.shape}>"


@dataclass(eq=False)
class Recording:
    """A run of a network on images, and, with labels, its loss and all gradients.

    Attributes
    ----------
    model : Module
    images : Tensor
        (N, C, H, W); has a gradient too.
    output : Tensor
    loss : Tensor or None
    steps : list of Step
        In the order of the run; those of the loss last.
    gradients : dict
        Gradient of each parameter by its name; `parameter.grad` is not touched.
    """

    model: Module
    images: Tensor
    output: Tensor
    loss: Tensor | None
    steps: list[Step]
    gradients: dict[str, Array]

    def of_layer(self, path: str) -> list[Step]:
        """The steps that the module at this path ran itself, or, where it ran none, those of the modules below it."""
        own = [step for step in self.steps if step.layer == path]
        return own or [step for step in self.steps if step.layer.startswith(f"{path}.")]

    def maker(self, tensor: Tensor) -> Step | None:
        """The step whose output this is; None for images and parameters."""
        return next((step for step in self.steps if step.output is tensor), None)

    def users(self, tensor: Tensor) -> list[tuple[Step, str]]:
        """Each step that has this as an input, with the name of that input."""
        return [
            (step, name)
            for step in self.steps
            for name, value in zip(step.names, step.inputs, strict=True)
            if value is tensor
        ]

    def name_of(self, tensor: Tensor) -> str:
        """`"images"`, the name of a parameter, `"output of layer1.0.conv1"`, or `"constant"`.

        Of a layer that ran several operations: `"output of loss (mul, step 12)"`.
        """
        if tensor is self.images:
            return "images"
        found = next((name for name, parameter in self.model.named_parameters() if parameter is tensor), None)
        if found is not None:
            return found
        step = self.maker(tensor)
        if step is None:
            return "constant"
        several = sum(other.layer == step.layer for other in self.steps) > 1
        which = f" ({step.operation.name}, step {step.number})" if several and step.layer else ""
        return f"output of {step.layer or step.operation.name}{which}"


def record(
    model: Module,
    images: Any,
    labels: Any = None,
    loss_function: Callable[[Any, Any], Tensor] | None = None,
) -> Recording:
    """Run a network as it is (training or evaluation mode), keep every step, and with labels go back as well.

    Nothing else changes: running statistics, gradients, what is frozen and the random generator are as before (so two
    recordings draw the same dropout, that of the next run).

    Parameters
    ----------
    model : Module
    images : array or Tensor (N, C, H, W), float
    labels : array (N,) of integers, optional
        Without them there is no loss and no gradient.
    loss_function : callable, optional
        `loss_function(output, labels)`; default cross-entropy.
    """
    x = Tensor(images.array if isinstance(images, Tensor) else images, requires_grad=True)
    steps: list[Step] = []
    layers: list[str] = []
    named = dict(named_algorithms())

    def note(operation: Operation, inputs: Any, options: dict[str, Any], output: Tensor) -> None:
        steps.append(Step(len(steps), layers[-1], operation, tuple(inputs), dict(options), output, named))
        output.retain_grad()

    with _unchanged(model, loss_function), _following(model, layers), observing(note):
        output = model(x)
        if not any(step.output is tensor for step in steps for tensor in _tensors(output)):
            raise GraphError(
                "the run left no steps to look at",
                called=f"record {type(model).__name__}",
                rule="a network whose operations run on tensors, one by one",
                hint="a fused network keeps no arrays: give the network itself",
            )
        loss = None
        if labels is not None:
            layers.append("loss")
            wanted = isinstance(labels, Tensor) and labels.requires_grad
            target = Tensor(labels.array if isinstance(labels, Tensor) else np.asarray(labels), requires_grad=wanted)
            loss = (loss_function or CrossEntropyLoss())(output, target)
            layers.pop()
            loss.backward(retain_graph=True)
        gradients = {name: p.grad.array for name, p in model.named_parameters() if p.grad is not None}
    return Recording(model, x, output, loss, steps, gradients)


@contextmanager
def _unchanged(*parts: Any) -> Iterator[None]:
    """All parameters want a gradient in this block, also frozen ones; afterwards everything is as it was before.

    The parts are the network and a loss, which may have parameters too.
    """
    modules = [part for part in parts if isinstance(part, Module)]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    before = [(p.requires_grad, p.grad) for p in parameters]
    buffers = [(buffer, buffer.array.copy()) for module in modules for _, buffer in module.named_buffers()]
    drawn = random.generator().bit_generator.state
    for parameter in parameters:
        parameter.requires_grad, parameter.grad = True, None
    try:
        yield
    finally:
        for parameter, (wanted, grad) in zip(parameters, before, strict=True):
            parameter.requires_grad, parameter.grad = wanted, grad
        for buffer, array in buffers:
            buffer.array[...] = array
        random.generator().bit_generator.state = drawn


@contextmanager
def _following(model: Module, layers: list[str]) -> Iterator[None]:
    """Keep in `layers` the paths of the modules that are running, the innermost last."""
    with ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(partial(_enter, layers, path)))
            stack.callback(module.register_forward_hook(partial(_leave, layers)))
        yield


def _tensors(output: Any) -> list[Tensor]:
    """The tensors in what a network gives: one, or several in tuples."""
    if isinstance(output, (tuple, list)):
        return [tensor for part in output for tensor in _tensors(part)]
    return [output] if isinstance(output, Tensor) else []


def _enter(layers: list[str], path: str, *_: Any) -> None:
    layers.append(path)


def _leave(layers: list[str], *_: Any) -> None:
    layers.pop()
