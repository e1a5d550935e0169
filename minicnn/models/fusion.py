"""Inference with fewer passes over memory: `minicnn.fuse(model)`.

A trained network's batch normalisation is a multiplication and an addition for each channel, with numbers that do not
change any more. They go into the convolution before it (Jacob et al. 2018, section 3.2)::

    bn(x * w) = x * (w s) + (bias - mean s)        s = weight / sqrt(var + eps)

and what is left of a residual block, `relu(conv(x) + b + residual)`, is done by the convolution's kernel before its
result leaves the registers.

How it works: the network runs once on images of a shape, while each operation is noted (`autograd.observing`). In that
list, chains conv2d -> batch_norm -> add -> relu become one step with packed weights (`ops/conv2d/prepared.py`); all
other operations stay as they are. The result is for inference: it has no parameters, and records no gradients. It is a
picture of the network at that time: after further training, fuse again. A network whose steps depend on the values in
the images (not only on their shape) cannot be fused. `plan.py` runs the steps.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads as thread_count

from minicnn.autograd import Tensor, no_grad, observing
from minicnn.backends.arrays import Array, device
from minicnn.errors import ArgumentError
from minicnn.models.plan import Plan, Step
from minicnn.nn import Module
from minicnn.ops.conv2d import check_shapes
from minicnn.ops.registry import Operation, Problem, named_algorithms

PLANS = 4  # of the shapes that were used last; each has its own packed weights and buffers
VECTORS = {"adaptive_avg_pool2d", "add", "max_pool2d", "relu"}  # their algorithm `vector` is work of kernels alone
DEFAULTS: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


class Fused(Module):
    """A network for inference; see the head of this file.

    Parameters
    ----------
    model : Module
        In evaluation mode or not: it is traced in evaluation mode, and left as it was.
    """

    def __init__(self, model: Module) -> None:
        super().__init__()
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        self._source = [model]  # in a list: not a child, whose parameters would count as this module's
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to what the network gives."""
        if not isinstance(x, Tensor):
            x = Tensor(x)
        if device(x.array) != "cpu":
            raise ArgumentError("fused networks run on the CPU", called="Fused", seen=device(x.array))
        return Tensor(self._plan(x)(x.array))

    def _plan(self, x: Tensor) -> Plan:
        key = (x.shape, x.dtype, named_algorithms(), thread_count())
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(make_steps(self._source[0], x), x.array)
            while len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return plan

    def steps(self, x: Tensor) -> list[str]:
        """What is done to images like x, a line a step."""
        return [f"{step.label} -> {step.shape}" for step in self._plan(x).steps]


def fuse(model: Module) -> Fused:
    """A faster network for inference that gives the same results up to rounding.

    Parameters
    ----------
    model : Module

    Returns
    -------
    Fused
        Callable like the model. It packs its weights when it sees a new shape of images.

    Examples
    --------
    >>> import minicnn
    >>> model = minicnn.models.resnet18(num_classes=10, width=16, stem="small")
    >>> fast = minicnn.fuse(model)
    >>> fast(minicnn.randn(2, 3, 32, 32)).shape
    (2, 10)
    """
    if not isinstance(model, Module):
        raise ArgumentError("not a network", called="fuse", seen=type(model).__name__, rule="an nn.Module")
    return model if isinstance(model, Fused) else Fused(model)


def make_steps(model: Module, x: Tensor) -> list[Step]:
    """Run the model once on x, and make its operations into steps."""
    steps, output = trace(model, x)
    finder = Finder(steps, output)
    done: set[int] = set()
    plan: list[Step] = []
    for step in reversed(steps):  # a chain is found from its end
        if step.output in done or not finder.uses[step.output]:
            continue
        chain = finder.chain(step)
        if chain is not None and prepare(step, chain):
            done.update(link.output for link in chain.links)
        else:
            step.used = [i for i in step.inputs if isinstance(i, int)]
            step.label, step.run = step.operation.name, plain(step)
            step.kernels_only = is_vector(step, x.dtype)
            if step.kernels_only and step.operation.name == "max_pool2d":
                step.run = pool(step)
        plan.append(step)
    plan.reverse()
    needed = {output}
    for step in reversed(plan):
        step.last = [i for i in dict.fromkeys(step.used) if i not in needed]
        needed.update(step.used)
    return plan


def trace(model: Module, x: Tensor) -> tuple[list[Step], int]:
    """The operations of one run in evaluation mode, and the number of the value that comes out."""
    start = Tensor(x.array)
    numbers = {id(start): 0}
    kept: list[Tensor] = [start]  # so that no id is used twice
    steps: list[Step] = []

    def note(operation: Operation, inputs: Sequence[Tensor | None], options: dict[str, Any], output: Tensor) -> None:
        named = [None if t is None else numbers.get(id(t), t.array) for t in inputs]
        numbers[id(output)] = len(kept)
        shapes = [() if t is None else t.shape for t in inputs]
        steps.append(Step(operation, named, dict(options), len(kept), output.shape, shapes))
        kept.append(output)

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad(), observing(note):
            result = model(start)
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(result, Tensor) or id(result) not in numbers or not steps:
        raise ArgumentError(
            "the network's result does not come from its operations",
            called="fuse",
            seen=type(result).__name__,
            rule="one tensor, computed from the images",
        )
    return steps, numbers[id(result)]


@dataclass
class Chain:
    """A convolution and what follows it, the last operation first."""

    links: list[Step]
    residual: int | None = None
    relu: bool = False


