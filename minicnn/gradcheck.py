"""Gradient checking: the gradients of the tape against central differences.

For y = f(x) and a *random* upstream gradient g, let L = sum(g * y). The tape says dL/dx; `differences.py` says the
same from values of L alone. All in float64, for every entry of every input. A check with g = 1 is blind: it cannot see
a softmax whose gradient is zero, or a batch norm that forgets its mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.backends.arrays import moved
from minicnn.differences import compare
from minicnn.errors import ArgumentError, DTypeError, MinicnnError

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
    """The outcome of `gradcheck`: true if all gradients are right; printed, a table of the worst entries."""

    tolerance: float
    inputs: list[InputReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all gradients are right."""
        return bool(self.inputs) and not any(row.problem for row in self.inputs)

    @property
    def worst(self) -> float:
        """The largest relative error of all inputs."""
        return max((row.worst for row in self.inputs), default=float("nan"))

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        head = ("input", "shape", "checked", "kinks", "rel. error", "worst entry: tape, difference")
        lines = ["{:16} {:>16} {:>8} {:>6} {:>11}  {}".format(*head)]
        for row in self.inputs:
            line = f"{row.name:16} {row.shape!s:>16} {row.checked:8} {row.kinks:6} {row.worst:11.2e}  "
            line += f"{list(row.index)}: {row.analytic:.9g}, {row.numeric:.9g}  {row.problem}"
            lines.append(line.rstrip())
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
    device: str = "cpu",
) -> GradCheckReport:
    """Check the gradients of `fn` at `inputs`.

    Parameters
    ----------
    fn : callable
        Takes the inputs as Tensors; returns a Tensor or a tuple of Tensors. Must give the same bits when called twice.
    inputs : sequence of arrays or Tensors
        float64 inputs are checked; integer ones (labels) are passed on. `fn` gets copies.
    parameters : dict of Tensors, optional
        Further float64 tensors that `fn` uses, `dict(model.named_parameters())` for example; left as they were.
    tolerance : float
        Largest allowed relative error |tape - difference| / max(|tape|, |difference|). Entries that are tiny beside the
        largest of their tensor (or beside L) are compared on that scale, since a difference carries rounding errors.
    sample : int, optional
        Check so many random entries of each input instead of all (for large networks; the report says how many).
    seed : int
        For the upstream gradient and the sample.
    raise_error : bool
        False returns a report of a failed check instead of raising it.
    device : str
        Where `fn` gets its inputs, `"cpu"` or `"cuda"`; further parameters can be checked on the CPU only.

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
    if sample is not None and sample < 1:
        raise ArgumentError("nothing to check", called="gradcheck", seen=f"sample={sample}", rule="sample >= 1")
    if not 0 < tolerance < 1:
        raise ArgumentError("tolerance is not valid", called="gradcheck", seen=f"{tolerance}", rule="between 0 and 1")
    rng = np.random.Generator(np.random.PCG64(seed))
    if parameters and device != "cpu":
        raise ArgumentError("parameters are checked on the CPU", called="gradcheck", seen=f"device={device!r}")
    tensors, checked = _prepare(inputs, parameters or {})

    def there() -> list[Tensor]:  # the inputs, where fn computes
        return tensors if device == "cpu" else [Tensor(moved(t.array, device), t.requires_grad) for t in tensors]

    given = there()
    outputs = _outputs(fn(*given))
    # never near 0, where the gradient of an output would not count
    upstream = [rng.uniform(0.5, 1.5, y.shape) * rng.choice((-1.0, 1.0), y.shape) for y in outputs]

    def products(outputs: list[Tensor]) -> np.ndarray:  # L = their sum
        return np.concatenate([(moved(y.array, "cpu") * g).ravel() for y, g in zip(outputs, upstream, strict=True)])

    def terms() -> np.ndarray:
        with no_grad():
            return products(_outputs(fn(*there())))

    here = products(outputs)
    if not np.array_equal(here, terms(), equal_nan=True):
        raise ArgumentError("fn gives different values when called twice", called="gradcheck", hint="fix its seed")
    if not np.isfinite(here).all():
        raise ArgumentError("fn is not finite at these inputs", called="gradcheck", hint="choose other inputs")

    leaves = {f"input {i}": tensor for i, tensor in enumerate(given) if tensor.requires_grad} | (parameters or {})
    gradients = _gradients(leaves, outputs, [moved(g, device) for g in upstream])
    report = GradCheckReport(tolerance)
    for name, tensor in checked.items():
        total = tensor.numel()
        some = sample is not None and sample < total
        chosen = np.sort(rng.choice(total, sample, replace=False)) if some else range(total)
        report.inputs.append(_check_one(name, tensor.array, gradients[name], chosen, terms, tolerance))
    if raise_error and not report.ok:
        bad = max((row for row in report.inputs if row.problem), key=lambda row: row.worst)
        place = f"{bad.name}{list(bad.index) or ''}"
        raise GradientError(f"{place}: {bad.problem}\n{report}", called="gradcheck", rule=f"error <= {tolerance:g}")
    return report


def _prepare(inputs: Sequence[Any], parameters: dict[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Copies of the inputs as tensors, and by name all those to check."""
    if not isinstance(inputs, (list, tuple)):
        seen = type(inputs).__name__
        raise ArgumentError("inputs is not a list", called="gradcheck", seen=seen, hint="gradcheck(fn, [x])")
    arrays = [value.array if isinstance(value, Tensor) else np.asarray(value) for value in inputs]
    tensors = [Tensor(array.copy(), requires_grad=array.dtype.kind == "f") for array in arrays]
    checked = {f"input {i}": tensor for i, tensor in enumerate(tensors) if tensor.requires_grad} | parameters
    for name, tensor in checked.items():
        if tensor.dtype != np.float64:
            raise DTypeError(
                f"{name} is not float64", called="gradcheck", seen=str(tensor.dtype), hint="use float64, model.double()"
            )
    if not any(tensor.numel() for tensor in checked.values()):
        raise ArgumentError("nothing to check", called="gradcheck", rule="at least one float64 value goes in")
    return tensors, checked


