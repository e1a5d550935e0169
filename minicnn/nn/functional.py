"""Layers as functions, with PyTorch's names and arguments. Each line hands an operation to the tape."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.backends.random import generator
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.nn.likelihoods import binary_cross_entropy as binary_cross_entropy
from minicnn.nn.likelihoods import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from minicnn.nn.likelihoods import gaussian_kl as gaussian_kl
from minicnn.nn.likelihoods import gaussian_sample as gaussian_sample
from minicnn.nn.likelihoods import softplus as softplus
from minicnn.ops import batch_norm as batch_norm_op
from minicnn.ops import dropout as dropout_op
from minicnn.ops.windows import is_whole

Size = int | tuple[int, int]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Two-dimensional convolution (`minicnn.ops.conv2d`)."""
    return apply("conv2d", input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Transposed convolution, which makes images larger (`minicnn.ops.conv_transpose2d`); weight: (C, K/groups, R, S).

    `dilation` comes last, as in PyTorch.
    """
    steps = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    return apply("conv_transpose2d", input, weight, bias, groups=groups, **steps)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x w^T + b (`minicnn.ops.linear`)."""
    return apply("linear", input, weight, bias)


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window (`minicnn.ops.max_pool2d`)."""
    return apply(
        "max_pool2d",
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window (`minicnn.ops.avg_pool2d`)."""
    return apply(
        "avg_pool2d",
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over as many windows as `output_size` says (`minicnn.ops.adaptive_avg_pool2d`)."""
    return apply("adaptive_avg_pool2d", input, output_size=output_size)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel (`minicnn.ops.batch_norm`).

    In training, mean and variance are those of the batch, and the running ones move towards them by `momentum`.
    """
    mean, var = _statistics(input, running_mean, running_var, training, "batch_norm")
    y = apply("batch_norm", input, weight, bias, mean=mean, var=var, eps=eps, training=training)
    if training:
        _update_running(input, running_mean, running_var, mean, var, momentum)
    return y


def batch_norm_relu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual: Tensor | None = None,
) -> Tensor:
    """relu(batch_norm(x) + residual) in one (`minicnn.ops.batch_norm_relu`); statistics as in `batch_norm`."""
    mean, var = _statistics(input, running_mean, running_var, training, "batch_norm_relu")
    y = apply("batch_norm_relu", input, weight, bias, residual, mean=mean, var=var, eps=eps, training=training)
    if training:
        _update_running(input, running_mean, running_var, mean, var, momentum)
    return y


def _statistics(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, training: bool, called: str
) -> tuple[Any, Any]:
    """Mean and variance to normalise with: the batch's in training, else the running ones."""
    if training:
        return batch_norm_op.statistics(input.array)
    if running_mean is None or running_var is None:
        raise ArgumentError("evaluation needs running statistics", called=called, seen="running_mean=None")
    return running_mean.array, running_var.array


def _update_running(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, mean: Any, var: Any, momentum: float
) -> None:
    """Move the running statistics, where there are any, towards those of the batch."""
    if running_mean is not None and running_var is not None:
        count = input.numel() // input.shape[1]
        batch_norm_op.move_running(running_mean.array, running_var.array, mean, var, count, momentum)


def relu(input: Tensor) -> Tensor:
    """max(x, 0) (`minicnn.ops.relu`)."""
    return apply("relu", input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) (`minicnn.ops.elementwise`)."""
    return apply("sigmoid", input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent (`minicnn.ops.elementwise`)."""
    return apply("tanh", input)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / sum exp(x) along `dim` (`minicnn.ops.softmax`)."""
    return apply("softmax", input, dim=dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """x - log sum exp(x) along `dim` (`minicnn.ops.softmax`)."""
    return apply("log_softmax", input, dim=dim)


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training, zeros with probability `p`, the rest divided by 1 - p (`minicnn.ops.dropout`)."""
    if not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise ArgumentError("p is not a probability", called="dropout", seen=f"p={p!r}", rule="0 <= p <= 1")
    if not training or p == 0:
        return input
    return apply("dropout", input, mask=dropout_op.draw_mask_for(input.array, p, generator()), p=p)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training, whole channels of images (N, C, H, W) are zero with probability `p`, the rest divided by 1 - p."""
    if not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise ArgumentError("p is not a probability", called="dropout2d", seen=f"p={p!r}", rule="0 <= p <= 1")
    if input.ndim != 4:
        raise ShapeError("the input is not images", called="dropout2d", seen=f"x {input.shape}", rule="(N, C, H, W)")
    if not training or p == 0:
        return input
    mask = dropout_op.draw_mask(input.shape[:2], p, generator()) * dropout_op.scale(p)
    return input * Tensor(mask.astype(input.dtype)[:, :, None, None]).to(input.device)


def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(x)[target] (`minicnn.ops.cross_entropy`); target: class indices or class probabilities."""
    return apply(
        "cross_entropy",
        input,
        target,
        weight=weight.array if isinstance(weight, Tensor) else weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)^2 (`minicnn.ops.mse`)."""
    return apply("mse", input, target, reduction=reduction)


def one_hot(target: Any, num_classes: int, dtype: Any = np.float32) -> Tensor:
    """Rows of zeros with a one at the class."""
    indices = target.array if isinstance(target, Tensor) else np.asarray(target)
    if indices.dtype.kind not in "iu":
        raise DTypeError("labels are not whole numbers", called="one_hot", seen=str(indices.dtype), rule="integers")
    if not is_whole(num_classes) or num_classes < 1:
        raise ArgumentError(
            "num_classes is not valid", called="one_hot", seen=f"num_classes={num_classes!r}", rule="num_classes >= 1"
        )
    if indices.size and not (indices.min() >= 0 and indices.max() < num_classes):
        raise ArgumentError(
            "a label is out of range",
            called="one_hot",
            seen=f"{indices.min()}..{indices.max()}",
            rule=f"0 <= label < {num_classes}",
        )
    return Tensor(np.eye(num_classes, dtype=dtype)[indices])
