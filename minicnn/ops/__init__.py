"""Floor 2: the mathematics. One folder an operation; pure functions on arrays, no `Tensor`.

Read an operation's `__init__.py` first (formula, shapes, passes), then its algorithms from `formula.py` (as printed)
to the fastest. `registry.py` says how an algorithm is chosen and how to add one's own.
"""

from minicnn.ops import (
    adaptive_avg_pool2d,
    avg_pool2d,
    batch_norm,
    batch_norm_relu,
    conv2d,
    conv_transpose2d,
    cross_entropy,
    dropout,
    elementwise,
    gru,
    linear,
    lstm,
    matmul,
    max_pool2d,
    mse,
    reduce,
    relu,
    rnn,
    shape,
    softmax,
)

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_relu",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "elementwise",
    "gru",
    "linear",
    "lstm",
    "matmul",
    "max_pool2d",
    "mse",
    "reduce",
    "relu",
    "rnn",
    "shape",
    "softmax",
]
