"""Mean squared error on the GPU: against the formula, with every reduction."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.ops import mse
from minicnn.ops.registry import algorithm

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-13}
SHAPES = [(), (7,), (3, 1, 5), (2, 3, 5, 7), (0, 3), (1000,)]


def check(shape, dtype, reduction):
    rng = np.random.default_rng(0)
    x, target = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    dy = np.asarray(rng.standard_normal(shape if reduction == "none" else ()), dtype)
    for function, *arrays in (
        (mse.forward, x, target),
        (mse.grad_input, dy, x, target),
        (mse.grad_target, dy, x, target),
    ):
        with algorithm(mse="formula"):
            expected = function(*arrays, reduction=reduction)
        found = on_gpu(function, *arrays, reduction=reduction)
        assert_close(found, expected, rtol=TOLERANCE[dtype], atol=0, nan_ok=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", mse.REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_formula(gpu, shape, reduction, dtype):
    check(shape, dtype, reduction)


def test_every_schedule(any_schedule):
    check((2, 3, 5, 7), np.float64, "mean")
