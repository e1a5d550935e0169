"""Element-wise operations on the GPU: against the formula; broadcasting, sums over repeated axes, layouts, NaN."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.backends import cuda
from minicnn.errors import DeviceError
from minicnn.ops import elementwise
from minicnn.ops.registry import algorithm

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
PAIRS = [
    ((), ()),
    ((7,), (7,)),
    ((5,), ()),
    ((1,), (3, 1, 5)),
    ((2, 3, 5, 7), (2, 3, 5, 7)),
    ((2, 3, 5, 7), (3, 1, 1)),
    ((1, 3, 1, 7), (2, 1, 5, 1)),
    ((4, 1), (3,)),
    ((2, 1, 3, 1, 2), (1, 5, 1, 2, 1)),
    ((2, 1, 3, 1, 2, 1), (1, 3, 1, 2, 1, 2)),
    ((1, 3, 1, 2, 1, 2), (2, 1, 3, 1, 2, 1)),
    ((0, 3, 2, 2), (3, 1, 1)),
    ((257,), (1,)),
]
BINARY = ("add", "sub", "mul", "div")
UNARY = ("exp", "log", "sigmoid", "tanh")


def normal(shape, dtype=np.float64, seed=0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def gradients(name, dy, a, b, run):
    """da and db of a binary operation."""
    passes = [getattr(elementwise, f"{name}_grad_{side}") for side in "ab"]
    if name in ("add", "sub"):
        return run(passes[0], dy, a_shape=a.shape), run(passes[1], dy, b_shape=b.shape)
    da = run(passes[0], dy, b, a_shape=a.shape)
    return da, run(passes[1], dy, a, b) if name == "div" else run(passes[1], dy, a, b_shape=b.shape)


def call(function, *arguments, **options):
    return function(*arguments, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a_shape", "b_shape"), PAIRS)
@pytest.mark.parametrize("name", BINARY)
def test_two_operands_equal_the_formula(gpu, name, a_shape, b_shape, dtype):
    a, b = normal(a_shape, dtype), normal(b_shape, dtype, 1)
    forward = getattr(elementwise, f"{name}_forward")
    with algorithm(**{name: "formula"}):
        y = forward(a, b)
        dy = normal(y.shape, dtype, 2)
        expected = gradients(name, dy, a, b, call)
    assert_close(on_gpu(forward, a, b), y, rtol=0, atol=0)
    for found, value in zip(gradients(name, dy, a, b, on_gpu), expected, strict=True):
        assert_close(found, value, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", BINARY)
def test_infinity_nan_and_zero(gpu, name):
    special = np.array([0.0, -0.0, 1.0, -2.0, np.inf, -np.inf, np.nan], np.float32)
    a, b = special[:, None], special
    forward = getattr(elementwise, f"{name}_forward")
    with algorithm(**{name: "formula"}):
        y = forward(a, b)
    assert np.array_equal(on_gpu(forward, a, b), y, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (5,), (3, 1, 5), (2, 3, 5, 7), (0, 3)])
@pytest.mark.parametrize("name", UNARY)
def test_one_operand_equals_the_formula(gpu, name, shape, dtype):
    x, dy = np.asarray(5 * normal(shape), dtype), normal(shape, dtype, 1)
    if name == "log":
        x = np.asarray(abs(x))
    forward, backward = (getattr(elementwise, f"{name}_{kind}") for kind in ("forward", "grad_input"))
    with algorithm(**{name: "formula"}):
        y = forward(x)
        kept = x if name == "log" else y
        dx = backward(dy, kept)
    assert_close(on_gpu(forward, x), y, rtol=TOLERANCE[dtype], atol=0)
    assert_close(on_gpu(backward, dy, kept), dx, rtol=TOLERANCE[dtype], atol=0)


@pytest.mark.parametrize("exponent", [0, 1, 2, -1, 0.5, 3, 1.5, -2])
def test_powers(gpu, exponent):
    x, dy = np.array([0.0, -0.0, 0.5, 1.7, np.inf, np.nan, -3.0, -np.inf]), normal(8, seed=1)
    with algorithm(pow="formula"):
        y = elementwise.pow_forward(x, exponent=exponent)
        dx = elementwise.pow_grad_input(dy, x, exponent=exponent)
    assert_close(on_gpu(elementwise.pow_forward, x, exponent=exponent), y, rtol=1e-14, nan_ok=True)
    assert_close(on_gpu(elementwise.pow_grad_input, dy, x, exponent=exponent), dx, rtol=1e-14, nan_ok=True)


@pytest.mark.parametrize("name", UNARY)
def test_far_from_zero(gpu, name):
    x = np.array([-1e4, 1e4, -np.inf, np.inf, np.nan, 0, -0.0], np.float32)
    forward = getattr(elementwise, f"{name}_forward")
    with algorithm(**{name: "formula"}):
        y = forward(x)
    assert_close(on_gpu(forward, x), y, rtol=1e-6, nan_ok=True)


def test_too_many_axes(gpu):
    a, b = cuda.to_gpu(normal((2, 1) * 4)), cuda.to_gpu(normal((1, 2) * 4))
    with pytest.raises(DeviceError, match="too many axes for the GPU"):
        elementwise.add_forward(a, b)


def test_images_stay_channels_last(gpu):
    a, b, bias = normal((2, 3, 4, 5)), normal((2, 3, 4, 5), seed=1), normal((3, 1, 1), seed=2)
    x = cuda.to_gpu(a)
    for other in (b, bias):
        y = elementwise.add_forward(x, cuda.to_gpu(other))
        assert y.strides == x.strides
        assert np.array_equal(cuda.to_cpu(y), a + other)
    outer = elementwise.mul_forward(cuda.to_gpu(a[:, :1]), cuda.to_gpu(bias))
    assert outer.strides == x.strides
    assert np.array_equal(cuda.to_cpu(outer), a[:, :1] * bias)


def test_operands_of_different_layouts(gpu):
    a, b = normal((2, 3, 4, 5)), normal((2, 3, 5, 4), seed=1)
    found = elementwise.sub_forward(cuda.to_gpu(a), cuda.to_gpu(b).transpose(0, 1, 3, 2))
    assert np.array_equal(cuda.to_cpu(found), a - b.transpose(0, 1, 3, 2))


def test_a_view_that_begins_at_an_odd_address(gpu):
    a = normal(14, np.float32)
    x = cuda.to_gpu(a)
    assert np.array_equal(cuda.to_cpu(elementwise.add_forward(x[1:12], x[3:14])), a[1:12] + a[3:14])
    assert np.array_equal(cuda.to_cpu(elementwise.sub_forward(x[1:12], x[11:0:-1])), a[1:12] - a[11:0:-1])


def test_every_schedule(any_schedule):
    a, b = normal((3, 5, 7, 2)), normal((5, 1, 1), seed=1)
    assert np.array_equal(on_gpu(elementwise.add_forward, a, b), a + b)
    assert np.array_equal(on_gpu(elementwise.mul_forward, a, a), a * a)
    assert_close(on_gpu(elementwise.add_grad_b, a, b_shape=b.shape), a.sum((0, 2, 3))[:, None, None], rtol=1e-14)
