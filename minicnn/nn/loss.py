"""Losses."""

from __future__ import annotations

from typing import Any

from minicnn.autograd import Tensor
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn.module import Module


class CrossEntropyLoss(Module):
    """-log softmax(x)[target], from logits (N, classes) and class indices or class probabilities."""

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.weight, self.ignore_index = weight, ignore_index
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss, a single number unless reduction is "none"."""
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class MSELoss(Module):
    """(x - target)^2, as mean, sum or each."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return F.mse_loss(input, target, self.reduction)


class BCELoss(Module):
    """-(t ln p + (1 - t) ln(1 - p)) from probabilities p, as mean, sum or each."""

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__()
        self.weight, self.reduction = weight, reduction

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Module):
    """The same from logits, stable for logits of any size; `pos_weight` is a factor of the term of t."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__()
        self.weight, self.reduction, self.pos_weight = weight, reduction, pos_weight

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)
