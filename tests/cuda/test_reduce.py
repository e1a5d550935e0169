"""Reductions on the GPU: against the formula, over any axes of any layout; ties, NaN, whole numbers, nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.backends import cuda
from minicnn.ops import reduce
from minicnn.ops.reduce import folds
from minicnn.ops.registry import algorithm

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
SHAPES = [(), (1,), (300,), (3, 1, 5), (2, 3, 5, 7), (4, 33, 2), (0, 3), (2, 2, 3, 2, 3)]


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def dims(ndim):
    """None, each axis, and all pairs and triples of axes."""
    several = itertools.chain(*(itertools.combinations(range(ndim), many) for many in (2, 3)))
    return [None, *range(ndim), *several]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_equals_formula(gpu, name, shape, dtype):
    forward, backward = (getattr(reduce, f"{name}_{kind}") for kind in ("forward", "grad_input"))
    x = np.round(normal(shape, dtype) * 3) if name == "max" else normal(shape, dtype)  # ties
    x = np.asarray(x, dtype)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype], "nan_ok": True}
    for dim, keepdim in itertools.product(dims(len(shape)), (False, True)):
        options = {"dim": dim, "keepdim": keepdim}
        if name == "max" and 0 in shape and not (isinstance(dim, int) and shape[dim]):
            continue
        with algorithm(**{name: "formula"}):
            y = forward(x, **options)
            dy = np.asarray(normal(y.shape, dtype, 1))
            rest = (x, y) if name == "max" else (x.shape,)
            dx = backward(dy, *rest, **options)
        assert_close(on_gpu(forward, x, **options), y, **near)
        assert_close(on_gpu(lambda g, *r, o=options: backward(g, *r, **o), dy, *rest), dx, **near)


def test_nan_is_the_largest(gpu):
    x = normal((3, 40))
    x[0, 3] = x[0, 20] = x[1, 39] = np.nan
    x[2] = -np.inf
    for dim in (0, 1, (0, 1)):
        with algorithm(max="formula"):
            y = reduce.max_forward(x, dim=dim)
            dy = np.asarray(normal(y.shape, seed=1))
            dx = reduce.max_grad_input(dy, x, y, dim=dim)
        assert_close(on_gpu(reduce.max_forward, x, dim=dim), y, rtol=0, nan_ok=True)
        assert_close(on_gpu(reduce.max_grad_input, dy, x, y, dim=dim), dx, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.int64])
def test_whole_numbers(gpu, dtype):
    x = np.random.default_rng(0).integers(-5, 5, (7, 9)).astype(dtype)
    for dim in (None, 0, 1):
        found = on_gpu(reduce.sum_forward, x, dim=dim)
        assert found.dtype == np.int64
        assert np.array_equal(found, x.sum(dim))
        assert np.array_equal(on_gpu(reduce.max_forward, x, dim=dim), x.max(dim))


@pytest.mark.parametrize("shape", [(5000,), (3, 5000), (5000, 3), (2, 1500, 33)])
def test_long_sums_are_folded_in_two_steps(gpu, shape, monkeypatch):
    x = normal(shape, np.float32)
    for least in (folds.LEAST, 2):
        monkeypatch.setattr(folds, "LEAST", least)
        for axis in range(x.ndim):
            expected = x.astype(np.float64).mean(axis).astype(np.float32)
            assert_close(on_gpu(reduce.mean_forward, x, dim=axis), expected, rtol=1e-6)
            assert np.array_equal(on_gpu(reduce.max_forward, x, dim=axis), x.max(axis))


def test_images_are_summed_as_they_lie(gpu):
    x = normal((2, 3, 5, 7))
    there = cuda.to_gpu(x)[:, :, 1:, ::2]
    assert_close(cuda.to_cpu(folds.sum_over(there, (0, 2, 3))), x[:, :, 1:, ::2].sum((0, 2, 3)), rtol=1e-14)
    dx = reduce.sum_grad_input(cuda.to_gpu(normal(3)), x.shape, dim=(0, 2, 3))
    assert dx.strides == cuda.to_gpu(x).strides


@pytest.mark.parametrize("dim", [0, 1, 2, (0, 2)])
def test_every_schedule(any_schedule, dim, monkeypatch):
    monkeypatch.setattr(folds, "LEAST", 2)
    x = normal((3, 70, 5))
    assert_close(on_gpu(reduce.sum_forward, x, dim=dim), x.sum(dim), rtol=1e-13)
    assert np.array_equal(on_gpu(reduce.max_forward, x, dim=dim), x.max(dim))
