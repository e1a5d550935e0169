"""Moving elements on the GPU: against the formula, of row-major and channels-last arrays; index arrays."""

from __future__ import annotations

import numpy as np
import pytest
from on_gpu import on_gpu

from minicnn import Tensor
from minicnn.backends import cuda
from minicnn.ops import shape as shapes
from minicnn.ops.registry import algorithm


def numbers(shape, dtype=np.float32) -> np.ndarray:
    return np.asarray(np.random.default_rng(0).integers(0, 1000, shape), dtype)


def by_formula(name, function, *arguments, **options):
    with algorithm(**{name: "formula"}):
        return function(*arguments, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize(
    ("before", "after"),
    [((6,), (2, 3)), ((2, 3, 4, 5), (2, -1)), ((2, 60), (2, 3, 4, 5)), ((2, 3, 1, 1), (2, 3)), ((2, 3), (2, 3, 1, 1)),
     ((0, 3), (0,)), ((), (1, 1)), ((2, 3, 4, 5), (5, 4, 3, 2))],
)  # fmt: skip
def test_reshape(gpu, before, after, dtype):
    x = numbers(before, dtype)
    y = x.reshape(after)
    assert np.array_equal(on_gpu(shapes.reshape_forward, x, shape=after), y)
    assert np.array_equal(on_gpu(shapes.reshape_grad_input, y, x_shape=before), x)


@pytest.mark.parametrize(("start", "end"), [(0, -1), (1, -1), (1, 2), (2, 2)])
def test_flatten(gpu, start, end):
    x = numbers((2, 3, 4, 5))
    y = by_formula("flatten", shapes.flatten_forward, x, start_dim=start, end_dim=end)
    assert np.array_equal(on_gpu(shapes.flatten_forward, x, start_dim=start, end_dim=end), y)
    assert np.array_equal(on_gpu(shapes.flatten_grad_input, y, x_shape=x.shape), x)


def test_single_pixels_are_not_copied(gpu):
    x = cuda.to_gpu(numbers((4, 5, 1, 1)))
    y = shapes.flatten_forward(x, start_dim=1)
    y.fill(3)
    assert (cuda.to_cpu(x) == 3).all()


def test_transpose(gpu):
    x = numbers((2, 3, 4, 5))
    for dims in ((0, 1, 3, 2), (3, 0, 2, 1), (0, 2, 3, 1)):
        y = x.transpose(dims)
        assert np.array_equal(on_gpu(shapes.transpose_forward, x, dims=dims), y)
        assert np.array_equal(on_gpu(shapes.transpose_grad_input, y, dims=dims), x)


INDICES = [
    0,
    -1,
    (slice(None), 1),
    (slice(1, None), slice(None), slice(None, None, 2)),
    (..., slice(None, None, -1)),
    (None, 1, ..., 2),
    (1, 2, 3, 4),
    (slice(0, 0),),
    (np.int64(1), slice(2, 0, -1)),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_index(gpu, index):
    x = numbers((2, 3, 4, 5))
    y = by_formula("index", shapes.index_forward, x, index=index)
    dy = np.asarray(numbers(y.shape) + 1)
    dx = by_formula("index", shapes.index_grad_input, dy, x.shape, index=index)
    assert np.array_equal(on_gpu(shapes.index_forward, x, index=index), y)
    assert np.array_equal(on_gpu(shapes.index_grad_input, dy, x_shape=x.shape, index=index), dx)


PLACES = [
    [1, 0, 1, 1],
    np.array([True, False]),
    (slice(None), np.array([2, 0, 2]), ..., 0),
    (slice(None), [[0, 2], [1, 1]], slice(None), [[1], [3]]),
    True,
    [],
]


@pytest.mark.parametrize("index", PLACES, ids=str)
def test_arrays_of_places(gpu, index):
    x = numbers((2, 3, 4, 5))
    y = by_formula("index", shapes.index_forward, x, index=index)
    dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape), np.float32)
    dx = by_formula("index", shapes.index_grad_input, dy, x.shape, index=index)
    assert np.array_equal(cuda.to_cpu(shapes.index_forward(cuda.to_gpu(x), index=index)), y)
    assert np.array_equal(cuda.to_cpu(shapes.index_grad_input(cuda.to_gpu(dy), x.shape, index=index)), dx)


def test_a_mask_that_was_made_there(gpu):
    x = Tensor(cuda.to_gpu(numbers((7, 5))))
    assert np.array_equal(cuda.to_cpu(x[x > 500].array), numbers((7, 5))[numbers((7, 5)) > 500])
    labels = Tensor(cuda.to_gpu(np.array([True, False, True, True, False, False, True])))
    assert np.array_equal(cuda.to_cpu(labels[labels].array), [True] * 4)


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_concatenate(gpu, dim):
    pieces = []
    for many in (1, 3, 0, 2):
        shape = [2, 3, 4, 5]
        shape[dim] = many
        pieces.append(numbers(shape))
    y = np.concatenate(pieces, dim)
    assert np.array_equal(on_gpu(shapes.concatenate_forward, *pieces, dim=dim), y)
    found = on_gpu(shapes.concatenate_grad_inputs, y, shapes=[p.shape for p in pieces], dim=dim)
    assert all(np.array_equal(a, b) for a, b in zip(found, pieces, strict=True))


def test_on_the_tape(gpu):
    x = Tensor(cuda.to_gpu(numbers((2, 3, 4, 4), np.float64)), requires_grad=True)
    y = (x[:, 1:].flatten(1) * 2).reshape(2, 2, 4, 4).permute(0, 2, 1, 3)[1]
    y.backward(cuda.to_gpu(np.ones(y.shape)))
    expected = np.zeros(x.shape)
    expected[1, 1:] = 2
    assert np.array_equal(cuda.to_cpu(x.grad.array), expected)


def test_every_schedule(any_schedule):
    x = numbers((2, 3, 4, 5))
    assert np.array_equal(on_gpu(shapes.flatten_forward, x, start_dim=1), x.reshape(2, -1))
    index, dx = [1, 0, 1], np.stack([x[1], x[0] + x[1]])
    dy = np.stack([x[0], x[1], x[1]])
    assert np.array_equal(on_gpu(shapes.index_grad_input, dy, x_shape=x.shape, index=index), dx)
