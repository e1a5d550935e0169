"""Batch normalisation (Ioffe and Szegedy 2015, algorithm 1)."""

from __future__ import annotations

import numpy as np

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, ShapeError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn.module import Module, Parameter
from minicnn.ops.windows import is_whole


class BatchNorm2d(Module):
    """Each channel of (N, C, H, W) to mean 0 and variance 1, then scaled by `weight` and shifted by `bias`.

    In training mode the statistics are the batch's, and `running_mean` and `running_var` (unbiased) move towards them
    by `momentum`; in evaluation mode the running ones are used.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        if not is_whole(num_features) or num_features < 1:
            raise ArgumentError(
                "num_features is not valid", called="BatchNorm2d", seen=f"{num_features!r}", rule="num_features >= 1"
            )
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", Parameter(np.ones(num_features, np.float32)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(num_features, np.float32)) if affine else None)
        if track_running_stats:
            self.register_buffer("running_mean", Tensor(np.zeros(num_features, np.float32)))
            self.register_buffer("running_var", Tensor(np.ones(num_features, np.float32)))
            self.register_buffer("num_batches_tracked", Tensor(np.zeros((), np.int64)))
        else:
            self.register_buffer("running_mean", None)
            self.register_buffer("running_var", None)

    def forward(self, x: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """Normalise; with `relu`, relu(normalised x + residual) in one pass over memory."""
        if residual is not None and not relu:
            raise ArgumentError("a residual needs relu", called="BatchNorm2d", rule="relu=True with residual=")
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ShapeError(
                "the input does not fit",
                called="BatchNorm2d",
                seen=f"x {x.shape}",
                rule=f"x: (N, {self.num_features}, H, W)",
            )
        use_batch = self.training or not self.track_running_stats
        settings = (self.running_mean, self.running_var, self.weight, self.bias, use_batch, self.momentum, self.eps)
        y = F.batch_norm_relu(x, *settings, residual) if relu else F.batch_norm(x, *settings)
        if self.training and self.track_running_stats:
            self.num_batches_tracked.array[...] += 1
        return y

    def extra_repr(self) -> str:
        """Arguments."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
