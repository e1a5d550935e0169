"""Every algorithm of every operation against central differences, on small odd shapes, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import minicnn.ops  # noqa: F401 (registers all operations)
from minicnn import nn
from minicnn.autograd import Tensor, apply
from minicnn.backends.arrays import moved
from minicnn.errors import AlgorithmError, MinicnnError
from minicnn.gradcheck import gradcheck
from minicnn.ops import batch_norm
from minicnn.ops.registry import OPERATIONS, algorithm, operation

F = nn.functional


@dataclass(frozen=True)
class Case:
    """A function of tensors, and float64 arrays to check it at."""

    function: Callable[..., Tensor]
    inputs: Sequence[np.ndarray]


@dataclass(frozen=True)
class Row:
    """What was found for one algorithm of one operation."""

    operation: str
    algorithm: str
    cases: int
    entries: int
    worst: float
    verdict: str

    @property
    def ok(self) -> bool:
        """Whether all gradients are right."""
        return self.verdict == "ok"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def names(chosen: str | None = None) -> list[str]:
    """Names of all operations, or the one that is asked for."""
    return sorted(OPERATIONS) if chosen is None else [operation(chosen).name]


def check_operation(name: str, device: str = "cpu") -> list[Row]:
    """One row for each built-in algorithm of that device, over the cases that it supports.

    Algorithms for the GPU that have no float64 are left out: rounding would hide a wrong gradient. Tests hold them
    against the formula.
    """
    made = cases(name)
    rows = []
    for algorithm_name in operation(name).cuda if device == "cuda" else operation(name).algorithms:
        run, entries, worst, verdict = 0, 0, 0.0, "ok"
        with algorithm(**{name: algorithm_name}):
            for case in made:
                try:
                    report = gradcheck(case.function, case.inputs, raise_error=False, device=device)
                except AlgorithmError:
                    continue
                except MinicnnError as error:
                    worst, verdict = float("inf"), str(error)
                    break
                run += 1
                entries += sum(row.checked for row in report.inputs)
                worst = max(worst, report.worst)
                if not report.ok:
                    verdict = next(f"{row.name}: {row.problem}" for row in report.inputs if row.problem)
        if verdict == "ok" and not run:
            if device == "cuda":
                continue
            verdict = "no case that it supports"
        rows.append(Row(name, algorithm_name, run, entries, worst, verdict))
    return rows


def cases(name: str) -> list[Case]:
    """The cases of one operation: odd, prime and non-square shapes, each option away from its default at least once."""
    return CASES[name](np.random.Generator(np.random.PCG64(0)))


def _with(x: Tensor, array: np.ndarray) -> Any:
    """The array, where x is."""
    return moved(array, x.device)


def _conv2d(rng: Any) -> list[Case]:
    draw = rng.standard_normal
    plain = (draw((2, 3, 7, 5)), draw((4, 3, 3, 2)), draw(4))
    grouped = (draw((1, 4, 8, 7)), draw((6, 2, 3, 3)), draw(6))
    square = (draw((2, 3, 7, 5)), draw((4, 3, 3, 3)), draw(4))
    return [
        Case(lambda x, w, b: F.conv2d(x, w, b, padding=1), square),
        Case(lambda x, w, b: F.conv2d(x, w, b, stride=(2, 3), padding=1), square),
        Case(lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 0), dilation=(1, 2)), plain),
        Case(lambda x, w, b: F.conv2d(x, w, b, stride=3, padding=2, groups=2), grouped),
    ]


def _conv_transpose2d(rng: Any) -> list[Case]:
    draw = rng.standard_normal
    F_ = F.conv_transpose2d
    decoder = (draw((2, 3, 3, 5)), draw((3, 4, 4, 4)), draw(4))
    grouped = (draw((1, 4, 3, 2)), draw((4, 3, 3, 2)), draw(6))
    dilated = (draw((2, 2, 3, 2)), draw((2, 3, 2, 3)), draw(3))
    return [
        Case(lambda x, w, b: F_(x, w, b, stride=2, padding=1), decoder),
        Case(lambda x, w, b: F_(x, w, b, stride=(3, 2), padding=(0, 2), output_padding=(2, 1), groups=2), grouped),
        Case(lambda x, w, b: F_(x, w, b, output_padding=(1, 2), padding=(1, 0), dilation=(2, 3)), dilated),
    ]


def _distinct(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values without ties, so that maxima have one winner."""
    return rng.permutation(int(np.prod(shape))).reshape(shape) / 7.0


