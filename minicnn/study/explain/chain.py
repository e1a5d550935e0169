"""From a pixel up to the loss: the chain rule along one path, with the local gradient of each step.

The gradient of a pixel is a sum over all paths from it to the loss, and along each path a product of local gradients.
There are far too many paths to list; the one followed here goes, at every step, to the output that sends the largest
share back. Its product, compared with the whole gradient, says how much of it this one path carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.errors import GraphError, MismatchError, printable
from minicnn.study.explain.asked import Asked, explain_gradient
from minicnn.study.explain.explaining import find_index, named_tensor, steps_of
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import shown
from minicnn.study.explain.recurrent_run import KINDS as RECURRENT
from minicnn.study.explain.rounding import bound
from minicnn.study.explain.tangents import tangents
from minicnn.study.explain.terms import Block, Index
from minicnn.study.recording import Recording, Step

GRADIENTS = ("dy", "dz")  # factors that name an output and its gradient
THROUGH_TIME = 64.0  # gates are rounded at each step of a recurrent layer


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

    @property
    def title(self) -> str:
        """What the table shows."""
        start = f"{self.name}[{','.join(map(str, self.index))}]" if self.index else self.name
        return f"from {start} to the loss, each time to the output that sends the largest share back"

    def rows(self) -> list[list[str]]:
        """The table, its head first."""
        rows, product = [["step", "to output", "local gradient", "product so far", "dL/d output", "ways"]], 1.0
        for link in self.links:
            product *= link.local
            target = f"[{','.join(map(str, link.target))}]" if link.target else "-"
            values = (shown(value, 6) for value in (link.local, product, link.gradient))
            rows.append([f"{link.layer or 'network'} ({link.operation})", target, *values, str(link.ways)])
        return rows

    def verdict(self) -> list[str]:
        """What the path carries."""
        lines = [f"along this path   {shown(self.product, 6)}", f"over all paths    {shown(self.whole, 6)}"]
        if self.whole:
            percent = 100 * self.share
            said = f"{percent:.3g}" if abs(percent) < 1000 else f"{percent:.0f}"
            others = (
                "; the others outweigh it" if percent < 0 else "; the others take some away" if percent > 100 else ""
            )
            lines.append(f"this path carries {said} % of the gradient{others}")
        elif not self.links:
            lines.append("nothing comes back: no path has a gradient")
        return [*lines, "ways: outputs that the number went into, and that send a gradient back"]

    def __str__(self) -> str:
        rows = self.rows()
        first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
        table = ["  ".join(["", f"{name:{first}}", *map(str.rjust, cells, others)]) for name, *cells in rows]
        return printable("\n".join([self.title, "", *table, "", *(f"  {line}" for line in self.verdict())]))

    def _repr_html_(self) -> str:
        from minicnn.study.explain.html import chain_as_html

        return chain_as_html(self.title, self.rows(), self.verdict())

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
        Without a loss, or where the gradient is not finite.
    MismatchError
        The ways through a step do not add up to the gradient that it sends back.
    """
    if recording.loss is None:
        raise GraphError("this run has no loss", called="explain chain", hint="give labels: they make the loss")
    tensor = named_tensor(recording, start)
    parameter = tensor is not None and tensor is not recording.images
    tensor = steps_of(recording, start)[-1].output if tensor is None else tensor
    gradient = _gradient(recording, tensor, start)
    index = find_index(gradient.shape, at, gradient, batched=not parameter, name=start)
    whole = float(gradient[index])
    if not np.isfinite(whole):
        place = f"{start}[{','.join(map(str, index))}]"
        raise GraphError("the gradient is not finite", called=f"explain chain: {place}", seen=f"{whole}")
    links: list[Link] = []
    product, here = 1.0, index
    while tensor is not recording.loss:
        link, output = _next(recording, tensor, here)
        if link is None or output is None:
            break
        links.append(link)
        product *= link.local
        tensor, here = output, link.target
    return Chain(start, index, links, product if links else whole, whole)


def _next(recording: Recording, tensor: Tensor, index: Index) -> tuple[Link | None, Tensor | None]:
    """The step and the output through which most comes back."""
    best: tuple[float, Step, str, Explanation, Index, float] | None = None
    ways = 0
    for step, name in recording.users(tensor):
        if step.dy is None or name not in step.gradients():
            continue
        asked, found = Asked(recording, step, f"grad {name}", index), explain_gradient(recording, step, name, index)
        shares = _through_time(asked) if step.operation.name in RECURRENT else _shares(found)
        together, size = sum(shares.values()), sum(map(abs, shares.values()))
        if not abs(together - found.total) <= found.bound + bound(asked.dtype, len(shares), size, THROUGH_TIME):
            raise MismatchError(
                "the ways through this step do not add up to its gradient",
                called=f"explain chain: {found.title}",
                seen=f"{together!r} over {len(shares)} outputs, gradient {found.total!r}",
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


def _through_time(asked: Asked) -> dict[Index, float]:
    """The same for a recurrent layer, whose outputs all lie behind one another."""
    shares = asked.array("dy") * tangents(asked)
    return {tuple(place): float(shares[tuple(place)]) for place in np.argwhere(shares).tolist()}


def _add_shares(shares: dict[Index, float], block: Block, factor: float) -> None:
    column = next((c for c in block.columns if c.name in GRADIENTS), None)
    if column is not None:
        for place, value in zip(map(tuple, column.index.tolist()), block.values.tolist(), strict=True):
            shares[place] = shares.get(place, 0.0) + factor * value


def _gradient(recording: Recording, tensor: Tensor, name: str) -> np.ndarray:
    found = recording.gradients.get(name)
    if found is None and tensor.grad is not None:
        found = tensor.grad.array
    if found is None:
        raise GraphError("no gradient came here", called=f"explain chain: {name}")
    return moved(found, "cpu")
