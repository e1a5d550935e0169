"""Adaptive average pooling on the GPU: against the formula, one mean an image and any other number of windows."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.autograd import Tensor
from minicnn.backends import cuda
from minicnn.errors import AlgorithmError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import adaptive_avg_pool2d
from minicnn.ops.registry import algorithm

CASES = [
    *(((2, 3, 7, 5), size) for size in (1, 2, (3, 4), (7, 5), (9, 2), (1, 5), (7, 1))),
    *(((2, 8, 13, 11), size) for size in (1, (6, 4))),
    *(((1, 136, 3, 3), size) for size in (1, 2)),
    *(((3, 4, 1, 1), size) for size in (1, 2)),
    *(((0, 4, 3, 3), size) for size in (1, 2)),
    ((1, 4, 1, 300), (1, 7)),
    ((1, 1, 37, 41), 1),
]
CLOSE = {np.float32: 2e-6, np.float64: 1e-14}


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "size"), CASES)
def test_equals_formula(gpu, shape, size, dtype):
    x = normal(shape)
    with algorithm(adaptive_avg_pool2d="formula"):
        y = adaptive_avg_pool2d.forward(x, output_size=size)
        dy = normal(y.shape, seed=1)
        dx = adaptive_avg_pool2d.grad_input(dy, shape)
    found = on_gpu(adaptive_avg_pool2d.forward, x.astype(dtype), output_size=size)
    assert_close(found, y.astype(dtype), rtol=CLOSE[dtype], atol=0)
    found = on_gpu(adaptive_avg_pool2d.grad_input, dy.astype(dtype), x_shape=shape)
    assert_close(found, dx.astype(dtype), rtol=CLOSE[dtype], atol=0)


@pytest.mark.parametrize("size", [1, 3])
def test_nan_and_infinity(gpu, size):
    x = normal((2, 4, 6, 6))
    x[0, 1, 0, 0], x[1, 2, 5, 5], x[1, 3, 2, 2] = np.nan, np.inf, -np.inf
    with algorithm(adaptive_avg_pool2d="formula"):
        y = adaptive_avg_pool2d.forward(x, output_size=size)
    assert_close(on_gpu(adaptive_avg_pool2d.forward, x, output_size=size), y, nan_ok=True)


@pytest.mark.parametrize("size", [1, (3, 2)])
def test_on_the_tape(gpu, size):
    x = normal((2, 8, 5, 7))
    results = []
    for there in (lambda v: v, cuda.to_gpu):
        tensor = Tensor(there(x), requires_grad=True)
        y = F.adaptive_avg_pool2d(tensor, size)
        y.backward(there(normal(y.shape, seed=1)))
        results.append([cuda.to_cpu(y.array), cuda.to_cpu(tensor.grad.array)])
    for on_cpu, found in zip(*results, strict=True):
        assert_close(found, on_cpu)


def test_images_stay_channels_last(gpu):
    x = cuda.to_gpu(normal((2, 4, 6, 6)))
    for size in (1, 2):
        y = adaptive_avg_pool2d.forward(x, output_size=size)
        assert y.strides[1] == 8
        assert adaptive_avg_pool2d.grad_input(y, x.shape).strides == x.strides


def test_too_large_is_refused(gpu):
    """Before anything is computed; here there is no image at all."""
    dy = cuda.to_gpu(np.zeros((0, 1, 1, 50000)))
    with pytest.raises(AlgorithmError, match="below 2\\^31"):
        adaptive_avg_pool2d.grad_input(dy, (0, 1, 1, 50000))


def test_every_schedule(any_schedule):
    for shape, size in (((2, 8, 9, 7), 1), ((1, 3, 9, 7), 1), ((1, 8, 9, 7), (4, 2))):
        x = normal(shape, np.float32)
        y = on_gpu(adaptive_avg_pool2d.forward, x, output_size=size)
        dx = on_gpu(adaptive_avg_pool2d.grad_input, y, x_shape=shape)
        bits = [y.tobytes(), dx.tobytes()]
        assert FIRST.setdefault((shape, size), bits) == bits


FIRST: dict = {}  # what the first schedule gave
