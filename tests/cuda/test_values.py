"""What the tape does itself with arrays on the GPU: constants, sums of gradients, comparisons, places of maxima."""

from __future__ import annotations

import numpy as np
import pytest
from on_gpu import on_gpu

from minicnn import Tensor
from minicnn.backends import cuda
from minicnn.errors import DeviceError
from minicnn.ops import values
from minicnn.study.emulator import emulated


def normal(shape, seed=0, dtype=np.float64) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def leaf(array) -> Tensor:
    return Tensor(cuda.to_gpu(array), requires_grad=True)


def host(tensor) -> np.ndarray:
    return cuda.to_cpu(tensor.array)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4, 5)])
def test_backward_of_a_sum_of_uses(gpu, shape):
    a, b = normal(shape), normal(shape, 1)
    x, y = leaf(a), leaf(b)
    (2.0 * x * y + x - y / 4 + x).backward(normal(shape, 2).tolist())
    dy = normal(shape, 2)
    assert np.allclose(host(x.grad), dy * (2 * b + 2), rtol=1e-14)
    assert np.allclose(host(y.grad), dy * (2 * a - 0.25), rtol=1e-14)
    (x * y).backward(cuda.to_gpu(dy))
    assert np.allclose(host(x.grad), dy * (3 * b + 2), rtol=1e-14)


def test_a_gradient_is_one_s_own(gpu):
    """Two leaves that get the same gradient do not share it."""
    x, y = leaf(normal((2, 3, 4, 5))), leaf(normal((2, 3, 4, 5), 1))
    (x + y).backward(cuda.to_gpu(normal((2, 3, 4, 5), 2)))
    before = host(y.grad).copy()
    x.grad.array.fill(7)
    assert np.array_equal(host(y.grad), before)
    assert x.grad.array.strides == x.array.strides


def test_memory_is_owned_by_one_view():
    with emulated():
        image = cuda.empty_images((2, 3, 4, 5), np.float32)
        assert values.owns_memory(image)
        other = image.transpose(0, 2, 3, 1)
        assert not values.owns_memory(image)
        del other
        assert values.owns_memory(image)


def test_backward_of_a_single_number(gpu):
    x = leaf(np.float64(3).reshape(()))
    y = x * x
    y.backward()
    assert y.item() == 9
    assert x.grad.item() == 6


def test_gradient_on_another_device(gpu):
    with pytest.raises(DeviceError, match="backward: the gradient is on another device"):
        leaf(normal(3)).backward(normal(3))


@pytest.mark.parametrize("sign", values.COMPARISONS)
def test_comparisons(gpu, sign):
    a = np.array([0.0, 1.0, np.nan, np.inf, -2.0], np.float32)
    b = np.array([[0.0], [np.nan], [1.0]], np.float32)
    function = values.COMPARISONS[sign][0]
    found = on_gpu(lambda x, y: values.compare(sign, x, y), a, b)
    assert found.dtype == np.bool_
    assert np.array_equal(found, function(a, b))
    whole = np.array([3, 0, 2, 1])
    for number in (1, 1.5, np.float32(2)):
        assert np.array_equal(on_gpu(lambda x, n=number: values.compare(sign, x, n), whole), function(whole, number))
    other = np.array([3, 1, 2, 2], np.int32)
    assert np.array_equal(on_gpu(lambda x, y: values.compare(sign, x, y), whole, other), function(whole, other))


def test_comparison_of_two_devices(gpu):
    with pytest.raises(DeviceError, match="different devices"):
        values.compare("<", cuda.to_gpu(normal(3)), normal(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(1,), (7,), (300,), (3, 5), (2, 40, 3, 7), (5, 2, 300)])
def test_argmax(gpu, shape, dtype):
    x = np.asarray(np.random.default_rng(0).integers(0, 6, shape), dtype)  # ties
    for axis in (None, *range(x.ndim)):
        for keep in (False, True):
            found = on_gpu(lambda a, d=axis, k=keep: Tensor(a).argmax(d, k).array, x)
            assert found.dtype == np.int64
            assert np.array_equal(found, np.argmax(x, axis=axis, keepdims=keep))


def test_argmax_of_nan(gpu):
    x = normal((4, 70))
    x[0, 5] = x[0, 66] = x[1, 69] = np.nan
    x[2] = -np.inf
    assert np.array_equal(on_gpu(lambda a: values.argmax(a, 1, False), x), np.argmax(x, 1))
    assert np.array_equal(on_gpu(lambda a: values.argmax(a, 0, False), x), np.argmax(x, 0))
    assert on_gpu(lambda a: values.argmax(a, None, False), x) == np.argmax(x)


def test_hits_are_counted(gpu):
    scores, labels = normal((50, 10), dtype=np.float32), np.random.default_rng(1).integers(0, 10, 50)
    x, t = Tensor(cuda.to_gpu(scores)), Tensor(cuda.to_gpu(labels))
    hits = (x.argmax(1) == t).sum()
    assert hits.dtype == np.int64
    assert hits.item() == (scores.argmax(1) == labels).sum()
    share = (x.argmax(1) == t).float().mean()
    assert share.dtype == np.float32
    assert np.isclose(share.item(), (scores.argmax(1) == labels).mean())


def test_every_schedule(any_schedule):
    x = np.random.default_rng(0).integers(0, 6, (3, 90, 5)).astype(np.float32)
    for axis in range(3):
        assert np.array_equal(on_gpu(lambda a, d=axis: values.argmax(a, d, False), x), np.argmax(x, axis))
