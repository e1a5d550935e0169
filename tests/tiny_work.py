"""Every pass of every operation on shapes so small that measuring costs nothing."""

from __future__ import annotations

from typing import Any

from minicnn.ops.registry import OPERATIONS
from minicnn.study.work import passes

PASSES = [(name, pass_name) for name in OPERATIONS for pass_name in passes(name)]
IMAGES = {"shape": (2, 3, 6, 5)}
SHAPES: dict[str, dict[str, Any]] = {  # tiny, in the form that the operation wants; of images for all others
    "conv2d": {"shape": (2, 3, 7, 6), "kernel": (4, 3, 3)},
    "conv_transpose2d": {"shape": (2, 3, 5, 4), "kernel": (4, 3, 3)},
    **{name: {"shape": (6, 5), "kernel": (3,)} for name in ("linear", "matmul")},
    **{name: {"shape": (6, 5)} for name in ("softmax", "log_softmax", "cross_entropy", "index")},
    **{name: {"shape": (3, 2, 4), "kernel": (5,)} for name in ("rnn", "lstm", "gru")},
}


def tiny_shapes(name: str) -> dict[str, Any]:
    """Arguments of `work_of` for that operation."""
    return SHAPES.get(name, IMAGES)
