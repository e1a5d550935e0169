"""Average pooling on the GPU: against the formula, with every option."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.autograd import Tensor
from minicnn.backends import cuda
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import avg_pool2d
from minicnn.ops.registry import algorithm

CASES = [
    ((2, 3, 8, 8), {"kernel_size": 2}),
    ((2, 8, 7, 11), {"kernel_size": 2}),
    ((1, 2, 13, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((2, 12, 9, 17), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((1, 136, 3, 5), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((3, 1, 1, 1), {"kernel_size": 1}),
    ((1, 1, 1, 300), {"kernel_size": (1, 4), "stride": 1, "padding": (0, 2)}),
    ((2, 2, 5, 7), {"kernel_size": (2, 3), "stride": (3, 4), "padding": (1, 0)}),
    ((2, 1, 6, 5), {"kernel_size": 2, "stride": 5}),
    ((2, 2, 6, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 2, 2, 2), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 4, 5, 5), {"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True}),
    ((0, 2, 6, 8), {"kernel_size": 3}),
]
CLOSE = {np.float32: 2e-6, np.float64: 1e-14}


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_equals_formula(gpu, shape, options, include, dtype):
    options = {**options, "count_include_pad": include}
    x = normal(shape)
    with algorithm(avg_pool2d="formula"):
        y = avg_pool2d.forward(x, **options)
        dy = normal(y.shape, seed=1)
        dx = avg_pool2d.grad_input(dy, shape, **options)
    found = on_gpu(avg_pool2d.forward, x.astype(dtype), **options)
    assert_close(found, y.astype(dtype), rtol=CLOSE[dtype], atol=0)
    found = on_gpu(avg_pool2d.grad_input, dy.astype(dtype), x_shape=shape, **options)
    assert_close(found, dx.astype(dtype), rtol=CLOSE[dtype], atol=0)


def test_nan_and_infinity(gpu):
    x = normal((2, 4, 6, 6))
    x[0, 1, 0, 0], x[1, 2, 5, 5], x[1, 3, 2, 2] = np.nan, np.inf, -np.inf
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    with algorithm(avg_pool2d="formula"):
        y = avg_pool2d.forward(x, **options)
    assert_close(on_gpu(avg_pool2d.forward, x, **options), y, nan_ok=True)


def test_on_the_tape(gpu):
    x = normal((2, 8, 5, 7))
    results = []
    for there in (lambda v: v, cuda.to_gpu):
        tensor = Tensor(there(x), requires_grad=True)
        y = F.avg_pool2d(tensor, 3, 2, 1, ceil_mode=True)
        y.backward(there(normal(y.shape, seed=1)))
        results.append([cuda.to_cpu(y.array), cuda.to_cpu(tensor.grad.array)])
    for on_cpu, found in zip(*results, strict=True):
        assert_close(found, on_cpu)


def test_layouts(gpu):
    x = normal((2, 4, 6, 8))
    turned = cuda.to_gpu(x.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)  # columns lie where rows should
    y = avg_pool2d.forward(turned, kernel_size=2)
    assert y.strides[1] == 8
    with algorithm(avg_pool2d="formula"):
        assert_close(cuda.to_cpu(y), avg_pool2d.forward(x, kernel_size=2))


def test_every_schedule(any_schedule):
    x, options = normal((2, 8, 9, 7), np.float32), {"kernel_size": 3, "stride": 2, "padding": 1}
    y = on_gpu(avg_pool2d.forward, x, **options)
    bits = [y.tobytes(), on_gpu(avg_pool2d.grad_input, y, x_shape=x.shape, **options).tobytes()]
    assert FIRST.setdefault("bits", bits) == bits


FIRST: dict = {}  # what the first schedule gave