def _max_pool2d(rng: Any) -> list[Case]:
    x = _distinct(rng, (2, 2, 7, 5))
    return [
        Case(lambda x: F.max_pool2d(x, 3, stride=2, padding=1), [x]),
        Case(lambda x: F.max_pool2d(x, (2, 3), stride=(2, 1), dilation=(2, 1), ceil_mode=True), [x]),
    ]


def _avg_pool2d(rng: Any) -> list[Case]:
    x = rng.standard_normal((2, 2, 7, 5))
    return [
        Case(lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True), [x]),
        Case(lambda x: F.avg_pool2d(x, (3, 2), stride=2, padding=(1, 0), count_include_pad=False), [x]),
    ]


def _adaptive_avg_pool2d(rng: Any) -> list[Case]:
    x = rng.standard_normal((2, 3, 7, 5))
    return [Case(lambda x, size=size: F.adaptive_avg_pool2d(x, size), [x]) for size in (1, (3, 2))]


def _batch_norm(rng: Any) -> list[Case]:
    inputs = (rng.standard_normal((3, 2, 3, 5)), rng.standard_normal(2), rng.standard_normal(2))
    mean, var = rng.standard_normal(2), rng.random(2) + 0.5

    def training(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        batch_mean, batch_var = batch_norm.statistics(x.array)
        return apply("batch_norm", x, w, b, mean=batch_mean, var=batch_var, eps=1e-5, training=True)

    def evaluation(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return apply("batch_norm", x, w, b, mean=_with(x, mean), var=_with(x, var), eps=1e-5, training=False)

    return [Case(training, inputs), Case(evaluation, inputs)]


def _batch_norm_relu(rng: Any) -> list[Case]:
    shape = (3, 2, 3, 5)
    inputs = (rng.standard_normal(shape), rng.standard_normal(2), rng.standard_normal(2), rng.standard_normal(shape))
    mean, var = rng.standard_normal(2), rng.random(2) + 0.5

    def training(x: Tensor, w: Tensor, b: Tensor, *residual: Tensor) -> Tensor:
        batch_mean, batch_var = batch_norm.statistics(x.array)
        return apply("batch_norm_relu", x, w, b, *residual, mean=batch_mean, var=batch_var, eps=1e-5, training=True)

    def evaluation(x: Tensor, w: Tensor, b: Tensor, residual: Tensor) -> Tensor:
        return apply(
            "batch_norm_relu", x, w, b, residual, mean=_with(x, mean), var=_with(x, var), eps=1e-5, training=False
        )

    return [Case(training, inputs), Case(training, inputs[:3]), Case(evaluation, inputs)]


def _cross_entropy(rng: Any) -> list[Case]:
    x, weight = rng.standard_normal((5, 4)), rng.random(4) + 0.5
    target = np.array([3, 0, 1, -100, 2])
    picture, labels = rng.standard_normal((2, 3, 2, 2)), rng.integers(0, 3, (2, 2, 2))
    return [
        Case(lambda x: F.cross_entropy(x, _with(x, target), weight=_with(x, weight), label_smoothing=0.1), [x]),
        Case(lambda x: F.cross_entropy(x, _with(x, labels), reduction="none"), [picture]),
    ]


def _dropout(rng: Any) -> list[Case]:
    mask = rng.random((3, 5)) < 0.6
    return [Case(lambda x: apply("dropout", x, mask=_with(x, mask), p=0.4), [rng.standard_normal((3, 5))])]


def _matmul(rng: Any) -> list[Case]:
    draw = rng.standard_normal
    return [
        Case(lambda a, b: a @ b, [draw((5, 7)), draw((7, 3))]),
        Case(lambda a, b: a @ b, [draw((2, 1, 3, 4)), draw((5, 4, 2))]),
    ]


def _linear(rng: Any) -> list[Case]:
    draw = rng.standard_normal
    return [Case(F.linear, [draw((3, 2, 7)), draw((5, 7)), draw(5)])]


def _unary(function: Callable[[Tensor], Tensor], positive: bool = False) -> Callable[[Any], list[Case]]:
    def make(rng: Any) -> list[Case]:
        x = rng.standard_normal((3, 5))
        return [Case(function, [np.abs(x) + 0.5 if positive else x])]

    return make


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any], list[Case]]:
    def make(rng: Any) -> list[Case]:
        return [Case(function, [rng.standard_normal((3, 1, 5)), np.abs(rng.standard_normal((2, 1))) + 0.5])]

    return make