class Finder:
    """Finds chains conv2d [-> batch_norm] [-> + residual] [-> relu] whose inner values are used nowhere else."""

    def __init__(self, steps: list[Step], output: int) -> None:
        self.uses = Counter(i for step in steps for i in step.inputs if isinstance(i, int))
        self.uses[output] += 1
        self.maker = {step.output: step for step in steps}

    def before(self, step: Step) -> Step | None:
        """The step that made the first input, if nobody else uses that."""
        number = step.inputs[0]
        return self.maker.get(number) if isinstance(number, int) and self.uses[number] == 1 else None

    def chain(self, end: Step) -> Chain | None:
        """The chain that ends in this step."""
        chain, step = Chain([]), end
        if end.operation.name == "relu":
            chain.links, chain.relu = [end], True
            found = self.before(end)
            if found is None:
                return None
            step = found
        if step.operation.name == "batch_norm_relu" and not chain.relu:
            rest, chain.relu = step.inputs[3], True
            chain.residual = rest if isinstance(rest, int) else None
            if rest is not None and chain.residual is None:
                return None
            links = self.convolution(step, "batch_norm_relu")
        elif step.operation.name == "add":
            chain.links.append(step)
            links = self.branch(step, chain)
        else:
            links = self.convolution(step, "batch_norm")
        chain.links += links
        return chain if links else None

    def branch(self, add: Step, chain: Chain) -> list[Step]:
        """The convolution that makes one summand; the other one, of the same shape, is the residual."""
        numbers = [i for i in add.inputs if isinstance(i, int)]
        if len(numbers) != 2 or numbers[0] == numbers[1] or add.shapes != [add.shape, add.shape]:
            return []
        for inner, other in (numbers, numbers[::-1]):
            if self.uses[inner] == 1 and inner in self.maker:
                links = self.convolution(self.maker[inner], "batch_norm")
                if links:
                    chain.residual = other
                    return links
        return []

    def convolution(self, step: Step, norm: str) -> list[Step]:
        """[conv2d] or [norm, conv2d] that ends in this step, else nothing."""
        if step.operation.name == "conv2d":
            return [step]
        if step.operation.name == norm and not step.options["training"]:
            before = self.before(step)
            if before is not None and before.operation.name == "conv2d":
                return [step, before]
        return []


def prepare(step: Step, chain: Chain) -> bool:
    """Make `step` run the whole chain; False if no algorithm with packed weights supports it."""
    from minicnn.ops.conv2d.prepared import Prepared

    convolution = chain.links[-1]
    x, w, b = convolution.inputs
    if not isinstance(x, int) or w is None or isinstance(w, int) or isinstance(b, int):
        return False
    norm = next((link for link in chain.links if link.operation.name.startswith("batch_norm")), None)
    options, _ = check_shapes(convolution.shapes[0], w.shape, **{**DEFAULTS, **convolution.options})
    kernel = Prepared(*folded(w, b, norm), options, convolution.shapes[0])
    if not kernel.algorithm:
        return False
    relu, step.kernels_only = chain.relu, True
    if chain.residual is None:
        step.used, step.run = [x], lambda images: kernel(images, None, relu)
    else:
        step.used, step.run = [x, chain.residual], lambda images, residual: kernel(images, residual, relu)
    step.label = " + ".join(link.operation.name for link in reversed(chain.links)) + f" ({kernel.algorithm})"
    return True


def folded(w: Array, b: Array | None, norm: Step | None) -> tuple[Array, Array]:
    """Weights and bias of a convolution with the batch normalisation that follows it."""
    bias = np.zeros(len(w), w.dtype) if b is None else b
    if norm is None:
        return w.copy(), bias.copy()
    weight, shift = (None if v is None else np.float64(v) for v in norm.inputs[1:3])
    scale = 1 / np.sqrt(np.float64(norm.options["var"]) + norm.options.get("eps", 1e-5))
    scale = scale if weight is None else scale * weight
    bias = (bias - norm.options["mean"]) * scale
    bias = bias if shift is None else bias + shift
    return (w * scale[:, None, None, None]).astype(w.dtype), bias.astype(w.dtype)


def is_vector(step: Step, dtype: Any) -> bool:
    """Whether the operation's algorithm is one that only calls kernels, on images."""
    operation = step.operation
    if operation.name not in VECTORS or not all(isinstance(i, int) for i in step.inputs):
        return False
    options = {**step.options, "output_size": step.shape[2:]}
    problem = Problem(operation.name, "forward", tuple(step.shapes), dtype, "cpu", options)
    return operation.pick(problem).name == "vector"


def pool(step: Step) -> Callable[..., Array]:
    """Max pooling without the places of the maxima, which only a gradient needs."""
    from minicnn.ops.max_pool2d import check_options, vector

    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    defaults = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
    options, _ = check_options(step.shapes[0], **{name: {**defaults, **step.options}[name] for name in names})
    return lambda x: vector.largest(x, **options)


def plain(step: Step) -> Callable[..., Array]:
    """The operation as it is, without a tape."""
    nothing = (False,) * len(step.inputs)
    constants = [None if isinstance(i, int) else i for i in step.inputs]
    places = [at for at, i in enumerate(step.inputs) if isinstance(i, int)]

    def run(*values: Array) -> Array:
        arrays = list(constants)
        for at, value in zip(places, values, strict=True):
            arrays[at] = value
        return step.operation.record(nothing, *arrays, **step.options)[0]

    return run
