"""The steps of the optimizers, each number of each array read and written once.

Formulas, with the gradient g, which first becomes g + weight_decay w::

    sgd            w -= lr g
    sgd_momentum   v = keep v + take g;   w -= lr v, or lr (g + ahead v) with `nesterov`
    adam           m += (1 - beta1) (g - m);   v = beta2 v + (1 - beta2) g^2;
                   w -= step_size m / (sqrt(v) / correction + eps)

Shapes: parameter w, gradient g and the optimizer's memory (v, or m and v), all of one shape; changed in place. They are
not operations: nothing differentiates them. `loops.py` runs on the CPU, `cuda.py` on the GPU; the array decides.
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


def _of(w: Array) -> ModuleType:
    """The module for the device of w; only that one is imported."""
    return importlib.import_module(f"{__name__}.{'cuda' if device(w) == 'cuda' else 'loops'}")


def sgd(w: Array, *arguments: Any) -> None:
    """One step without momentum: `loops.sgd`."""
    _of(w).sgd(w, *arguments)


def sgd_momentum(w: Array, *arguments: Any) -> None:
    """One step with momentum: `loops.sgd_momentum`."""
    _of(w).sgd_momentum(w, *arguments)


def adam(w: Array, *arguments: Any) -> None:
    """One step of Adam: `loops.adam`."""
    _of(w).adam(w, *arguments)


def fits(*arrays: Any) -> bool:
    """Whether the kernels take these arrays, the parameter first: of one float dtype and shape; NumPy's contiguous.

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
    if device(first) == "cuda":
        return True
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
    if isinstance(w, np.ndarray):
        return np.zeros_like(w)
    made = empty_like(w)
    made.transpose(memory_order(made)).fill(0)
    return made
