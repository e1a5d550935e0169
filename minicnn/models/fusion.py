"""Inference with fewer passes over memory: `minicnn.fuse(model)`.

A trained network's batch normalisation is a multiplication and an addition for each channel, with numbers that do not
change any more. They go into the convolution before it (Jacob et al. 2018, section 3.2)::

    bn(x * w) = x * (w s) + (bias - mean s)        s = weight / sqrt(var + eps)

and what is left of a residual block, `relu(conv(x) + b + residual)`, is done by the convolution's kernel before its
result leaves the registers.

How it works: the network runs once on images of a shape, while each operation is noted (`autograd.observing`). In that
list, chains conv2d -> batch_norm -> add -> relu become one step with packed weights (`ops/conv2d/prepared.py`); all
other operations stay as they are. The result is for inference: it has no parameters, and records no gradients. The
steps for a shape are made when images of that shape first come, from the parameters of that time: after further
training, fuse again. A network whose steps depend on the values in the images (not only on their shape) cannot be
fused: the steps are held against the network on other images before they are used. `plan.py` runs them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import get_num_threads as thread_count

from minicnn.autograd import Tensor, no_grad, observing
from minicnn.backends.arrays import Array, device
from minicnn.backends.images import Images
from minicnn.backends.threads import Lock
from minicnn.errors import ArgumentError
from minicnn.models.chains import Chain, Finder
from minicnn.models.plan import Plan, Step
from minicnn.nn import Module
from minicnn.ops.conv2d import check_shapes
from minicnn.ops.registry import Operation, Problem, named_algorithms

PLANS = 4  # of the shapes that were used last; each has its own packed weights and buffers
VECTORS = ("adaptive_avg_pool2d", "add", "max_pool2d", "relu")  # whose algorithm `vector` can be kernels alone
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
        self._lock = Lock()  # a trace sets the network to evaluation for a moment
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
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                plan = Plan(make_steps(self._source[0], x), x.array)
                check(plan, self._source[0], x)
                self._plans[key] = plan
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


def check(plan: Plan, model: Module, x: Tensor) -> None:
    """Raise unless the plan, made with x, gives what the network gives for other images too."""
    other = Tensor(np.ascontiguousarray(x.array[..., ::-1]) * x.dtype.type(0.5) + x.dtype.type(0.25))
    right, found = evaluated(model, other).array, plan(other.array)
    largest = float(np.abs(right[np.isfinite(right)]).max(initial=0.0))
    if not np.allclose(found, right, rtol=0.0, atol=1e-3 * largest, equal_nan=True):
        raise ArgumentError(
            "what the network does to images depends on their values, not only on their shape",
            called="fuse",
            rule="no statistics of the batch, no dropout, no numbers read from a tensor, no part that is fused already",
            hint="use the network itself",
        )


def evaluated(model: Module, x: Tensor) -> Any:
    """The network's result in evaluation mode, without a tape; the mode is left as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            return model(x)
    finally:
        for module, mode in modes:
            module.training = mode


def make_steps(model: Module, x: Tensor) -> list[Step]:
    """Run the model once on x, and make its operations into steps."""
    traced, output = trace(model, x)
    needed, steps = {output}, []
    for step in reversed(traced):
        if step.output in needed:  # the result depends on it
            steps.append(step)
            needed.update(i for i in step.inputs if isinstance(i, int))
    steps.reverse()
    finder = Finder(steps, output)
    done: set[int] = set()
    plan: list[Step] = []
    for step in reversed(steps):  # a chain is found from its end
        if step.output in done:
            continue
        chain = finder.chain(step)
        if chain is not None and prepare(step, chain):
            done.update(link.output for link in chain.links)
        else:
            step.used = [i for i in step.inputs if isinstance(i, int)]
            step.label, step.run = step.operation.name, plain(step)
            step.kernels_only = is_vector(step, x.dtype)
            if step.kernels_only:
                step.run = kernels_of(step)
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

    with observing(note):
        result = evaluated(model, start)
    if not isinstance(result, Tensor) or id(result) not in numbers or not steps:
        raise ArgumentError(
            "the network's result does not come from its operations",
            called="fuse",
            seen=type(result).__name__,
            rule="one tensor, computed from the images",
        )
    return steps, numbers[id(result)]


def prepare(step: Step, chain: Chain) -> bool:
    """Make `step` run the whole chain; False if no algorithm with packed weights supports it."""
    from minicnn.ops.conv2d.prepared import Prepared

    convolution = chain.links[-1]
    x, w, b = convolution.inputs
    if not isinstance(x, int) or w is None or isinstance(w, int) or isinstance(b, int):
        return False
    norm = next((link for link in chain.links if link.operation.name.startswith("batch_norm")), None)
    if norm is not None and any(isinstance(i, int) for i in norm.inputs[1:3]):  # computed, not a parameter
        return False
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
    """Whether the operation's algorithm is `vector`, on images that are not constants."""
    operation = step.operation
    images = all(isinstance(i, int) for i in step.inputs) and {len(shape) for shape in step.shapes} == {4}
    if operation.name not in VECTORS or not images:
        return False
    pooling = {"output_size": step.shape[2:]} if operation.name == "adaptive_avg_pool2d" else {}
    options = {**step.options, **pooling}
    problem = Problem(operation.name, "forward", tuple(step.shapes), dtype, "cpu", options)
    return operation.pick(problem).name == "vector"


def kernels_of(step: Step) -> Callable[..., Array]:
    """What a step of `VECTORS` does, as kernels alone; max pooling without the places, which only a gradient needs."""
    from minicnn.ops.adaptive_avg_pool2d import vector as means
    from minicnn.ops.elementwise import vector as elementwise
    from minicnn.ops.max_pool2d import check_options, vector
    from minicnn.ops.relu import vector as relu

    if step.operation.name == "relu":
        return lambda x: relu.of_images(Images.of(x))
    if step.operation.name == "add":
        return lambda a, b: elementwise.sum_of_images(Images.of(a), Images.of(b))
    if step.operation.name == "adaptive_avg_pool2d":
        return lambda x: means.forward(x, output_size=(1, 1))
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