def _add(rng: Any) -> list[Case]:
    images = [rng.standard_normal((2, 3, 4, 5)) for _ in range(2)]
    return [*_binary(lambda a, b: a + b)(rng), Case(lambda a, b: a + b, images)]


def _reduction(function: Callable[..., Tensor]) -> Callable[[Any], list[Case]]:
    def make(rng: Any) -> list[Case]:
        x = _distinct(rng, (3, 2, 5))
        return [Case(lambda x, dim=dim: function(x, dim), [x]) for dim in (None, 1)]

    return make


def _recurrent(name: str, gates: int, *several: dict[str, Any], states: int = 1) -> Callable[[Any], list[Case]]:
    """Each of `several` options: the first with biases, the others without."""

    def make(rng: Any) -> list[Case]:
        draw = rng.standard_normal
        weights = [draw((3 * gates, 2)), draw((3 * gates, 3)), draw(3 * gates), draw(3 * gates)]
        inputs = [draw((3, 2, 2)), *(draw((2, 3)) for _ in range(states)), *weights]
        return [
            Case(lambda *tensors, o=options: apply(name, *tensors, **o), inputs[: -2 if i else None])
            for i, options in enumerate(several)
        ]

    return make


CASES: dict[str, Callable[[Any], list[Case]]] = {
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "add": _add,
    "avg_pool2d": _avg_pool2d,
    "batch_norm": _batch_norm,
    "batch_norm_relu": _batch_norm_relu,
    "concatenate": lambda rng: [
        Case(lambda a, b: apply("concatenate", a, b, dim=1), [rng.standard_normal((2, 3)), rng.standard_normal((2, 2))])
    ],
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "cross_entropy": _cross_entropy,
    "div": _binary(lambda a, b: a / b),
    "dropout": _dropout,
    "exp": _unary(lambda x: x.exp()),
    "flatten": _unary(lambda x: x.reshape(3, 5, 1).flatten(1)),
    "gru": _recurrent("gru", 3, {"reverse": True}, {}),
    "index": _unary(lambda x: x[[0, 2, 0], 1:4]),
    "linear": _linear,
    "log": _unary(lambda x: x.log(), positive=True),
    "log_softmax": _unary(lambda x: F.log_softmax(x, 1)),
    "lstm": _recurrent("lstm", 4, {"reverse": True}, {}, states=2),
    "matmul": _matmul,
    "max": _reduction(lambda x, dim: x.max() if dim is None else x.max(dim)[0]),
    "max_pool2d": _max_pool2d,
    "mean": _reduction(lambda x, dim: x.mean(dim)),
    "mse": lambda rng: [Case(F.mse_loss, [rng.standard_normal((3, 5)), rng.standard_normal((3, 5))])],
    "mul": _binary(lambda a, b: a * b),
    "pow": _unary(lambda x: x**2.5, positive=True),
    "relu": _unary(F.relu),
    "reshape": _unary(lambda x: x.reshape(5, -1)),
    "rnn": _recurrent("rnn", 1, {"reverse": True}, {"nonlinearity": "relu"}),
    "sigmoid": _unary(F.sigmoid),
    "softmax": _unary(lambda x: F.softmax(x, 0)),
    "sub": _binary(lambda a, b: a - b),
    "sum": _reduction(lambda x, dim: x.sum(dim)),
    "tanh": _unary(F.tanh),
    "transpose": _unary(lambda x: x.reshape(3, 5, 1).permute(2, 0, 1)),
}
