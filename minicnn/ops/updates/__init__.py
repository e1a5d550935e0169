"""The steps of the optimizers, each number of each array read and written once.

Formulas, with the gradient g, which first becomes g + weight_decay w::

    sgd            w -= lr g
    sgd_momentum   v = keep v + take g;   w -= lr v, or lr (g + ahead v) with `nesterov`
    adam           w = shrink w;   m += (1 - beta1) (g - m);   v = beta2 v + (1 - beta2) g^2;
                   w -= step_size m / (sqrt(v) / correction + eps)
    adamax         m += (1 - beta1) (g - m);   u = max(beta2 u, |g| + eps);   w -= step_size m / u
    adagrad        s += g^2;   w -= lr g / (sqrt(s) + eps)
    rmsprop        s = alpha s + (1 - alpha) g^2;   d = g / (sqrt(s) + eps);   w -= lr d
                   centered: a += (1 - alpha) (g - a), and s - a^2 in place of s below the root
                   with momentum: v = momentum v + d;   w -= lr v
    average        a += (1 - decay) (w - a)

Shapes: parameter w, gradient g and the optimizer's memory (a, m, s, u, v), all of one shape; changed in place, but for
g (and for w in `average`). They are not operations: nothing differentiates them.

| file | what | for |
|---|---|---|
| `formula.py` | NumPy: the yardstick | any float dtype, any strides |
| `loops.py` | compiled: one pass over memory | float32 and float64 in one piece of memory |
| `cuda.py`, `updates.cu` | one launch | arrays on the GPU |

The arrays decide which runs.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, device
from minicnn.backends.cuda import empty_like, memory_order
from minicnn.errors import DeviceError

DTYPES = (np.float32, np.float64)


def sgd(w: Array, g: Array, *settings: Any) -> None:
    """One step without momentum: `formula.sgd`."""
    _file(w, g).sgd(w, g, *settings)


def sgd_momentum(w: Array, g: Array, v: Array, *settings: Any) -> None:
    """One step with momentum: `formula.sgd_momentum`."""
    _file(w, g, v).sgd_momentum(w, g, v, *settings)


def adam(w: Array, g: Array, m: Array, v: Array, *settings: Any) -> None:
    """One step of Adam or AdamW: `formula.adam`."""
    _file(w, g, m, v).adam(w, g, m, v, *settings)


def adamax(w: Array, g: Array, m: Array, u: Array, *settings: Any) -> None:
    """One step of Adamax: `formula.adamax`."""
    _file(w, g, m, u).adamax(w, g, m, u, *settings)


def adagrad(w: Array, g: Array, s: Array, *settings: Any) -> None:
    """One step of Adagrad: `formula.adagrad`."""
    _file(w, g, s).adagrad(w, g, s, *settings)


def rmsprop(w: Array, g: Array, s: Array, a: Array | None, v: Array | None, *settings: Any) -> None:
    """One step of RMSprop: `formula.rmsprop`."""
    _file(w, g, *(x for x in (s, a, v) if x is not None)).rmsprop(w, g, s, a, v, *settings)


def average(a: Array, w: Array, decay: float) -> None:
    """Move an average towards a parameter: `formula.average`."""
    _file(a, w).average(a, w, decay)


def _file(*arrays: Any) -> ModuleType:
    """The module that takes these arrays, the one that is changed first; only that one is imported.

    Raises
    ------
    DeviceError
        Unless all are on one device.
    """
    first = arrays[0]
    if any(device(a) != device(first) for a in arrays):
        raise DeviceError(
            "a parameter, its gradient and the optimizer's memory of it are on different devices",
            called="step",
            seen=", ".join(map(device, arrays)),
            rule="all on the device of the parameter",
            hint="move the model first, then make the optimizer",
        )
    name = "cuda" if device(first) == "cuda" else "loops" if _are_lines(arrays) else "formula"
    return importlib.import_module(f"{__name__}.{name}")


def _are_lines(arrays: tuple[Any, ...]) -> bool:
    """Whether the loops take these arrays: of one float dtype and shape, contiguous, and the first can be changed."""
    first = arrays[0]
    return (
        isinstance(first, np.ndarray)
        and first.flags.writeable
        and all(
            isinstance(a, np.ndarray)
            and a.dtype == first.dtype
            and a.dtype in DTYPES
            and a.shape == first.shape
            and a.flags.c_contiguous
            for a in arrays
        )
    )


def zeros_like(w: Array) -> Array:
    """Zeros with shape, dtype, device and memory layout of a parameter."""
    return full_like(w, 0)


def full_like(w: Array, value: float) -> Array:
    """An array with shape, dtype, device and memory layout of a parameter, and one value everywhere."""
    if isinstance(w, np.ndarray):
        return np.full_like(w, value)
    made = empty_like(w)
    made.transpose(memory_order(made)).fill(made.dtype.type(value))
    return made
