"""Cross-entropy on the GPU: against the formula with every option; labels out of range are found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn import Tensor
from minicnn.backends import cuda
from minicnn.errors import ArgumentError, DeviceError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import cross_entropy
from minicnn.ops.registry import algorithm

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
SHAPES = [(7, 5), (1, 1), (33, 10), (3, 300), (2, 5, 3, 2), (2, 3, 4), (6,)]


def case(shape, dtype, probabilities):
    """x, target and class weights."""
    rng = np.random.default_rng(len(shape))
    x = np.asarray(3 * rng.standard_normal(shape), dtype)
    classes = shape[1] if len(shape) > 1 else shape[0]
    weight = rng.uniform(0.5, 2, classes).astype(dtype)
    if probabilities:
        return x, rng.uniform(0, 1, shape).astype(dtype), weight
    positions = shape[:1] + shape[2:] if len(shape) > 1 else ()
    labels = np.asarray(rng.integers(0, classes, positions))
    if labels.size > 2:
        labels[0] = -100
    return x, labels, weight


def check(x, target, weight, **options):
    near = {"rtol": TOLERANCE[x.dtype.type], "atol": 1e-12, "nan_ok": True}
    with algorithm(cross_entropy="formula"), np.errstate(all="ignore"):
        y = cross_entropy.forward(x, target, weight, **options)
        dy = np.asarray(np.random.default_rng(9).standard_normal(y.shape), x.dtype)
        dx = cross_entropy.grad_input(dy, x, target, weight, **options)
        dtarget = cross_entropy.grad_target(dy, x, target, weight, **options) if target.dtype.kind == "f" else None
    assert_close(on_gpu(cross_entropy.forward, x, target, weight, **options), y, **near)
    assert_close(on_gpu(cross_entropy.grad_input, dy, x, target, weight, **options), dx, **near)
    if dtarget is not None:
        assert_close(on_gpu(cross_entropy.grad_target, dy, x, target, weight, **options), dtarget, **near)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_formula(gpu, shape, probabilities, dtype):
    x, target, weight = case(shape, dtype, probabilities)
    for reduction, smoothing, weights in itertools.product(("mean", "sum", "none"), (0.0, 0.1), (None, weight)):
        check(x, target, weights, reduction=reduction, label_smoothing=smoothing)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_no_positions_and_none_that_counts(gpu, reduction):
    check(np.zeros((0, 3)), np.zeros(0, int), None, reduction=reduction)
    check(np.zeros((2, 3)), np.array([1, 1]), None, reduction=reduction, ignore_index=1)
    check(np.ones((2, 3)), np.array([0, 7]), np.zeros(3), reduction=reduction, ignore_index=7)


def test_infinity_and_nan(gpu):
    x = np.random.default_rng(0).standard_normal((6, 4))
    x[0, 1], x[1, 0], x[2], x[3, 2], x[4, 3] = -np.inf, -np.inf, -np.inf, np.inf, np.nan
    labels = np.array([1, 1, 2, 2, 0, 3])
    check(x, labels, None, reduction="none")
    check(x, np.eye(4)[labels], None, reduction="none")


@pytest.mark.parametrize("kind", [np.int32, np.uint8])
def test_other_whole_numbers(gpu, kind):
    x, labels, _ = case((7, 5), np.float64, False)
    check(x, np.maximum(labels, 0).astype(kind), None)


def test_a_label_out_of_range(gpu):
    x = cuda.to_gpu(np.zeros((3, 4, 2), np.float32))
    labels = np.array([[0, 1], [2, 4], [-1, 3]])
    with pytest.raises(ArgumentError, match=r"target\[1, 1\] = 4, 4 classes.*labels count from 0"):
        cross_entropy.forward(x, cuda.to_gpu(labels))
    with pytest.raises(ArgumentError, match=r"target\[2, 0\] = -1"):
        cross_entropy.forward(x, cuda.to_gpu(labels), ignore_index=4)
    with pytest.raises(ArgumentError, match=r"target = 9"):
        cross_entropy.forward(x[0, :, 0], cuda.to_gpu(np.array(9)))


def test_labels_on_another_device(gpu):
    with pytest.raises(DeviceError, match="x on cuda, target on cpu"):
        cross_entropy.forward(cuda.to_gpu(np.zeros((3, 4))), np.zeros(3, int))


def test_on_the_tape(gpu):
    x, labels, weight = case((7, 5), np.float64, False)
    results = []
    for move in (np.copy, cuda.to_gpu):
        scores = Tensor(move(x), requires_grad=True)
        loss = F.cross_entropy(scores, Tensor(move(labels)), Tensor(move(weight)), label_smoothing=0.2)
        loss.backward()
        results.append((loss.item(), cuda.to_cpu(scores.grad.array)))
    assert np.isclose(results[0][0], results[1][0], rtol=1e-14)
    assert_close(results[1][1], results[0][1], rtol=1e-13)


def test_every_schedule(any_schedule):
    for probabilities in (False, True):
        x, target, weight = case((3, 40, 2, 3), np.float64, probabilities)
        check(x, target, weight, label_smoothing=0.1)
