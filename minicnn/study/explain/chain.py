"""From a pixel up to the loss: the chain rule along one path, with the local gradient of each step.

The gradient of a pixel is a sum over all paths from it to the loss, and along each path a product of local gradients.
There are far too many paths to list; the one followed here goes, at every step, to the output that sends the largest
share back. Its product, compared with the whole gradient, says how much of it this one path carries.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.errors import ArgumentError, GraphError
from minicnn.study.explain.asked import EXPLAINERS, Asked
from minicnn.study.explain.explaining import find_index, named_tensor
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.terms import Block, Index
from minicnn.study.recording import Recording, Step

GRADIENTS = ("dy", "dz")  # factors that name an output and its gradient


@dataclass(frozen=True)
class Link:
    """One step of the path.

    Attributes
    ----------
    step : int
        Number of the step in the recording.
    layer, operation, input : str
        What used the number, and as which of its inputs.
    source : Index
        The place in that input.
    target : Index
        The place in the output that the path goes on to.
    local : float
        d output[target] / d input[source].
    gradient : float
        dL / d output[target].
    whole : float
        dL / d input[source], over all ways.
    ways : int
        Outputs of this step that used the number, and steps that did so besides it.
    """

    step: int
    layer: str
    operation: str
    input: str
    source: Index
    target: Index
    local: float
    gradient: float
    whole: float
    ways: int


@dataclass(frozen=True)
class Chain:
    """The path of largest contribution.

    Attributes
    ----------
    name : str
        Where it begins: `"images"`.
    index : Index
    links : list of Link
        From there to the loss.
    product : float
        Of the local gradients: what comes to the number along this path.
    whole : float
        The gradient of the number, over all paths.
    """

    name: str
    index: Index
    links: list[Link] = field(default_factory=list)
    product: float = 0.0
    whole: float = 0.0

    @property
    def share(self) -> float:
        """How much of the whole gradient this path carries; it may be more than all of it, or against it."""
        return self.product / self.whole if self.whole else 0.0

    def __str__(self) -> str:
        places = ",".join(map(str, self.index))
        lines = [
            f"from {self.name}[{places}] to the loss, each time to the output that sends the largest share back",
            "",
            f"  {'step':32} {'to output':>18} {'local gradient':>15} {'product so far':>15} "
            f"{'dL/d output':>13} {'ways':>7}",
        ]
        product = 1.0
        for link in self.links:
            product *= link.local
            name = f"{link.layer or 'network'} ({link.operation})"
            target = "[" + ",".join(map(str, link.target)) + "]"
            lines.append(
                f"  {name:32} {target:>18} {link.local:15.6g} {product:15.6g} {link.gradient:13.6g} {link.ways:7}"
            )
        lines += ["", f"  along this path   {self.product:.6g}", f"  over all paths    {self.whole:.6g}"]
        if not self.links:
            lines.append("  nothing comes back: no path has a gradient")
        else:
            lines.append(f"  this path carries {100 * self.share:.3g} % of the gradient")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "share": self.share}


def explain_chain(recording: Recording, at: Sequence[int] | None = None, start: str = "images") -> Chain:
    """The path from one number to the loss.

    Parameters
    ----------
    recording : Recording
        With a loss.
    at : sequence of int, optional
        Index of the pixel, `(c, h, w)` or `(n, c, h, w)`; by default that of the largest gradient.
    start : str
        `"images"`, the name of a parameter, or the path of a layer, whose output it begins at.

    Raises
    ------
    GraphError
        Without a loss, or where a step's gradients go through time inside of one operation.
    """
    if recording.loss is None:
        raise GraphError("this run has no loss", called="explain chain", hint="give labels: they make the loss")
    tensor = _start(recording, start)
    gradient = _gradient(recording, tensor, start)
    index = find_index(gradient.shape, at, gradient, batched=True, name=start)
    links: list[Link] = []
    product, here = 1.0, index
    while tensor is not recording.loss:
        link, output = _next(recording, tensor, here)
        if link is None or output is None:
            product = 0.0
            break
        links.append(link)
        product *= link.local
        tensor, here = output, link.target
    whole = float(gradient[index])
    return Chain(start, index, links, product if links else whole, whole)


def _next(recording: Recording, tensor: Tensor, index: Index) -> tuple[Link | None, Tensor | None]:
    """The step and the output through which most comes back."""
    best: tuple[float, Step, str, Explanation, Index, float] | None = None
    ways = 0
    for step, name in recording.users(tensor):
        if step.dy is None or name not in (sent := step.gradients()):
            continue
        explainer = EXPLAINERS[step.operation.name][f"grad {name}"]
        asked = Asked(recording, step, f"grad {name}", index)
        found = asked.explanation(explainer(asked), float(moved(sent[name], "cpu")[index]))
        shares = _shares(found)
        if not shares and len(found.terms):
            raise GraphError(
                "the path cannot be followed through this step",
                called=f"explain chain: {step.layer}",
                seen=step.operation.name,
                rule="each term names an output",
                hint="a recurrent layer with by_tape = True runs as small steps",
            )
        ways += len(shares)
        for place, value in shares.items():
            if best is None or abs(value) > abs(best[0]):
                best = value, step, name, found, place, value
    if best is None or best[0] == 0 or not np.isfinite(best[0]):
        return None, None
    value, step, name, found, place, _ = best
    dy = float(moved(step.dy, "cpu")[place])
    assert found.engine is not None
    link = Link(step.number, step.layer, step.operation.name, name, index, place, value / dy, dy, found.engine, ways)
    return link, step.output


def _shares(found: Explanation) -> dict[Index, float]:
    """For each output in the terms, what comes back from it; also from inside of sums that are factors of a term.

    (In training, batch norm's mean and variance carry gradients from all outputs of the channel.)
    """
    shares: dict[Index, float] = {}
    parts = {part.symbol: part for part in found.parts}
    for block in found.terms.blocks:
        if any(column.name in GRADIENTS for column in block.columns):
            _add_shares(shares, block, 1.0)
        for column in block.columns:
            if column.name in parts and column.values[0]:
                for inner in parts[column.name].terms.blocks:
                    _add_shares(shares, inner, float(block.values[0] / column.values[0]))
    return shares


def _add_shares(shares: dict[Index, float], block: Block, factor: float) -> None:
    column = next((c for c in block.columns if c.name in GRADIENTS), None)
    if column is not None:
        for place, value in zip(map(tuple, column.index.tolist()), block.values.tolist(), strict=True):
            shares[place] = shares.get(place, 0.0) + factor * value


def _start(recording: Recording, name: str) -> Tensor:
    """The tensor that the path begins at."""
    tensor = named_tensor(recording, name)
    if tensor is not None:
        return tensor
    steps = recording.of_layer(name)
    if not steps:
        known = ["images", *dict.fromkeys(s.layer for s in recording.steps if s.layer)]
        near = difflib.get_close_matches(name, known, 4, 0.3) or known[:4]
        raise ArgumentError(
            "there is no such layer", called="explain chain", seen=repr(name), hint=f"nearest: {', '.join(near)}"
        )
    return steps[-1].output


def _gradient(recording: Recording, tensor: Tensor, name: str) -> np.ndarray:
    found = recording.gradients.get(name)
    if found is None and tensor.grad is not None:
        found = tensor.grad.array
    if found is None:
        raise GraphError("no gradient came here", called=f"explain chain: {name}")
    return moved(found, "cpu")
