r"""Cross-entropy, the loss of classification: softmax and negative log-likelihood in one.

Formula, at each position (n, or n and a place of the image), with log_p = log_softmax(x) over the classes::

    loss = - sum_c q[c] weight[c] log_p[c]

q is the true distribution: 1 at the class that the target names (or the probabilities that the target gives), smoothed
by `label_smoothing` s to `q <- (1 - s) q + s / C`. Positions whose target is `ignore_index` have loss 0. Reduction over
positions::

    "mean"   sum of losses / sum of weight[target] over the positions that count; for probabilities / their number
    "sum"    sum of losses
    "none"   the losses

Shapes: `x: (N, C)` or `(N, C, d1, d2, ...)`, or `(C,)` for a single position; target `(N, d1, ...)` class indices
(integers), or probabilities of x's shape and dtype; `weight: (C,)`; `y: ()`, or `(N, d1, ...)` with reduction "none".

The passes, from `dy = dL/dy`, with p = softmax(x) and scale = dy / what the mean divides by::

    dx[c]      = scale (p[c] sum_j q[j] weight[j] - q[c] weight[c])         without weights: scale (p - q)
    dtarget[c] = - scale (1 - s) weight[c] log_p[c]                         for probabilities

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| loops   | compiled; each line is one of vectors; sums in float64 | all | float32 and float64, preferred |
| formula | NumPy: the yardstick | all | any float dtype |
| cuda    | a few threads a position; sums in float64 | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, check_arrays, device, is_array
from minicnn.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from minicnn.ops.registry import Operation
from minicnn.ops.values import cast
from minicnn.ops.windows import is_whole

REDUCTIONS = ("mean", "sum", "none")
IGNORE_INDEX = -100


def forward(
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """The loss of the scores x against the target.

    Parameters
    ----------
    x : array (N, C, ...) or (C,), float
        Scores (logits), before any softmax.
    target : array of integers (N, ...), or of x's shape and dtype
        Class indices with 0 <= target < C, or class probabilities.
    weight : array (C,), same dtype as x, optional
        How much each class counts.
    ignore_index : int
        Class index that marks positions that do not count.
    reduction : "mean", "sum" or "none"
        The mean is NaN where nothing counts, as in PyTorch.
    label_smoothing : float
        Share of the true distribution that is spread over all classes, 0 to 1.

    Returns
    -------
    array (), or (N, ...) with reduction "none"

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    options = check_options(ignore_index, reduction, label_smoothing, "cross_entropy")
    images, labels = check(x, target, weight, ignore_index, "cross_entropy")
    shape = images.shape[:1] + images.shape[2:] if reduction == "none" else ()
    y = OPERATION.run("forward", (images, labels, weight), options, shape)
    return y.reshape(result_shape(x, reduction))


