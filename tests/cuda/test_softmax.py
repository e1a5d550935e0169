"""Softmax and log-softmax on the GPU: against the formula, along every axis, with infinities and NaN."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.backends import cuda
from minicnn.ops import softmax
from minicnn.ops.registry import algorithm

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
SHAPES = [(1,), (7,), (300,), (3, 1), (5, 10), (2, 3, 5, 7), (2, 33, 4, 3), (0, 3), (3, 700)]


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(3 * np.random.default_rng(seed).standard_normal(shape), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_equals_formula(gpu, name, shape, dtype):
    forward, backward = (getattr(softmax, f"{name}_{kind}") for kind in ("forward", "grad_input"))
    x, dy = normal(shape, dtype), normal(shape, dtype, 1)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for dim in range(-1, len(shape) - 1):
        if shape[dim] == 0:
            continue
        with algorithm(**{name: "formula"}):
            y = forward(x, dim=dim)
            dx = backward(dy, y, dim=dim)
        assert_close(on_gpu(forward, x, dim=dim), y, **near)
        assert_close(on_gpu(backward, dy, y, dim=dim), dx, **near)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_infinity_and_nan(gpu, name):
    forward = getattr(softmax, f"{name}_forward")
    x = normal((6, 5), np.float32)
    x[0, 1], x[1, 2], x[2, 3], x[3], x[4] = -np.inf, np.inf, np.nan, -np.inf, 1e30
    with algorithm(**{name: "formula"}), np.errstate(divide="ignore"):
        y = forward(x)
    assert_close(on_gpu(forward, x), y, rtol=1e-6, nan_ok=True)


def test_images_stay_channels_last(gpu):
    x = cuda.to_gpu(normal((2, 3, 4, 5)))
    y = softmax.softmax_forward(x, dim=1)
    assert y.strides == x.strides
    dy = cuda.to_gpu(normal((2, 3, 5, 4), seed=1)).transpose(0, 1, 3, 2)
    dx = softmax.softmax_grad_input(dy, y, dim=1)
    assert dx.strides == x.strides
    with algorithm(softmax="formula"):
        expected = softmax.softmax_grad_input(cuda.to_cpu(dy), cuda.to_cpu(y), dim=1)
    assert_close(cuda.to_cpu(dx), expected, rtol=1e-13)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_every_schedule(any_schedule, dim):
    x, dy = normal((3, 40, 5)), normal((3, 40, 5), seed=1)
    with algorithm(softmax="formula"):
        y = softmax.softmax_forward(x, dim=dim)
        dx = softmax.softmax_grad_input(dy, y, dim=dim)
    assert_close(on_gpu(softmax.softmax_forward, x, dim=dim), y, rtol=1e-13)
    assert_close(on_gpu(softmax.softmax_grad_input, dy, y, dim=dim), dx, rtol=1e-13)
