"""Gradient checking: the gradients of the tape against central differences.

For a function y = f(x) and a *random* upstream gradient g, let L = sum(g * y). The tape says dL/dx; central differences say

    D(h) = (L(x + h) - L(x - h)) / 2h  =  dL/dx + O(h^2),      R = (4 D(h/2) - D(h)) / 3  =  dL/dx + O(h^4)

(R is Richardson's extrapolation). All in float64, for every entry of every input. A check with g = 1 is blind: it
cannot see a softmax whose gradient is zero, or a batch norm that forgets its mean.

Kinks: where L has a corner (ReLU at 0, a tie of max pooling) there is no derivative. If the step is what crosses the
corner, a smaller step does not; if the point sits on the corner itself, the slopes from the left and from the right
differ, and the tape's gradient must lie between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError, DTypeError, MinicnnError

STEPS = (1e-3, 1e-4, 1e-5)  # tried in turn, relative to 1 or to |x| if that is larger
MOST_KINKS = 0.5  # a check in which more than this share of the entries are kinks checks nothing


class GradientError(MinicnnError, AssertionError):
    """The tape's gradient and the central difference differ."""


@dataclass
class InputReport:
    """What was found for one input or parameter."""

    name: str
    shape: tuple[int, ...]
    checked: int = 0
    kinks: int = 0
    worst: float = 0.0
    index: tuple[int, ...] = ()
    analytic: float = 0.0
    numeric: float = 0.0
    problem: str = ""


@dataclass
class GradCheckReport:
    """The outcome of `gradcheck`: true if all gradients are right; printed, a table with the worst entry of each
    input."""

    tolerance: float
    inputs: list[InputReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.inputs) and not any(row.problem for row in self.inputs)

    @property
    def worst(self) -> float:
        """The largest relative error of all inputs."""
        return max((row.worst for row in self.inputs), default=float("nan"))

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        lines = [
            f"{'input':16} {'shape':>16} {'checked':>8} {'kinks':>6} {'rel. error':>11}  worst entry: tape, difference"
        ]
        for row in self.inputs:
            text = f"{list(row.index)}: {row.analytic:.9g}, {row.numeric:.9g}  {row.problem}"
            lines.append(
                f"{row.name:16} {row.shape!s:>16} {row.checked:8} {row.kinks:6} {row.worst:11.2e}  {text}".rstrip()
            )
        return "\n".join(lines)


def gradcheck(
    fn: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    parameters: dict[str, Tensor] | None = None,
    tolerance: float = 1e-6,
    sample: int | None = None,
    seed: int = 0,
    raise_error: bool = True,
) -> GradCheckReport:
    """Check the gradients of `fn` at `inputs`.

    Parameters
    ----------
    fn : callable
        Takes the inputs as Tensors; returns a Tensor or a tuple of Tensors. Must give the same bits when called twice.
    inputs : sequence of arrays or Tensors
        float64 inputs are checked; integer ones (labels) are passed on.
    parameters : dict of Tensors, optional
        Further float64 tensors that `fn` uses, `dict(model.named_parameters())` for example.
    tolerance : float
        Largest allowed relative error |tape - difference| / max(|tape|, |difference|). Entries that are tiny beside the
        largest of their tensor (or beside L) are compared on that scale, since a difference carries rounding errors.
    sample : int, optional
        Check so many random entries of each input instead of all (for large networks; the report says how many).
    seed : int
        For the upstream gradient and the sample.
    raise_error : bool
        False returns a report of a failed check instead of raising it.

    Raises
    ------
    GradientError
        With the table; names the worst entry.

    Examples
    --------
    >>> import numpy as np
    >>> from minicnn import gradcheck
    >>> bool(gradcheck(lambda x: x * x, [np.array([1.0, -2.0])]))
    True
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    tensors, checked = _prepare(inputs, parameters or {})
    outputs = _outputs(fn(*tensors))
    upstream = [rng.standard_normal(y.shape) for y in outputs]
    with no_grad():
        again = _outputs(fn(*tensors))
    if not all(np.array_equal(a.array, b.array, equal_nan=True) for a, b in zip(outputs, again, strict=True)):
        raise ArgumentError(
            "fn gives different values when called twice", called="gradcheck", hint="fix its randomness"
        )

    for tensor in checked.values():
        tensor.grad = None
    for k, (y, g) in enumerate(zip(outputs, upstream, strict=True)):
        if y.requires_grad:
            y.backward(g, retain_graph=k + 1 < len(outputs))

    def loss() -> float:
        with no_grad():
            return sum(float((y.array * g).sum()) for y, g in zip(_outputs(fn(*tensors)), upstream, strict=True))

    size = sum(float(np.abs(y.array * g).sum()) for y, g in zip(outputs, upstream, strict=True))
    report = GradCheckReport(tolerance)
    for name, tensor in checked.items():
        report.inputs.append(_check_one(name, tensor, loss, size, tolerance, sample, rng))
    if raise_error and not report.ok:
        bad = max((row for row in report.inputs if row.problem), key=lambda row: row.worst)
        raise GradientError(f"{bad.name}: {bad.problem}\n{report}", called="gradcheck", rule=f"error <= {tolerance:g}")
    return report


def _prepare(inputs: Sequence[Any], parameters: dict[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Copies of the inputs as tensors, and by name all those to check."""
    tensors, checked = [], {}
    for i, value in enumerate(inputs):
        array = value.array if isinstance(value, Tensor) else np.asarray(value)
        is_float = array.dtype.kind == "f"
        tensor = Tensor(array.copy(), requires_grad=is_float)
        tensors.append(tensor)
        if is_float:
            checked[f"input {i}"] = tensor
    checked.update(parameters)
    for name, tensor in checked.items():
        if tensor.dtype != np.float64:
            raise DTypeError(
                f"{name} is not float64", called="gradcheck", seen=str(tensor.dtype), hint="use float64, model.double()"
            )
    if not checked:
        raise ArgumentError("nothing to check", called="gradcheck", rule="at least one float64 input")
    return tensors, checked


