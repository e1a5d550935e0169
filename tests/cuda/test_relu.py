"""ReLU on the GPU: against the formula, any shape, layout and dtype; NaN; the same in every order of the threads."""

from __future__ import annotations

import numpy as np
import pytest
from on_gpu import on_gpu

from minicnn.backends import cuda
from minicnn.ops import relu
from minicnn.ops.registry import algorithm

SHAPES = [(), (1,), (7,), (3, 1, 5), (2, 3, 5, 7), (1, 1, 1, 1), (0, 3, 2, 2), (257,)]


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_formula(gpu, shape, dtype):
    x, dy = normal(shape, dtype), normal(shape, dtype, 1)
    if x.size > 3:
        x.flat[:3] = np.nan, 0, -np.inf
    with algorithm(relu="formula"):
        y = relu.forward(x)
        dx = relu.grad_input(dy, y)
    found = on_gpu(relu.forward, x)
    assert found.dtype == dtype
    assert np.array_equal(found, y, equal_nan=True)
    assert np.array_equal(on_gpu(relu.grad_input, dy, y), dx, equal_nan=True)


def test_images_stay_channels_last(gpu):
    x = cuda.to_gpu(normal((2, 3, 4, 5), np.float32))
    y = relu.forward(x)
    assert y.strides == x.strides
    assert relu.grad_input(x, y).strides == y.strides


def test_operands_of_different_layouts(gpu):
    y, dy = normal((2, 3, 4, 5)), normal((2, 3, 5, 4), seed=1)
    found = relu.grad_input(cuda.to_gpu(dy).transpose(0, 1, 3, 2), cuda.to_gpu(y))
    assert np.array_equal(cuda.to_cpu(found), np.where(y > 0, dy.transpose(0, 1, 3, 2), 0))


def test_every_schedule(any_schedule):
    x = normal((3, 5, 7, 2), np.float32)
    assert np.array_equal(on_gpu(relu.forward, x), np.maximum(x, 0))
