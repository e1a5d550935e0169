"""From a recording to what is drawn: a box an operation, with its lines of text, and an edge for each array that flows.

Parameters are no boxes: they are counted in the box of the operation that uses them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.errors import ArgumentError, printable
from minicnn.study.recording import Recording, Step

MOST_STEPS = 4_000
LONGEST_LINE = 44
TIMES = "\N{MULTIPLICATION SIGN}"
KINDS = {
    "conv2d": "weights",
    "conv_transpose2d": "weights",
    "linear": "weights",
    "rnn": "weights",
    "lstm": "weights",
    "gru": "weights",
    "max_pool2d": "pool",
    "avg_pool2d": "pool",
    "adaptive_avg_pool2d": "pool",
    "batch_norm": "norm",
    "batch_norm_relu": "norm",
    "cross_entropy": "end",
    "mse": "end",
}
WORDS = {
    "conv2d": "convolution",
    "conv_transpose2d": "transposed convolution",
    "max_pool2d": "max pooling",
    "avg_pool2d": "average pooling",
    "adaptive_avg_pool2d": "adaptive average pooling",
    "batch_norm": "batch norm",
    "batch_norm_relu": "batch norm, ReLU",
    "relu": "ReLU",
    "cross_entropy": "cross-entropy",
}


@dataclass
class Box:
    """One operation, or the input of the network.

    Attributes
    ----------
    lines : list of str
        The layer if it has one, the operation, its output; with gradients their norms.
    kind : str
        How it is drawn: "input", "weights", "norm", "pool", "end" or "plain".
    norm : float or None
        Euclidean norm of the gradient with respect to its output.
    """

    lines: list[str]
    kind: str
    norm: float | None = None


@dataclass
class Graph:
    """Boxes, in the order of the run, and edges (from, to) between their numbers; a bend marks a shortcut."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)


def graph_of(recording: Recording) -> Graph:
    """The boxes and edges of a run.

    Raises
    ------
    ArgumentError
        If the run has more steps than a drawing can show.
    """
    if len(recording.steps) > MOST_STEPS:
        raise ArgumentError(
            "too many steps for a drawing", called="graph", seen=str(len(recording.steps)), rule=f"at most {MOST_STEPS}"
        )
    names = {id(tensor): name for name, tensor in recording.model.named_parameters()}
    norm = _norm(recording.images.grad)
    shape = recording.images.shape
    graph = Graph([Box(["images" if len(shape) == 4 else "input", *_lines(shape, 0, norm, "x", [])], "input", norm)])
    made = {id(recording.images): 0}
    for step in recording.steps:
        number = len(graph.boxes)
        graph.boxes.append(_box(step, recording, names))
        sources = [made[id(tensor)] for tensor in step.inputs if tensor is not None and id(tensor) in made]
        graph.edges += [(source, number) for source in dict.fromkeys(sources)]
        made[id(step.output)] = number
    return graph


def _box(step: Step, recording: Recording, names: dict[int, str]) -> Box:
    parameters = {names[id(t)]: t for t in step.inputs if t is not None and id(t) in names}
    count = sum(tensor.numel() for tensor in parameters.values())
    norm = None if step.dy is None else _norm(step.dy)
    own = []
    for name in parameters:
        size = _norm(recording.gradients.get(name))
        if size is not None and math.prod(parameters[name].shape) > 0:
            own.append((shortened(name.rpartition(".")[2], 16), size))
    names_of = [shortened(line) for line in (step.layer, _words(step)) if line]
    lines = [*names_of, *_lines(step.output.shape, count, norm, "y", own)]
    return Box(lines, KINDS.get(step.operation.name, "plain"), norm)


def _words(step: Step) -> str:
    """The operation and what sets it apart."""
    words = [WORDS.get(step.operation.name, step.operation.name.replace("_", " "))]
    kernel = step.inputs[1] if step.operation.name in ("conv2d", "conv_transpose2d") else None
    if kernel is not None:
        words[0] += " " + TIMES.join(str(size) for size in kernel.shape[2:])
    elif "kernel_size" in step.options:
        words[0] += " " + TIMES.join(str(size) for size in _pair(step.options["kernel_size"]))
    stride = _pair(step.options.get("stride") or 1)
    if stride != (1, 1):
        words.append(f"stride {stride[0]}" if stride[0] == stride[1] else f"stride {stride[0]}{TIMES}{stride[1]}")
    if step.options.get("groups", 1) != 1:
        words.append(f"groups {step.options['groups']}")
    if "residual" in step.names and step.inputs[step.names.index("residual")] is not None:
        words.append("+ shortcut")
    return ", ".join(words)


def _lines(
    shape: tuple[int, ...], parameters: int, norm: float | None, name: str, own: list[tuple[str, float]]
) -> list[str]:
    """The shape, and norms of gradients, as many on a line as it holds."""
    line = TIMES.join(str(size) for size in shape) or "one number"
    if parameters:
        line += f" · {parameters:,} parameters"
    lines = [line]
    if norm is not None:
        for one in (f"‖∂{of}‖ {number(size)}" for of, size in [(name, norm), *own]):
            fits = "‖" in lines[-1] and len(lines[-1]) + 3 + len(one) <= LONGEST_LINE
            lines[-1:] = [f"{lines[-1]} · {one}"] if fits else [lines[-1], one]
    return lines


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def shortened(text: str, most: int = LONGEST_LINE) -> str:
    """Text of a line's length, its middle left out if need be, without letters that cannot be seen."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _norm(gradient: Any) -> float | None:
    if gradient is None:
        return None
    array = np.asarray(moved(gradient.array if isinstance(gradient, Tensor) else gradient, "cpu"))
    return float(np.sqrt(np.sum(np.square(array, dtype=np.float64))))
