"""Chains of operations that one kernel can do: a convolution and what follows it, found from the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from minicnn.models.plan import Step


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
