"""Matrix products and the linear layer on the GPU: against the formula; tiles, edges, splits, transposes, stacks."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.backends import cuda
from minicnn.ops import linear, matmul
from minicnn.ops.matmul import cuda as products
from minicnn.ops.registry import algorithm

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
STACKS = [
    ((7,), (7,)),
    ((3, 7), (7,)),
    ((7,), (7, 5)),
    ((1, 1), (1, 1)),
    ((65, 17), (17, 67)),
    ((0, 3), (3, 4)),
    ((2, 3, 5), (2, 5, 4)),
    ((2, 3, 5), (5, 4)),
    ((3, 5), (2, 1, 5, 4)),
    ((3, 1, 2, 3), (2, 3, 5)),
    ((2, 1, 3, 1, 2, 5), (3, 1, 2, 5, 1)),
    ((0, 3, 5), (5, 4)),
]


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a_shape", "b_shape"), STACKS)
def test_matmul_equals_the_formula(gpu, a_shape, b_shape, dtype):
    a, b = normal(a_shape, dtype), normal(b_shape, dtype, 1)
    with algorithm(matmul="formula"):
        y = matmul.forward(a, b)
        dy = normal(y.shape, dtype, 2)
        da, db = matmul.grad_a(dy, b, a.shape), matmul.grad_b(dy, a, b.shape)
    near = {"rtol": TOLERANCE[dtype], "atol": 0}
    assert_close(on_gpu(matmul.forward, a, b), y, **near)
    assert_close(on_gpu(matmul.grad_a, dy, b, a_shape=a.shape), da, **near)
    assert_close(on_gpu(matmul.grad_b, dy, a, b_shape=b.shape), db, **near)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("lead", "inputs", "outputs"), [((5,), 9, 7), ((1,), 70, 65), ((2, 3), 4, 1), ((0,), 3, 2)])
def test_linear_equals_the_formula(gpu, lead, inputs, outputs, dtype):
    x, w, b = normal((*lead, inputs), dtype), normal((outputs, inputs), dtype, 1), normal(outputs, dtype, 2)
    dy = normal((*lead, outputs), dtype, 3)
    near = {"rtol": TOLERANCE[dtype], "atol": 0}
    calls = [
        (linear.forward, x, w, b),
        (linear.forward, x, w),
        (linear.grad_input, dy, w),
        (linear.grad_weight, dy, x),
        (linear.grad_bias, dy),
    ]
    for function, *arrays in calls:
        with algorithm(linear="formula"):
            expected = function(*arrays)
        assert_close(on_gpu(function, *arrays), expected, **near)


def views(x):
    """The same matrix in two layouts on the GPU: row after row, and column after column."""
    return cuda.to_gpu(x), cuda.to_gpu(np.ascontiguousarray(x.T)).transpose(1, 0)


@pytest.mark.parametrize(("tile", "shape"), [(64, (70, 37, 66)), (128, (130, 19, 129))])
def test_every_tile_and_layout(gpu, tile, shape, monkeypatch):
    monkeypatch.setattr(products, "tile_size", lambda *_: tile)
    m, k, n = shape
    a, b, bias = normal((m, k), np.float32), normal((k, n), np.float32, 1), normal(n, np.float32, 2)
    expected = (a.astype(np.float64) @ b + bias).astype(np.float32)
    for left in views(a):
        for right in views(b):
            found = products.product(left, right, cuda.to_gpu(bias))
            assert_close(cuda.to_cpu(found), expected, rtol=1e-6, atol=0)


def test_large_products_take_large_tiles():
    assert products.tile_size(4096, 4096, 1, 4) == 128
    assert products.tile_size(4096, 4096, 1, 8) == 64
    assert products.tile_size(64, 4096, 64, 4) == 64
    assert products.tile_size(256, 512, 1, 4) == 64


@pytest.mark.parametrize("depth", [511, 512, 1030, 2500])
def test_a_long_sum_is_split(gpu, depth):
    a, b, bias = normal((3, depth)), normal((depth, 5), seed=1), normal(5, seed=2)
    found = products.product(cuda.to_gpu(a), cuda.to_gpu(b), cuda.to_gpu(bias))
    assert_close(cuda.to_cpu(found), a @ b + bias, rtol=1e-13)
    stack = products.product(cuda.to_gpu(np.stack([a, 2 * a])), cuda.to_gpu(b))
    assert_close(cuda.to_cpu(stack), np.stack([a @ b, 2 * a @ b]), rtol=1e-13)


def test_views_with_gaps(gpu):
    a, b = normal((12, 20)), normal((20, 9), seed=1)
    found = products.product(cuda.to_gpu(a)[1:9:3, ::-2], cuda.to_gpu(b)[::2, 8:2:-1])
    assert_close(cuda.to_cpu(found), a[1:9:3, ::-2] @ b[::2, 8:2:-1], rtol=1e-13)


def test_more_stacks_than_blocks(gpu, monkeypatch):
    monkeypatch.setattr(products, "MOST_BLOCKS", 3)
    a, b = normal((7, 2, 3)), normal((7, 3, 2), seed=1)
    assert_close(on_gpu(matmul.forward, a, b), a @ b, rtol=1e-14)


def test_nan_stays_in_its_row(gpu):
    a, b = normal((70, 5)), normal((5, 66), seed=1)
    a[67, 4] = np.nan
    b[2, 3] = np.inf
    assert_close(on_gpu(matmul.forward, a, b), a @ b, rtol=1e-13, nan_ok=True)


@pytest.mark.parametrize("tile", [64, 128])
def test_every_schedule(any_schedule, tile, monkeypatch):
    monkeypatch.setattr(products, "tile_size", lambda *_: tile)
    x, w, b = normal((67, 40), np.float32), normal((66, 40), np.float32, 1), normal(66, np.float32, 2)
    expected = (x.astype(np.float64) @ w.T + b).astype(np.float32)
    assert_close(on_gpu(linear.forward, x, w, b), expected, rtol=1e-6, atol=0)
