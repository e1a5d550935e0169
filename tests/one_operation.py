"""A network of one operation, recorded with a loss that gives every output another gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import nn
from minicnn.autograd import Tensor, apply
from minicnn.study.recording import Recording, record


class One(nn.Module):
    """`apply(name, x, *others, **options)`; the others are parameters, None, or constants (whole numbers)."""

    def __init__(self, name: str, others: list[Any], options: dict[str, Any]) -> None:
        super().__init__()
        self.name, self.options, self.others = name, options, []
        for k, other in enumerate(others):
            if other is not None and other.dtype.kind == "f":
                self.register_parameter(f"p{k}", nn.Parameter(other))
                other = getattr(self, f"p{k}")
            self.others.append(other)

    def forward(self, x: Tensor) -> Tensor:
        return apply(self.name, x, *self.others, **self.options)


def run_of(name: str, x: np.ndarray, others: list[Any], options: dict[str, Any], seed: int = 0) -> Recording:
    """The recording; the operation is its first step."""
    rng = np.random.default_rng(seed)

    def loss(output: Tensor, _: Any) -> Tensor:
        weights = rng.standard_normal(output.shape).astype(output.dtype)
        return (output * Tensor(weights)).sum()

    return record(One(name, others, options), x, np.zeros(1), loss)
