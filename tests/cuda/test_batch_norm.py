"""Batch normalisation on the GPU: against the formula, any shape, layout and dtype; numbers hard to average."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.autograd import Tensor
from minicnn.backends import cuda, cuda_channels
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import batch_norm
from minicnn.ops.batch_norm import formula
from minicnn.ops.registry import algorithm

SHAPES = [
    (2, 1),
    (5, 3),
    (37, 8),
    (2, 1, 1, 1),
    (3, 5, 7, 3),
    (2, 12, 5, 1),
    (2, 136, 2, 3),
    (3, 4, 11),
    (2, 6, 2, 3, 2),
]
LONG = (3, 2, 41, 29)  # several blocks of rows, the last one not full
CLOSE = {np.float32: 3e-6, np.float64: 1e-13}


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32).astype(dtype)


def arrays(shape, dtype):
    """x, dy, weight, bias"""
    c = shape[1:2]
    return 3 + 2 * normal(shape, dtype), normal(shape, dtype, 1), normal(c, dtype, 2), normal(c, dtype, 3)


def doubles(*values):
    return [None if v is None else v.astype(np.float64) for v in values]


def assert_near(found, expected, dtype, **options):
    assert_close(found, expected.astype(dtype), rtol=CLOSE[dtype], atol=0, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [*SHAPES, LONG])
def test_equals_formula(gpu, shape, dtype):
    x, dy, weight, bias = arrays(shape, dtype)
    wide = doubles(x, dy, weight, bias)
    mean, var = on_gpu(batch_norm.statistics, x)
    true_mean, true_var = formula.statistics(wide[0])
    assert_near(mean, true_mean, dtype)
    assert_near(var, true_var, dtype)
    inv_std = on_gpu(batch_norm.inverse_std, var, 1e-5)
    mean_, var_, inv_ = doubles(mean, var, inv_std)
    assert_near(inv_std, formula.inverse_std(var_, 1e-5), dtype)
    y = on_gpu(batch_norm.forward, x, weight, bias, mean, var, eps=1e-5, training=True)
    assert_near(y, formula.forward(wide[0], wide[2], wide[3], mean_, var_, eps=1e-5, training=True), dtype)
    for training in (True, False):
        dx = on_gpu(batch_norm.grad_input, dy, x, weight, mean, inv_std, training=training)
        expected = formula.grad_input(wide[1], wide[0], wide[2], mean_, inv_, training=training)
        # two values a channel: dx is the small difference of large terms
        rtol = max(1, np.abs(wide[1]).max() * np.abs(inv_).max() * np.abs(weight).max() / np.abs(expected).max())
        assert_close(dx, expected.astype(dtype), rtol=CLOSE[dtype] * rtol, atol=0)
    assert_near(
        on_gpu(batch_norm.grad_weight, dy, x, mean, inv_std), formula.grad_weight(wide[1], wide[0], mean_, inv_), dtype
    )
    assert_near(on_gpu(batch_norm.grad_bias, dy), formula.grad_bias(wide[1]), dtype)


@pytest.mark.parametrize("left_out", ["weight", "bias", "both"])
def test_without_weight_or_bias(gpu, left_out):
    x, dy, weight, bias = arrays((3, 4, 5, 2), np.float64)
    weight = None if left_out in ("weight", "both") else weight
    bias = None if left_out in ("bias", "both") else bias
    mean, var = formula.statistics(x)
    y = on_gpu(batch_norm.forward, x, weight, bias, mean, var, eps=0.5, training=False)
    assert_near(y, formula.forward(x, weight, bias, mean, var, eps=0.5, training=False), np.float64)
    inv_std = formula.inverse_std(var, 0.5)
    dx = on_gpu(batch_norm.grad_input, dy, x, weight, mean, inv_std, training=True)
    assert_near(dx, formula.grad_input(dy, x, weight, mean, inv_std, training=True), np.float64)
    dx = on_gpu(batch_norm.grad_input, dy, None, weight, None, inv_std, training=False)
    assert_near(dx, formula.grad_input(dy, None, weight, None, inv_std, training=False), np.float64)


@pytest.mark.parametrize(("blocks", "least_rows"), [(1, 8), (3, 8), (1056, 1)])
def test_however_the_rows_are_cut(gpu, monkeypatch, blocks, least_rows):
    """Threads that take many rows, and more blocks than the second kernels have threads."""
    monkeypatch.setattr(cuda_channels, "BLOCKS", blocks)
    monkeypatch.setattr(cuda_channels, "LEAST_ROWS", least_rows)
    x, dy, weight, bias = arrays((3, 128, 19, 11), np.float32)
    wide = doubles(x, dy, weight, bias)
    mean, var = on_gpu(batch_norm.statistics, x)
    true_mean, true_var = formula.statistics(wide[0])
    assert_near(mean, true_mean, np.float32)
    assert_near(var, true_var, np.float32)
    inv_std = formula.inverse_std(var, 1e-5)
    mean_, var_, inv_ = doubles(mean, var, inv_std)
    y = on_gpu(batch_norm.forward, x, weight, bias, mean, var, eps=1e-5, training=True)
    assert_near(y, formula.forward(wide[0], wide[2], wide[3], mean_, var_, eps=1e-5, training=True), np.float32)
    dx = on_gpu(batch_norm.grad_input, dy, x, weight, mean, inv_std, training=True)
    assert_near(dx, formula.grad_input(wide[1], wide[0], wide[2], mean_, inv_, training=True), np.float32)
    dweight = on_gpu(batch_norm.grad_weight, dy, x, mean, inv_std)
    assert_near(dweight, formula.grad_weight(wide[1], wide[0], mean_, inv_), np.float32)


def test_variance_far_from_zero(gpu):
    x = (1000 + 0.01 * normal((4, 3, 37, 31))).astype(np.float32)
    mean, var = formula.statistics(x.astype(np.float64))
    found = on_gpu(batch_norm.statistics, x)
    assert_close(found[0], mean.astype(np.float32), rtol=1e-7)
    assert_close(found[1], var.astype(np.float32), rtol=3e-6, atol=0)


def test_variance_with_an_outlier_first(gpu):
    x = normal((4, 4, 37, 31), np.float32)
    x[0, :, 0, 0] = 1e5
    _, var = formula.statistics(x.astype(np.float64))
    found = on_gpu(batch_norm.statistics, x)
    assert_close(found[1], var.astype(np.float32), rtol=3e-6, atol=0)
    x[0, :, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        expected = formula.statistics(x)
    for value, true in zip(on_gpu(batch_norm.statistics, x), expected, strict=True):
        assert np.array_equal(value, true, equal_nan=True)


def test_constant_channels(gpu):
    x = np.full((2, 4, 5, 5), 7.7, np.float32)
    mean, var = on_gpu(batch_norm.statistics, x)
    assert (mean == np.float32(7.7)).all()
    assert (var == 0).all()


def test_nan_and_infinity_stay_in_their_channels(gpu):
    x = normal((2, 4, 9, 5), np.float32)
    x[1, 1, 2, 3] = np.nan
    x[1, 2, 8, 0] = -np.inf
    with np.errstate(invalid="ignore"):
        expected = formula.statistics(x)
    for value, true in zip(on_gpu(batch_norm.statistics, x), expected, strict=True):
        assert_close(value, true, rtol=1e-5, nan_ok=True)
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    y = on_gpu(batch_norm.forward, x, None, None, zero, one, eps=1e-5, training=False)
    assert_close(y, formula.forward(x, None, None, zero, one, eps=1e-5, training=False), rtol=1e-6, nan_ok=True)


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (0, 4)])
def test_no_images(gpu, shape):
    x, _, weight, bias = arrays(shape, np.float32)
    ones = np.ones(shape[1], np.float32)
    assert on_gpu(batch_norm.forward, x, weight, bias, ones, ones, eps=1e-5, training=False).shape == shape
    assert on_gpu(batch_norm.grad_input, x, None, weight, None, ones, training=False).shape == shape
    assert not on_gpu(batch_norm.grad_weight, x, x, ones, ones).any()
    assert not on_gpu(batch_norm.grad_bias, x).any()


def test_layouts(gpu):
    x, dy = normal((2, 8, 3, 5)), normal((2, 8, 5, 3), seed=1)
    inside = cuda.to_gpu(normal((2, 8, 5, 7)))[:, :, 1:4, 1:6]  # rows with gaps between them
    turned = cuda.to_gpu(dy).transpose(0, 1, 3, 2)
    assert_close(cuda.to_cpu(batch_norm.grad_bias(turned)), formula.grad_bias(dy))
    mean, _ = batch_norm.statistics(inside)
    assert_close(cuda.to_cpu(mean), formula.statistics(normal((2, 8, 5, 7))[:, :, 1:4, 1:6])[0])
    zeros, ones = (cuda.to_gpu(np.full(8, v, np.float64)) for v in (0, 1))
    there = cuda.to_gpu(x)
    y = batch_norm.forward(there, None, None, zeros, ones, eps=1e-5, training=False)
    assert y.strides == there.strides  # channels last


def test_an_odd_address_reads_number_by_number(gpu):
    numbers = normal((1 + 6 * 8,), np.float32)
    x = cuda.to_gpu(numbers)[1:].reshape(6, 8)
    assert cuda_channels.lanes(x) == 1
    mean, _ = batch_norm.statistics(x)
    assert_close(cuda.to_cpu(mean), numbers[1:].reshape(6, 8).mean(0), rtol=1e-6)


def test_update_running(gpu):
    old_mean, old_var, mean, var = (normal((5,), np.float32, seed) for seed in range(4))
    expected = batch_norm.update_running(old_mean, old_var, mean, var, 6, 0.3)
    found = on_gpu(batch_norm.update_running, old_mean, old_var, mean, var, 6, 0.3)
    for value, true in zip(found, expected, strict=True):
        assert_close(value, true, rtol=1e-6)


def test_training_moves_the_running_arrays_in_place(gpu):
    x, dy, weight, bias = arrays((3, 4, 5, 2), np.float64)
    results = []
    for there in (lambda v: v, cuda.to_gpu):
        tensors = [Tensor(there(v.copy()), requires_grad=True) for v in (x, weight, bias)]
        running = [Tensor(there(v)) for v in (np.zeros(4), np.ones(4))]
        before = [r.array for r in running]
        y = F.batch_norm(tensors[0], *running, *tensors[1:], training=True, momentum=0.2)
        assert all(r.array is b for r, b in zip(running, before, strict=True))
        y.backward(there(dy))
        z = F.batch_norm(tensors[0].detach(), *running, *tensors[1:], training=False)
        results.append([cuda.to_cpu(t) for t in (y.array, z.array, *before, *(t.grad.array for t in tensors))])
    for on_cpu, found in zip(*results, strict=True):
        assert_close(found, on_cpu, rtol=1e-12)


def test_split_covers_all_rows():
    for many in (1, 2, 63, 64, 65, 1000, 12544, 3211264):
        for channels, lanes in ((1, 1), (3, 1), (64, 4), (512, 4), (2048, 4), (100000, 4)):
            (across, down), (x, y), per_block = cuda_channels.split(many, channels, lanes)
            assert x * y <= 256
            assert per_block % y == 0
            assert (down - 1) * per_block < many <= down * per_block
            assert (across - 1) * x * lanes < channels <= across * x * lanes
            assert down <= 65535


def test_every_schedule(any_schedule):
    """Orders of threads differ; bits do not."""
    for shape in ((3, 6, 11, 9), (2, 8, 17, 9)):
        x, dy, *_ = arrays(shape, np.float32)
        found = [on_gpu(batch_norm.statistics, x), on_gpu(batch_norm.grad_bias, dy)]
        mean, var = found[0]
        inv_std = formula.inverse_std(var, 1e-5)
        found.append(on_gpu(batch_norm.grad_weight, dy, x, mean, inv_std))
        found.append(on_gpu(batch_norm.grad_input, dy, x, None, mean, inv_std, training=True))
        bits = [v.tobytes() for v in (*found[0], *found[1:])]
        assert FIRST.setdefault(shape, bits) == bits
        with algorithm(batch_norm="formula"):
            assert_close(found[1], batch_norm.grad_bias(dy), rtol=3e-6)


FIRST: dict = {}  # what the first schedule gave
