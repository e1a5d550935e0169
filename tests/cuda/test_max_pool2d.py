"""Max pooling on the GPU: value, winner and gradient equal the formula's bit for bit, with every option."""

from __future__ import annotations

import numpy as np
import pytest
from on_gpu import on_gpu

from minicnn.autograd import Tensor
from minicnn.backends import cuda
from minicnn.errors import DeviceError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import max_pool2d
from minicnn.ops.registry import algorithm

INF, NAN = np.inf, np.nan

CASES = [
    ((2, 3, 8, 8), {"kernel_size": 2}),
    ((2, 8, 7, 11), {"kernel_size": 2}),
    ((1, 2, 13, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((2, 12, 9, 17), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 136, 3, 5), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((3, 1, 1, 1), {"kernel_size": 1}),
    ((1, 1, 1, 300), {"kernel_size": (1, 4), "stride": (1, 1), "padding": (0, 2)}),
    ((2, 2, 5, 6), {"kernel_size": (3, 2), "stride": 1}),
    ((2, 2, 5, 7), {"kernel_size": (2, 3), "stride": (3, 4), "padding": (1, 0)}),
    ((1, 3, 11, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": (2, 3)}),
    ((1, 4, 9, 11), {"kernel_size": (4, 5), "stride": 1, "padding": 2, "dilation": 2}),
    ((2, 1, 6, 5), {"kernel_size": 2, "stride": 5}),
    ((2, 2, 6, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 2, 2, 2), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((1, 2, 9, 8), {"kernel_size": (2, 3), "stride": 3, "padding": 1, "dilation": 2, "ceil_mode": True}),
    ((0, 2, 6, 8), {"kernel_size": 3}),
]


def normal(shape, dtype, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def hard(shape, dtype) -> np.ndarray:
    """Ties, NaN and infinities."""
    values = np.array([-2, -1, 0, 1, NAN, INF, -INF, -INF, -INF], dtype)
    return np.random.default_rng(5).choice(values, shape)


def check(x, options):
    with algorithm(max_pool2d="formula"):
        y, winner = max_pool2d.forward(x, **options)
    found, places = on_gpu(max_pool2d.forward, x, **options)
    assert found.dtype == x.dtype
    assert places.dtype == np.int64
    assert np.array_equal(found, y, equal_nan=True)
    assert np.array_equal(places, winner)
    dy = normal(y.shape, x.dtype, 1)
    with algorithm(max_pool2d="formula"):
        dx = max_pool2d.grad_input(dy, winner, x.shape, **options)
    for kept in (winner, winner.astype(np.int32)):
        found = on_gpu(max_pool2d.grad_input, dy, kept, x_shape=x.shape, **options)
        assert found.dtype == x.dtype
        assert np.array_equal(found, dx)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", [normal, hard])
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_equals_formula(gpu, shape, options, values, dtype):
    check(values(shape, dtype), options)


def test_padding_never_wins(gpu):
    x = np.full((1, 4, 3, 3), -INF, np.float32)
    y, winner = on_gpu(max_pool2d.forward, x, kernel_size=3, stride=2, padding=1)
    assert (y == -INF).all()
    assert winner[0, 0].tolist() == [[0, 1], [3, 4]]


def test_layouts(gpu):
    x = normal((2, 4, 6, 8), np.float64)
    turned = cuda.to_gpu(x.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)  # columns lie where rows should
    y, winner = max_pool2d.forward(turned, kernel_size=2)
    with algorithm(max_pool2d="formula"):
        expected, places = max_pool2d.forward(x, kernel_size=2)
    assert np.array_equal(cuda.to_cpu(y), expected)
    assert np.array_equal(cuda.to_cpu(winner), places)
    assert y.strides[1] == winner.strides[1] == 8  # channels last, both of 8 bytes
    dx = max_pool2d.grad_input(cuda.to_gpu(np.ascontiguousarray(expected)), winner, x.shape, kernel_size=2)
    assert dx.strides[1] == 8


def test_on_the_tape(gpu):
    x, dy = normal((2, 8, 9, 7), np.float32), normal((2, 8, 5, 4), np.float32, 1)
    results = []
    for there in (lambda v: v, cuda.to_gpu):
        tensor = Tensor(there(x), requires_grad=True)
        y = F.max_pool2d(tensor, 3, 2, 1)
        y.backward(there(dy))
        results.append([cuda.to_cpu(y.array), cuda.to_cpu(tensor.grad.array)])
    assert y.node is not None
    for on_cpu, found in zip(*results, strict=True):
        assert np.array_equal(on_cpu, found)


def test_the_tape_keeps_places_of_32_bits(gpu):
    _, saved = max_pool2d.record((True,), cuda.to_gpu(normal((1, 4, 4, 4), np.float32)), kernel_size=2)
    assert saved["winner"].dtype == np.int32


def test_winner_on_the_other_device(gpu):
    dy, winner = np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1), np.int64)
    with pytest.raises(DeviceError):
        max_pool2d.grad_input(cuda.to_gpu(dy), winner, (1, 1, 2, 2), kernel_size=2)


def test_every_schedule(any_schedule):
    check(hard((2, 8, 9, 7), np.float32), {"kernel_size": 3, "stride": 2, "padding": 1})