def _outputs(result: Any) -> list[Tensor]:
    return [y for y in (result if isinstance(result, (tuple, list)) else [result]) if y.dtype.kind == "f"]


def _check_one(
    name: str, tensor: Tensor, loss: Callable[[], float], size: float, tolerance: float, sample: int | None, rng: Any
) -> InputReport:
    """Compare the gradient of one tensor, entry by entry."""
    row = InputReport(name, tensor.shape)
    if tensor.grad is None:
        row.problem, row.worst = "no gradient arrived", float("inf")
        return row
    grad = tensor.grad.array
    total = tensor.numel()
    chosen = range(total) if sample is None or sample >= total else np.sort(rng.choice(total, sample, replace=False))
    smallest = max(1e-3 * float(np.abs(grad).max(initial=0.0)), 1e-6 * size, 1e-300)
    for i in chosen:
        analytic = float(grad.flat[i])
        error, numeric, kink = _compare(tensor.array, int(i), analytic, loss, smallest, tolerance)
        row.checked += 1
        row.kinks += kink
        if not error <= row.worst:  # also when the error is NaN
            row.worst, row.analytic, row.numeric = error, analytic, numeric
            row.index = tuple(int(v) for v in np.unravel_index(int(i), tensor.shape))
        if error != error:
            break
    if not row.worst <= tolerance:
        row.problem = "wrong gradient" if row.worst == row.worst else "the gradient is NaN"
    elif row.checked and row.kinks > MOST_KINKS * row.checked:
        row.problem, row.worst = "most entries sit on kinks: choose other inputs", float("inf")
    return row


def _compare(
    x: np.ndarray, i: int, analytic: float, loss: Callable[[], float], smallest: float, tolerance: float
) -> tuple[float, float, bool]:
    """Relative error at entry i, the difference quotient, and whether the entry sits on a kink."""
    here = float(x.flat[i])
    best, quotient = float("inf"), float("nan")

    def at(shift: float) -> float:
        x.flat[i] = here + shift
        value = loss()
        x.flat[i] = here
        return value

    for step in STEPS:
        h = step * max(1.0, abs(here))
        right, left = at(h), at(-h)
        wide = (right - left) / (2 * h)
        narrow = (at(h / 2) - at(-h / 2)) / h
        numeric = (4 * narrow - wide) / 3
        error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), smallest)
        if error <= tolerance:
            return error, numeric, False
        if not error >= best:
            best, quotient = error, numeric
        if error != error:
            return error, numeric, False
    middle = loss()
    slopes = sorted(((right - middle) / h, (middle - left) / h))
    slack = 1e-3 * max(abs(slopes[0]), abs(slopes[1]), smallest)
    on_kink = slopes[1] - slopes[0] > 10 * slack
    if on_kink and slopes[0] - slack <= analytic <= slopes[1] + slack:
        return 0.0, quotient, True
    return best, quotient, on_kink