def _outputs(result: Any) -> list[Tensor]:
    """What `fn` returned, as a list of floating point tensors."""
    results = result if isinstance(result, (tuple, list)) else [result]
    if strange := [type(y).__name__ for y in results if not isinstance(y, Tensor)]:
        raise ArgumentError("fn does not return Tensors", called="gradcheck", seen=", ".join(strange))
    outputs = [y for y in results if y.dtype.kind == "f"]
    if not any(y.numel() for y in outputs):
        raise ArgumentError("nothing to check", called="gradcheck", rule="at least one floating point value comes out")
    return outputs


def _gradients(checked: dict[str, Tensor], outputs: list[Tensor], upstream: list[np.ndarray]) -> dict[str, Any]:
    """What the tape says, by name, as arrays or None; the tensors' own `.grad` stays as it was."""
    before = {name: tensor.grad for name, tensor in checked.items()}
    for tensor in checked.values():
        tensor.grad = None
    for k, (y, g) in enumerate(zip(outputs, upstream, strict=True)):
        if y.requires_grad:
            y.backward(g, retain_graph=k + 1 < len(outputs))
    after = {name: None if tensor.grad is None else moved(tensor.grad.array, "cpu") for name, tensor in checked.items()}
    for name, tensor in checked.items():
        tensor.grad = before[name]
    return after


def _check_one(
    name: str, x: np.ndarray, grad: Any, chosen: Iterable[int], terms: Callable[[], np.ndarray], tolerance: float
) -> InputReport:
    """Compare the gradient of one array, entry by entry."""
    row = InputReport(name, x.shape)
    if grad is None:
        row.problem, row.worst = "no gradient arrived", math.inf
        return row
    if not np.isfinite(grad).all():
        index = tuple(np.argwhere(~np.isfinite(grad))[0].tolist())
        return InputReport(name, x.shape, 0, 0, math.inf, index, float(grad[index]), math.nan, "not finite")
    smallest = max(1e-3 * float(np.abs(grad).max(initial=0.0)), 1e-300)
    for i in map(int, chosen):
        analytic = float(grad.flat[i])
        error, numeric, kink = compare(x, i, analytic, terms, smallest, tolerance)
        row.checked += 1
        row.kinks += kink
        if error > row.worst:
            row.worst, row.analytic, row.numeric = error, analytic, numeric
            row.index = tuple(int(v) for v in np.unravel_index(i, x.shape))
    if not row.worst <= tolerance:
        row.problem = "wrong gradient"
    elif row.kinks > MOST_KINKS * row.checked:
        row.problem, row.worst = "most entries sit on kinks: choose other inputs", math.inf
        row.index = ()
    return row
