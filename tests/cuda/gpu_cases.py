"""Every operation as the tape calls it, on small arrays: what the checks of all CUDA kernels run.

The calls are those of the golden values (`golden/calls.py`), of `minicnn gradcheck` (`study/check_operations.py`), and
some larger ones.
Each is run once on the CPU by the formulas, in float64; what the tape asked of each operation on the way is a `Case`:
arrays, options, the result, and the gradients for a dy drawn at random. All numbers are such that float32 holds them
exactly, or they come from such numbers, so one expected result serves both dtypes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from golden.calls import CALLS, SEED

import minicnn
from minicnn.autograd import Tensor, observing
from minicnn.backends import cuda
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import batch_norm, max_pool2d
from minicnn.ops.registry import OPERATIONS, Operation, algorithm
from minicnn.study import check_operations

Arrays = tuple[np.ndarray | None, ...]
LARGER = {  # whole vectors of channels, more than one tile of a product, an empty batch
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, padding=1), (2, 8, 9, 8), (12, 8, 3, 3), (12,)),
    "conv2d, stride 2": (lambda x, w: F.conv2d(x, w, None, 2, 1), (1, 36, 9, 10), (72, 36, 3, 3)),
    "conv2d, 1 x 1": (lambda x, w: F.conv2d(x, w, None, 2), (2, 8, 6, 7), (20, 8, 1, 1)),
    "conv2d, no images": (lambda x, w, b: F.conv2d(x, w, b), (0, 4, 5, 5), (4, 4, 3, 3), (4,)),
    "conv_transpose2d": (lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1), (2, 12, 5, 4), (12, 8, 4, 4), (8,)),
    "conv_transpose2d, no images": (lambda x, w, b: F.conv_transpose2d(x, w, b), (0, 4, 5, 5), (4, 4, 3, 3), (4,)),
    "linear": (F.linear, (66, 36), (67, 36), (67,)),
    "matmul": (lambda a, b: a @ b, (67, 68), (68, 70)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), (2, 8, 9, 8)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), (2, 8, 9, 8)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, 1), (2, 40, 7, 7)),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        *((3, 40, 9, 5), (40,), (40,)),
    ),
    "batch_norm_relu": (
        lambda x, w, b, residual: F.batch_norm_relu(x, None, None, w, b, training=True, residual=residual),
        *((3, 40, 9, 5), (40,), (40,), (3, 40, 9, 5)),
    ),
    "batch_norm_relu, no residual": (
        lambda x, w, b: F.batch_norm_relu(x, None, None, w, b, training=True),
        *((3, 40, 9, 5), (40,), (40,)),
    ),
    "relu": (F.relu, (3, 40, 9, 5)),
    "softmax": (lambda x: F.softmax(x, 1), (5, 300)),
    "sum": (lambda x: x.sum(), (3, 40, 9, 5)),
    "mean": (lambda x: x.mean((0, 2, 3)), (3, 40, 9, 5)),
    "add": (lambda a, b: a + b, (3, 40, 9, 5), (1, 40, 1, 1)),
}


@dataclass(frozen=True)
class Case:
    """One call of an operation, and what the formula says."""

    label: str
    operation: str
    needs: tuple[bool, ...]
    arrays: Arrays
    options: dict[str, Any]
    dy: np.ndarray
    expected: Arrays  # y, then the gradient of each input

    def run(self, algorithm_name: str, dtype: Any) -> Arrays:
        """The same call on the GPU, by one algorithm: y and the gradients, as NumPy arrays."""
        op = OPERATIONS[self.operation]
        arrays = [_on_gpu(x, dtype) for x in self.arrays]
        options = {key: _on_gpu(value, dtype) for key, value in self.options.items()}
        with algorithm(**{self.operation: algorithm_name}):
            y, saved = op.record(self.needs, *arrays, **options)
            gradients = op.backward(self.needs, saved, _on_gpu(self.dy, dtype))
        return tuple(None if x is None else cuda.to_cpu(x) for x in (y, *gradients))


@dataclass(frozen=True)
class Direct:
    """A function that layers call beside the tape."""

    label: str
    operation: str
    function: Callable[..., Any]
    arrays: Arrays
    expected: Arrays

    def run(self, algorithm_name: str, dtype: Any) -> Arrays:
        """The same call on the GPU, by one algorithm, as NumPy arrays."""
        with algorithm(**{self.operation: algorithm_name}):
            found = self.function(*(_on_gpu(x, dtype) for x in self.arrays))
        return tuple(cuda.to_cpu(x) for x in (found if isinstance(found, tuple) else (found,)))


def on_gpu() -> list[Operation]:
    """All operations that have an algorithm for the GPU."""
    return [op for _, op in sorted(OPERATIONS.items()) if op.cuda]


def algorithms() -> list[tuple[str, str]]:
    """(operation, algorithm) of all algorithms for the GPU."""
    return [(op.name, name) for op in on_gpu() for name in op.cuda]


def cases(operation: str) -> list[Case | Direct]:
    """The cases of one operation."""
    return [case for case in all_cases() if case.operation == operation]


@functools.cache
def all_cases() -> list[Case | Direct]:
    """The cases of all operations; the calls run on the CPU when this is first asked for."""
    found: list[Case | Direct] = []
    rng = np.random.default_rng(SEED)
    minicnn.manual_seed(SEED)

    def observe(label: str, function: Callable[..., Any], *inputs: Tensor) -> None:
        def observer(op: Operation, inputs: Any, options: dict[str, Any], output: Tensor) -> None:
            dy = _short(rng.standard_normal(output.shape))
            gradients = op.backward(output.node.needs, output.node.saved, dy)
            arrays = tuple(None if x is None else x.array for x in inputs)
            expected = (output.array, *gradients)
            found.append(Case(label, op.name, output.node.needs, arrays, options, dy, expected))

        with algorithm(**dict.fromkeys(OPERATIONS, "formula")), observing(observer):
            function(*inputs)

    for label, call in CALLS.items():
        made = {key: _tensor(value, key not in call.constants) for key, value in call.inputs(rng).items()}
        observe(label, functools.partial(call.run, minicnn, F, **made))
    for name in OPERATIONS:
        for i, case in enumerate(check_operations.cases(name)):
            observe(f"gradcheck {i} of {name}", case.function, *(_tensor(value, True) for value in case.inputs))
    for label, (function, *shapes) in LARGER.items():
        observe(f"{label}, larger", function, *(_tensor(rng.standard_normal(shape), True) for shape in shapes))

    def direct(label: str, operation: str, function: Callable[..., Any], *arrays: np.ndarray) -> None:
        with algorithm(**dict.fromkeys(OPERATIONS, "formula")):
            expected = function(*arrays)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found.append(Direct(label, operation, function, arrays, expected))

    x, (mean, var, new_mean, new_var) = _short(3 + 2 * rng.standard_normal((3, 5, 4, 2))), _short(rng.random((4, 5)))
    direct("statistics", "batch_norm", batch_norm.statistics, x)
    update = functools.partial(batch_norm.update_running, count=7, momentum=0.25)
    direct("update_running", "batch_norm", update, mean, var, new_mean, new_var)
    direct("places in 64 bits", "max_pool2d", functools.partial(max_pool2d.forward, kernel_size=2), x)
    return found


def _short(values: Any) -> np.ndarray:
    """Floats rounded to what float32 holds, in float64; others as they are."""
    array = np.asarray(values)
    return array.astype(np.float32).astype(np.float64) if array.dtype.kind == "f" else array


def _tensor(values: np.ndarray, differentiable: bool) -> Tensor:
    array = _short(values)
    return Tensor(array, requires_grad=differentiable and array.dtype.kind == "f")


def _on_gpu(value: Any, dtype: Any) -> Any:
    """An array on the GPU, floats in `dtype`; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return cuda.to_gpu(value.astype(dtype) if value.dtype.kind == "f" else value)
