"""Runs a pass of an operation on the GPU, with arrays from the host and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.backends import cuda


def on_gpu(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """`function` with all NumPy arrays among its arguments moved to the GPU; its results as NumPy arrays."""
    arguments = tuple(_there(value) for value in arguments)
    return _back(function(*arguments, **{key: _there(value) for key, value in options.items()}))


def _there(value: Any) -> Any:
    return cuda.to_gpu(value) if isinstance(value, np.ndarray) else value


def _back(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_back, value))
    if value is None:
        return None
    assert not isinstance(value, np.ndarray), "the result left the GPU"
    return cuda.to_cpu(value)
