"""Making tensors, and joining them."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor
from minicnn.errors import DTypeError, MinicnnError, ShapeError


def test_tensor_copies():
    array = np.ones(3)
    made = minicnn.tensor(array)
    array[0] = 5
    assert made.array.tolist() == [1, 1, 1]
    assert made.dtype == np.float64  # arrays keep their dtype


def test_tensor_dtypes():
    assert minicnn.tensor([1.0, 2.0]).dtype == np.float32
    assert minicnn.tensor(2.5).dtype == np.float32
    assert minicnn.tensor([1, 2]).dtype == np.int64
    assert minicnn.tensor([1, 2], dtype=np.float64).dtype == np.float64
    assert minicnn.tensor([True]).dtype == np.bool_
    assert minicnn.tensor(minicnn.ones(2)).array.tolist() == [1, 1]


def test_tensor_requires_grad():
    x = minicnn.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.array.tolist() == [2, 4]
    with pytest.raises(DTypeError, match=r"^Tensor: only floating point tensors have gradients; seen int64"):
        minicnn.tensor([1, 2], requires_grad=True)
    with pytest.raises(DTypeError, match=r"^Tensor: not an array of numbers; seen <U1"):
        minicnn.tensor(["a"])


def test_from_numpy_shares():
    array = np.zeros(3, np.float32)
    shared = minicnn.from_numpy(array)
    array[1] = 4
    assert shared.array.tolist() == [0, 4, 0]
    assert np.shares_memory(shared.numpy(), array)


@pytest.mark.parametrize(("make", "value"), [(minicnn.zeros, 0), (minicnn.ones, 1)])
def test_zeros_and_ones(make, value):
    made = make(2, 3)
    assert made.shape == (2, 3)
    assert made.dtype == np.float32
    assert set(made.array.ravel()) == {value}
    assert make((2, 3)).shape == (2, 3)
    assert make().shape == ()
    assert make(0, 4).shape == (0, 4)
    assert make(2, dtype=np.int64).dtype == np.int64
    assert make(2, requires_grad=True).requires_grad


@pytest.mark.parametrize("make", [minicnn.zeros, minicnn.ones, minicnn.randn, minicnn.rand])
@pytest.mark.parametrize(("shape", "seen"), [((2, -1), "(2, -1)"), ((2.5,), "(2.5,)"), (("3",), "('3',)")])
def test_what_is_no_shape(make, shape, seen):
    with pytest.raises(ShapeError) as caught:
        make(*shape)
    assert str(caught.value) == f"{make.__name__}: not a shape; seen {seen}; rule: whole numbers >= 0"


@pytest.mark.parametrize("make", [minicnn.randn, minicnn.rand])
def test_random_values_for_a_seed(make):
    minicnn.manual_seed(3)
    first, second = make(50, 40), make((50, 40), dtype=np.float64, requires_grad=True)
    assert (first.dtype, second.dtype, second.requires_grad) == (np.float32, np.float64, True)
    assert not np.allclose(first.array, second.array)
    minicnn.manual_seed(3)
    assert np.array_equal(make(50, 40).array, first.array)
    assert make().shape == ()


def test_distributions():
    minicnn.manual_seed(0)
    normal, uniform = minicnn.randn(100, 100).array, minicnn.rand(100, 100).array
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 1) < 0.04
    assert abs(uniform.mean() - 0.5) < 0.015
    assert abs(uniform.var() - 1 / 12) < 0.004
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_arange():
    assert minicnn.arange(4).array.tolist() == [0, 1, 2, 3]
    assert minicnn.arange(4).dtype == np.int64
    assert minicnn.arange(1, 7, 2).array.tolist() == [1, 3, 5]
    assert minicnn.arange(0, 1, 0.25).array.tolist() == [0, 0.25, 0.5, 0.75]
    assert minicnn.arange(0, 1, 0.25).dtype == np.float32
    assert minicnn.arange(3, dtype=np.float64).dtype == np.float64


def test_cat():
    a, b = minicnn.tensor([[1.0, 2.0]], requires_grad=True), minicnn.tensor([[3.0, 4.0], [5.0, 6.0]])
    y = minicnn.cat([a, b])
    assert y.array.tolist() == [[1, 2], [3, 4], [5, 6]]
    y.backward(np.arange(6, dtype=np.float32).reshape(3, 2))
    assert a.grad.array.tolist() == [[0, 1]]
    assert b.grad is None
    assert minicnn.cat((a, a), dim=1).array.tolist() == [[1, 2, 1, 2]]


def test_cat_refuses():
    with pytest.raises(MinicnnError, match=r"^concatenate: nothing to concatenate; rule: at least one array$"):
        minicnn.cat([])
    with pytest.raises(ShapeError, match=r"^concatenate: the arrays do not fit each other; seen \(2, 3\), \(2, 4\)"):
        minicnn.cat([minicnn.ones(2, 3), minicnn.ones(2, 4)])


def test_the_package_lists_what_it_has():
    assert set(minicnn.__all__) <= set(dir(minicnn))
    assert all(getattr(minicnn, name) is not None for name in minicnn.__all__)
    assert minicnn.Tensor is Tensor
    assert minicnn.optim.SGD.__name__ == "SGD"
    with pytest.raises(AttributeError, match="module 'minicnn' has no attribute 'nothing'"):
        minicnn.nothing  # noqa: B018
