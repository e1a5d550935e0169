r"""Batch normalisation: each channel gets mean 0 and variance 1, then a scale and a shift that are learned.

Formula, with means over all axes but the channel's, M values each::

    mean[c] = mean(x[:,c])        var[c] = mean((x[:,c] - mean[c])^2)          (biased: divided by M)
    x_hat   = (x - mean) * inv_std,  inv_std = 1 / sqrt(var + eps)
    y       = weight * x_hat + bias

In training, mean and var are those of the batch (`statistics`), so they are functions of x. In evaluation they are
constants: the running averages, which training updates (`update_running`, with the unbiased variance, divided by
M - 1).

Shapes: `x, y: (N, C, ...)` (images or vectors), `weight, bias, mean, var, inv_std: (C,)`; weight and bias may be
absent.

The passes, from `dy = dL/dy`, with dx_hat = dy * weight; the second and third term in training only::

    dx      = inv_std * dx_hat  -  inv_std * mean(dx_hat)  -  inv_std * mean(dx_hat * x_hat) * x_hat
    dweight = sum(dy * x_hat)
    dbias   = sum(dy)

`formula.grad_input_terms` gives the three terms of dx by name. What is saved for them is x, mean and inv_std: x is
there already, while x_hat would be one more array of its size.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | vectors over channels, blocks of rows in the cache | all | images, float32 and float64, preferred |
| loops   | compiled; sums in float64, in lanes | all | float32 and float64 |
| formula | NumPy, term by term: the yardstick | all | any float dtype |
| cuda    | threads over channels; parts of sums, then their sum | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

import math
from typing import Any

from minicnn.backends.arrays import Array, check_arrays, device
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.batch_norm import formula
from minicnn.ops.registry import Operation


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel.

    Parameters
    ----------
    x : array (N, C, ...), float
        At least one value a channel.

    Returns
    -------
    mean, var : arrays (C,)

    Raises
    ------
    ShapeError, DTypeError
        Before any compiled code runs.
    """
    called = "batch_norm.statistics"
    check_arrays(called, x=x)
    check_channels(x, called)
    check_count(value_count(x), called, least=1)
    return OPERATION.run("statistics", (x,), {}, x.shape[1:2], x.shape[1:2])


def forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float = 1e-5,
    training: bool,
) -> Array:
    """y = weight * (x - mean) / sqrt(var + eps) + bias.

    Parameters
    ----------
    x : array (N, C, ...), float
    weight, bias : array (C,), same dtype, or None
    mean, var : array (C,), same dtype
        `statistics(x)` in training, the running ones in evaluation.
    eps : float
        Keeps channels of variance 0 finite; above 0.
    training : bool
        Whether mean and var are functions of x; then a channel needs more than one value.

    Returns
    -------
    array (N, C, ...)

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    check_arrays("batch_norm", x=x, weight=weight, bias=bias, mean=mean, var=var)
    check_given("batch_norm", x=x, mean=mean, var=var)
    check_channels(x, "batch_norm")
    check_vectors(x, "batch_norm", weight=weight, bias=bias, mean=mean, var=var)
    check_training(training, x, "batch_norm")
    if not isinstance(eps, (int, float)) or not 0 < eps < math.inf:
        raise ArgumentError("eps is not valid", called="batch_norm", seen=f"eps={eps!r}", rule="a number > 0")
    return OPERATION.run("forward", (x, weight, bias, mean, var), {"eps": float(eps), "training": training}, x.shape)


def grad_input(
    dy: Array, x: Array | None, weight: Array | None, mean: Array | None, inv_std: Array, *, training: bool
) -> Array:
    """dx: (N, C, ...), the gradient with respect to x; in evaluation x and mean are not needed and may be None."""
    called = "batch_norm.grad_input"
    check_arrays(called, dy=dy, x=x, weight=weight, mean=mean, inv_std=inv_std)
    check_channels(dy, called, "dy")
    check_vectors(dy, called, weight=weight, mean=mean, inv_std=inv_std)
    check_training(training, dy, called)
    if training:
        check_given(called, x=x, mean=mean)
    if x is not None:
        check_same(dy, x, called)
    return OPERATION.run("grad_input", (dy, x, weight, mean, inv_std), {"training": training}, dy.shape)


def grad_weight(dy: Array, x: Array, mean: Array, inv_std: Array) -> Array:
    """dweight: (C,), the gradient with respect to weight."""
    called = "batch_norm.grad_weight"
    check_arrays(called, dy=dy, x=x, mean=mean, inv_std=inv_std)
    check_channels(dy, called, "dy")
    check_same(dy, x, called)
    check_vectors(dy, called, mean=mean, inv_std=inv_std)
    return OPERATION.run("grad_weight", (dy, x, mean, inv_std), {}, dy.shape[1:2])


def grad_bias(dy: Array) -> Array:
    """dbias: (C,), the gradient with respect to bias."""
    check_arrays("batch_norm.grad_bias", dy=dy)
    check_channels(dy, "batch_norm.grad_bias", "dy")
    return OPERATION.run("grad_bias", (dy,), {}, dy.shape[1:2])


def update_running(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float = 0.1
) -> tuple[Array, Array]:
    """The running averages after a batch: new = (1 - momentum) * old + momentum * batch.

    Parameters
    ----------
    running_mean, running_var : array (C,)
        Not changed.
    mean, var : array (C,)
        `statistics` of the batch; var is the biased one.
    count : int
        Values a channel, N * H * W. The running variance takes the unbiased var * count / (count - 1).
    momentum : float
        Weight of the new batch, 0 to 1.

    Returns
    -------
    new_mean, new_var : arrays (C,)
    """
    unbiased = _check_update(running_mean, running_var, mean, var, count, momentum)
    if device(mean) == "cuda":
        return _on_gpu().update_running((running_mean, running_var), (mean, var), momentum, unbiased)
    keep = 1 - float(momentum)
    return keep * running_mean + momentum * mean, keep * running_var + momentum * (unbiased * var)


def move_running(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float = 0.1
) -> None:
    """`update_running` in place: the arrays `running_mean` and `running_var` take the new values."""
    if device(mean) == "cuda":
        unbiased = _check_update(running_mean, running_var, mean, var, count, momentum)
        running = running_mean, running_var
        _on_gpu().update_running(running, (mean, var), momentum, unbiased, into=running)
    else:
        new = update_running(running_mean, running_var, mean, var, count, momentum)
        running_mean[...], running_var[...] = new


def _check_update(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float
) -> float:
    """Raise unless these can be averaged; return what makes the variance of a batch unbiased."""
    called = "batch_norm.update_running"
    vectors = {"running_mean": running_mean, "running_var": running_var, "mean": mean, "var": var}
    check_arrays(called, **vectors)
    if any(v.ndim != 1 or v.shape != running_mean.shape for v in vectors.values()):
        seen = ", ".join(f"{name} {v.shape}" for name, v in vectors.items())
        raise ShapeError("the statistics have different shapes", called=called, seen=seen, rule="(C,) each")
    check_count(count, called, least=2)
    if not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1:
        raise ArgumentError("momentum is not valid", called=called, seen=f"momentum={momentum!r}", rule="from 0 to 1")
    return count / (count - 1)


def inverse_std(var: Array, eps: float) -> Array:
    """1 / sqrt(var + eps): (C,)."""
    return formula.inverse_std(var, eps) if device(var) == "cpu" else _on_gpu().inverse_std(var, eps)


def _on_gpu() -> Any:
    from minicnn.ops.batch_norm import cuda

    return cuda


def value_count(x: Array) -> int:
    """Values a channel, over which mean and var are taken: N * H * W."""
    return x.size // x.shape[1]


def check_given(called: str, **arrays: Array | None) -> None:
    """Raise where a needed array is None."""
    for name, x in arrays.items():
        if x is None:
            raise ArgumentError(f"{name} is missing", called=called, seen=f"{name}=None", rule="an array")


def check_channels(x: Array, called: str, name: str = "x") -> None:
    """Raise unless x has a batch and a channel axis, and no empty axis but the batch."""
    seen, rule = f"{name} {x.shape}", f"{name}: (N, C, ...)"
    if x.ndim < 2:
        raise ShapeError(f"{name} must have at least 2 axes", called=called, seen=seen, rule=rule)
    if 0 in x.shape[1:]:
        raise ShapeError(f"{name} has an empty axis", called=called, seen=seen, rule=f"{rule}, only N may be 0")


def check_vectors(x: Array, called: str, **vectors: Array | None) -> None:
    """Raise unless each vector has one value a channel."""
    for name, v in vectors.items():
        if v is not None and v.shape != x.shape[1:2]:
            raise ShapeError(
                f"{name} does not fit the channels",
                called=called,
                seen=f"{name} {v.shape}, images {x.shape}",
                rule=f"{name}: (C,) with C = x.shape[1]",
            )


def check_same(dy: Array, x: Array, called: str) -> None:
    """Raise unless dy has the shape of x."""
    if dy.shape != x.shape:
        raise ShapeError("dy does not have the shape of x", called=called, seen=f"dy {dy.shape}, x {x.shape}")


def check_training(training: bool, x: Array, called: str) -> None:
    """Raise unless `training` is True or False, and in training every channel has at least two values."""
    if not isinstance(training, bool):
        raise ArgumentError("training is not valid", called=called, seen=f"{training!r}", rule="True or False")
    if training:
        check_count(value_count(x), called, least=2, seen=f"shape {x.shape}")


def check_count(count: int, called: str, *, least: int, seen: str = "") -> None:
    """Raise where there are too few values to take statistics of."""
    if count < least:
        raise ShapeError(
            "training needs more than one value per channel" if least > 1 else "no value per channel",
            called=called,
            seen=seen or f"{count} values",
            rule=f"N * H * W >= {least}",
            hint="use larger batches (or drop the last one), or evaluation mode",
        )


def record(
    needs: tuple[bool, ...],
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    mean: Array,
    var: Array,
    eps: float = 1e-5,
    training: bool,
) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: x and mean are saved for dweight and, in training, for dx; inv_std for both."""
    y = forward(x, weight, bias, mean, var, eps=eps, training=training)
    with_x = needs[1] or (needs[0] and training)
    saved = {
        "x": x if with_x else None,
        "mean": mean if with_x else None,
        "inv_std": inverse_std(var, eps) if needs[0] or needs[1] else None,
        "weight": weight if needs[0] else None,
        "options": {"eps": eps, "training": training},
    }
    return y, saved


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, weight, bias) for the tape."""
    x, mean, inv_std, training = saved["x"], saved["mean"], saved["inv_std"], saved["options"]["training"]
    dx = grad_input(dy, x, saved["weight"], mean, inv_std, training=training) if needs[0] else None
    dweight = grad_weight(dy, x, mean, inv_std) if needs[1] else None
    dbias = grad_bias(dy) if needs[2] else None
    return dx, dweight, dbias


OPERATION = Operation(
    name="batch_norm",
    formula=r"y = \gamma\, \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta",
    inputs=("x", "weight", "bias"),
    record=record,
    backward=backward,
    passes=("statistics", "forward", "grad_input", "grad_weight", "grad_bias"),
    algorithms=("vector", "loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
