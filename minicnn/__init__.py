"""minicnn: convolutional networks from the printed formula to the speed of the machine.

Floors, from the bottom: `backends` (arrays, compiling), `ops` (the mathematics), `autograd` (the tape), `nn` and
`optim` (layers, optimizers), `models`, `weights` and `data`, `training`, `study`, `cli`. Importing the package loads
the tape and the list of operations; compilers and file formats load when they are first used.
"""

import importlib
from typing import Any

from minicnn.autograd import Tensor, is_grad_enabled, no_grad
from minicnn.backends.random import manual_seed
from minicnn.errors import MinicnnError
from minicnn.functions import arange, cat, from_numpy, ones, rand, randn, tensor, zeros
from minicnn.gradcheck import gradcheck
from minicnn.ops.registry import algorithm, algorithms, register_algorithm, unregister_algorithm

__version__ = "0.1.0"

_LAZY = {"explain": "minicnn.study.explain", "explore": "minicnn.study.page", "fuse": "minicnn.models.fusion"}
_ROOMS = ("data", "models", "nn", "ops", "optim", "training", "weights")

__all__ = [
    "MinicnnError",
    "Tensor",
    "algorithm",
    "algorithms",
    "arange",
    "cat",
    "from_numpy",
    "gradcheck",
    "is_grad_enabled",
    "manual_seed",
    "no_grad",
    "ones",
    "rand",
    "randn",
    "register_algorithm",
    "tensor",
    "unregister_algorithm",
    "zeros",
    *_LAZY,
    *_ROOMS,
]


def __getattr__(name: str) -> Any:
    """Import a room of the house when it is first named: `minicnn.nn`, `minicnn.data`, ..."""
    if name in _ROOMS:
        return importlib.import_module(f"minicnn.{name}")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'minicnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