def grad_input(
    dy: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """dx: the gradient with respect to x; other arguments as of `forward`."""
    options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
    return _gradient("grad_input", dy, x, target, weight, options)


def grad_target(
    dy: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """dtarget: the gradient with respect to a target of probabilities; other arguments as of `forward`."""
    options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
    return _gradient("grad_target", dy, x, target, weight, options)


def _gradient(
    name: str, dy: Array, x: Array, target: Array, weight: Array | None, given: dict[str, Any], look: bool = True
) -> Array:
    """Check the arguments and run one of the gradients; on the tape the forward pass has looked at the labels."""
    called = f"cross_entropy.{name}"
    options = check_options(**given, called=called)
    images, labels = check(x, target, weight, options["ignore_index"], called, look)
    if name == "grad_target" and labels.dtype.kind == "i":
        raise DTypeError("class indices have no gradient", called=called, seen=f"target {target.dtype}")
    dy = check_gradient(dy, x, options["reduction"], called)
    return OPERATION.run(name, (dy, images, labels, weight), options, images.shape).reshape(x.shape)


def check_options(ignore_index: int, reduction: str, label_smoothing: float, called: str) -> dict[str, Any]:
    """Raise unless the options are valid; return them."""
    if not is_whole(ignore_index):
        raise ArgumentError(
            "ignore_index is not valid", called=called, seen=f"ignore_index={ignore_index!r}", rule="a whole number"
        )
    if reduction not in REDUCTIONS:
        raise ArgumentError(
            "reduction is not valid", called=called, seen=f"reduction={reduction!r}", rule="'mean', 'sum' or 'none'"
        )
    if not isinstance(label_smoothing, (int, float)) or not 0 <= label_smoothing <= 1:
        raise ArgumentError(
            "label_smoothing is not valid",
            called=called,
            seen=f"label_smoothing={label_smoothing!r}",
            rule="from 0 to 1",
        )
    return {
        "ignore_index": int(ignore_index),
        "reduction": reduction,
        "label_smoothing": float(label_smoothing),
    }


def check(
    x: Array, target: Array, weight: Array | None, ignore_index: int, called: str, look: bool = True
) -> tuple[Array, Array]:
    """Raise unless the arrays fit; return x and target with a batch axis, class indices as int64.

    Without `look` the labels themselves are not looked at, for which the host would wait for the GPU.
    """
    check_arrays(called, x=x, weight=weight)
    if x.ndim == 0 or 0 in x.shape[1 if x.ndim > 1 else 0 :]:
        raise ShapeError(
            "x has no classes, or an empty axis", called=called, seen=f"x {x.shape}", rule="x: (N, C, ...) or (C,)"
        )
    classes = x.shape[1] if x.ndim > 1 else x.shape[0]
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            "weight does not fit the classes",
            called=called,
            seen=f"weight {weight.shape}, x {x.shape}",
            rule=f"weight: (C,) with C = {classes}",
        )
    if not is_array(target):
        raise DTypeError(
            "target is not an array", called=called, seen=type(target).__name__, rule="arrays in, arrays out"
        )
    if device(target) != device(x):
        raise DeviceError(
            "x and target are on different devices",
            called=called,
            seen=f"x on {device(x)}, target on {device(target)}",
            rule="all arrays of a call on one device",
        )
    if target.dtype.kind in "iu":
        target = target if target.dtype == np.int64 else cast(target, np.int64)
        check_labels(x, target, classes, ignore_index, called, look)
    else:
        check_probabilities(x, target, ignore_index, called)
    return (x, target) if x.ndim > 1 else (x[None], target[None])


def check_labels(x: Array, target: Array, classes: int, ignore_index: int, called: str, look: bool = True) -> None:
    """Raise unless the target has one class index for each position, each in its range."""
    shape = result_shape(x, "none")
    if target.shape != shape:
        raise ShapeError(
            "target does not fit x",
            called=called,
            seen=f"x {x.shape}, target {target.shape} {target.dtype}",
            rule=f"class indices: {shape}",
            hint="for one-hot rows give target.argmax(axis=1), or floats" if target.shape == x.shape else "",
        )
    place = _first_wrong(target, classes, ignore_index) if look else None
    if place is not None:
        label = target[place].item()
        raise ArgumentError(
            "a label is out of range",
            called=called,
            seen=f"target{list(place) if place else ''} = {label}, {classes} classes",
            rule=f"0 <= target < C, or target = ignore_index ({ignore_index})",
            hint="labels count from 0" if label == classes else "",
        )


def _first_wrong(target: Array, classes: int, ignore_index: int) -> tuple[int, ...] | None:
    """The place of the first label that is out of range, or None."""
    if device(target) == "cuda":
        from minicnn.ops.cross_entropy.cuda import first_wrong

        return first_wrong(target, classes, ignore_index)
    wrong = ((target < 0) | (target >= classes)) & (target != ignore_index)
    return tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else None


def check_probabilities(x: Array, target: Array, ignore_index: int, called: str) -> None:
    """Raise unless the target has one probability for each class and position."""
    if target.dtype.kind != "f" or (target.shape != x.shape and target.shape == result_shape(x, "none")):
        raise DTypeError(
            "target is neither class indices nor probabilities",
            called=called,
            seen=f"target {target.shape} {target.dtype}, x {x.shape}",
            rule="integers (N, ...), or floats of x's shape",
            hint="convert class indices with target.astype('int64')",
        )
    check_arrays(called, x=x, target=target)
    if target.shape != x.shape:
        raise ShapeError(
            "target does not fit x",
            called=called,
            seen=f"x {x.shape}, target {target.shape} {target.dtype}",
            rule="class probabilities have the shape of x",
        )
    if ignore_index >= 0:
        raise ArgumentError(
            "ignore_index has no meaning for probabilities",
            called=called,
            seen=f"ignore_index={ignore_index}, target {target.dtype}",
            rule="ignore_index goes with class indices",
        )


def check_gradient(dy: Array, x: Array, reduction: str, called: str) -> Array:
    """Raise unless dy has the shape of y; return it with a batch axis."""
    check_arrays(called, dy=dy, x=x)
    shape = result_shape(x, reduction)
    if dy.shape != shape:
        raise ShapeError("dy does not have the shape of y", called=called, seen=f"dy {dy.shape}, y {shape}")
    return dy[None] if x.ndim == 1 and reduction == "none" else dy


def result_shape(x: Array, reduction: str) -> tuple[int, ...]:
    """Shape of y: of one position each with reduction "none", else a single number."""
    return x.shape[:1] * (x.ndim > 1) + x.shape[2:] if reduction == "none" else ()


def record(
    needs: tuple[bool, ...],
    x: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: x, target and the class weights are saved for either gradient."""
    options: dict[str, Any] = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
    y = forward(x, target, weight, **options)
    keep = any(needs)
    saved = {"x": x if keep else None, "target": target if keep else None, "weight": weight if keep else None}
    return y, {**saved, "options": options}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, target) for the tape."""
    arrays, options = (dy, saved["x"], saved["target"], saved["weight"]), saved["options"]
    dx = _gradient("grad_input", *arrays, options, look=False) if needs[0] else None
    dtarget = _gradient("grad_target", *arrays, options, look=False) if needs[1] else None
    return dx, dtarget


OPERATION = Operation(
    name="cross_entropy",
    formula=r"y = -\frac{1}{N} \sum_n \log \frac{e^{x_{n,t_n}}}{\sum_c e^{x_{n,c}}}",
    inputs=("x", "target"),
    record=record,
    backward=backward,
    passes=("forward", "grad_input", "grad_target"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
