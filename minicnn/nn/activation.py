"""Activations, and dropout."""

from __future__ import annotations

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn.module import Module


class ReLU(Module):
    """max(x, 0). `inplace` is accepted for compatibility and changes nothing."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        return F.relu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """1 / (1 + exp(-x))."""
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """The hyperbolic tangent of x."""
        return F.tanh(x)


class Softmax(Module):
    """exp(x) / sum exp(x) along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities along `dim`."""
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class Dropout(Module):
    """In training mode, zeros with probability `p`, the rest divided by 1 - p (Srivastava et al. 2014, inverted).

    `inplace` is accepted for compatibility and changes nothing.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not isinstance(p, (int, float)) or not 0 <= p <= 1:
            name = type(self).__name__
            raise ArgumentError("p is not a probability", called=name, seen=f"p={p!r}", rule="0 <= p <= 1")
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        """Drop, in training mode."""
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class Dropout2d(Dropout):
    """In training mode, whole channels of images are zero with probability `p`, the rest divided by 1 - p.

    Neighbouring pixels of a channel say nearly the same: dropping single ones takes little away (Tompson et al. 2015).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels of x (N, C, H, W), in training mode."""
        return F.dropout2d(x, self.p, self.training)
