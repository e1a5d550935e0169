"""Reshape, flatten, transpose, index, concatenate: by hand, against NumPy, gradients, errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices, integer_array_indices

from minicnn.autograd import Tensor, apply
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import shape
from minicnn.ops.registry import operation

X = np.arange(24.0).reshape(2, 3, 4)


def normal(size, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size)


def back(name: str, x: np.ndarray, dy: np.ndarray, **options) -> np.ndarray:
    """dx, by way of the tape's record and backward."""
    _, saved = operation(name).record((True,), x, **options)
    return operation(name).backward((True,), saved, dy)[0]


# ---- reshape and flatten --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ((4, 6), (4, 6)),
        ((-1,), (24,)),
        ((2, -1), (2, 12)),
        ((3, -1, 2), (3, 4, 2)),
        ([24, 1], (24, 1)),
        (24, (24,)),
        ((np.int64(8), 3), (8, 3)),
        ((-1, 24), (1, 24)),
    ],
)
def test_reshape(asked, given):
    y = shape.reshape_forward(X, shape=asked)
    assert y.shape == given
    assert y.ravel().tolist() == list(range(24))
    assert_close(back("reshape", X, y, shape=asked), X)


def test_reshape_follows_the_axes_and_not_the_memory():
    x = np.ascontiguousarray(X.transpose(2, 0, 1)).transpose(1, 2, 0)
    assert not x.flags.c_contiguous
    assert shape.reshape_forward(x, shape=(24,)).tolist() == list(range(24))


def test_reshape_of_one_and_of_nothing():
    assert shape.reshape_forward(np.array(3.0), shape=(1, 1)).shape == (1, 1)
    assert shape.reshape_forward(np.array([3.0]), shape=()).shape == ()
    assert shape.reshape_forward(np.empty((0, 3)), shape=(-1, 3)).shape == (0, 3)
    assert shape.reshape_forward(np.empty((0, 3)), shape=(5, 0)).shape == (5, 0)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({}, (24,)),
        ({"start_dim": 1}, (2, 12)),
        ({"start_dim": -2}, (2, 12)),
        ({"end_dim": 1}, (6, 4)),
        ({"start_dim": 1, "end_dim": 1}, (2, 3, 4)),
    ],
)
def test_flatten(options, given):
    y = shape.flatten_forward(X, **options)
    assert y.shape == given
    assert y.ravel().tolist() == list(range(24))
    assert_close(back("flatten", X, y, **options), X)


def test_flatten_of_a_number_and_of_an_empty_batch():
    assert shape.flatten_forward(np.array(3.0)).shape == (1,)
    assert shape.flatten_forward(np.empty((0, 3, 4)), start_dim=1).shape == (0, 12)
    assert back("flatten", np.empty((0, 3, 4)), np.empty((0, 12)), start_dim=1).shape == (0, 3, 4)


# ---- transpose ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1), (-1, 0, -2)])
def test_transpose(dims):
    y = shape.transpose_forward(X, dims=dims)
    assert y.shape == tuple(X.shape[d] for d in dims)
    for place in np.ndindex(*y.shape):
        at = [0, 0, 0]
        for axis, d in enumerate(dims):
            at[d] = place[axis]
        assert y[place] == X[tuple(at)]
    assert_close(back("transpose", X, y, dims=dims), X)


def test_transpose_is_a_view_and_so_is_its_gradient():
    x = X.copy()
    assert np.shares_memory(shape.transpose_forward(x, dims=(2, 0, 1)), x)
    assert np.shares_memory(shape.transpose_grad_input(x, dims=(2, 0, 1)), x)


# ---- index ----------------------------------------------------------------------------------------------------------

ROWS, COLUMNS = np.array([1, 0, 1]), np.array([[0], [2]])
INDICES = [
    0,
    -1,
    (1, 2, 3),
    slice(1, 2),
    (slice(None), slice(None, None, -1)),
    (..., 1),
    (0, ..., slice(1, 4, 2)),
    None,
    (slice(None), None, 2),
    ...,
    (),
    ROWS,
    [1, 1, 0],
    [],
    (ROWS, 0, slice(1, 3)),
    (slice(None), COLUMNS),
    (ROWS, ..., np.array([3, 3, 3])),
    (ROWS.astype(np.uint8), COLUMNS),
    np.int64(1),
    X > 11,
    (X[:, :, 0] > 3),
    (1, np.array([True, False, True])),
    ((0, 1, 1),),
    (range(2), (2, 2)),
    True,
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_index(index):
    y = shape.index_forward(X, index=index)
    assert_close(y, np.asarray(X[index]))
    dy = normal(y.shape)
    expected = np.zeros(X.size)
    for place, gradient in zip(np.ravel(X[index]).astype(int), dy.ravel(), strict=True):  # X holds its own positions
        expected[place] += gradient
    assert_close(back("index", X, dy, index=index), expected.reshape(X.shape))


def test_gradients_of_a_place_that_is_named_twice_add_up():
    dx = back("index", np.zeros(3), np.array([1.0, 10, 100, 1000]), index=np.array([2, 0, 2, -1]))
    assert_close(dx, np.array([10.0, 0, 1101]))


def test_repeated_places_add_up_in_the_order_of_the_index():
    """1e16 + 1 - 1e16 is 0 in this order and 1 in another: the same bits at each run."""
    index = np.zeros(3, int)
    dx = back("index", np.zeros(1), np.array([1e16, 1, -1e16]), index=index)
    assert_close(dx, np.array([0.0]))
    dx = back("index", np.zeros(1), np.array([1e16, -1e16, 1]), index=index)
    assert_close(dx, np.array([1.0]))


def test_basic_indices_give_views_and_arrays_give_copies():
    x = X.copy()
    assert np.shares_memory(shape.index_forward(x, index=(0, slice(1, 3))), x)
    assert not np.shares_memory(shape.index_forward(x, index=[0]), x)


def test_an_index_that_is_changed_later_does_not_reach_the_tape():
    index = np.array([0, 1])
    x = Tensor(np.zeros(3), requires_grad=True)
    y = x[index]
    index[:] = 2
    y.backward(np.array([1.0, 10]))
    assert_close(x.grad.array, np.array([1.0, 10, 0]))


def test_tensors_as_indices():
    x = Tensor(X, requires_grad=True)
    assert_close(x[Tensor(ROWS), 0].array, X[ROWS, 0])
    assert_close(x[x.detach() > 11].array, X[X > 11])
    labels = Tensor(np.array([2, 0]))
    assert_close(x[np.arange(2), labels].array, X[[0, 1], [2, 0]])


@settings(deadline=None, max_examples=80)
@given(array_shapes(max_dims=4, max_side=4), st.data())
def test_any_index(size, data):
    index = data.draw(
        basic_indices(size, allow_newaxis=True, max_dims=6) | integer_array_indices(size, result_shape=array_shapes())
    )
    x = np.arange(np.prod(size), dtype=np.float64).reshape(size)
    y = shape.index_forward(x, index=index)
    assert_close(y, np.asarray(x[index]))
    dy = normal(y.shape)
    expected = np.bincount(y.ravel().astype(int), weights=dy.ravel(), minlength=x.size).astype(float)
    assert_close(back("index", x, dy, index=index), expected.reshape(size))


# ---- concatenate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_concatenate(dim):
    pieces = [np.split(X, [1], axis=dim)[1], X, X[:, :, ::-1]]
    y = shape.concatenate_forward(*pieces, dim=dim)
    assert_close(y, np.concatenate(pieces, axis=dim))
    _, saved = operation("concatenate").record((True, False, True), *pieces, dim=dim)
    first, second, third = operation("concatenate").backward((True, False, True), saved, y)
    assert_close(first, pieces[0])
    assert second is None
    assert_close(third, pieces[2])


def test_concatenate_one_and_empty_ones():
    assert_close(shape.concatenate_forward(X), X)
    y = shape.concatenate_forward(np.empty((0, 3)), np.ones((2, 3)))
    assert_close(y, np.ones((2, 3)))
    pieces = shape.concatenate_grad_inputs(y, [(0, 3), (2, 3)])
    assert [p.shape for p in pieces] == [(0, 3), (2, 3)]


# ---- all ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, np.bool_])
def test_any_dtype_is_moved(dtype):
    x = (X % 2).astype(dtype)
    assert_close(shape.reshape_forward(x, shape=(4, 6)), x.reshape(4, 6))
    assert_close(shape.flatten_forward(x), x.reshape(24))
    assert_close(shape.transpose_forward(x, dims=(2, 1, 0)), x.transpose(2, 1, 0))
    assert_close(shape.index_forward(x, index=1), x[1])
    assert_close(shape.concatenate_forward(x, x), np.concatenate([x, x]))


def test_nan_travels():
    x = np.where(X == 5, np.nan, X)
    for y in (shape.reshape_forward(x, shape=24), shape.concatenate_forward(x, X), shape.index_forward(x, index=[0])):
        assert np.isnan(y).sum() == 1
    dx = back("index", X, np.array([np.nan, 1.0]), index=([0, 1], 0, 0))
    assert np.isnan(dx).sum() == 1


def test_inputs_are_not_written_to():
    x, dy = normal((2, 3, 4)), normal((2, 3, 4), 1)
    index = np.array([1, 0])
    calls = [
        ("reshape", {"shape": (2, 3, 4)}),
        ("flatten", {"start_dim": 1, "end_dim": 1}),
        ("transpose", {"dims": (0, 1, 2)}),
        ("index", {"index": index}),
        ("concatenate", {"dim": 0}),
    ]
    for name, options in calls:
        assert back(name, x, dy, **options).shape == x.shape
    assert np.array_equal(x, normal((2, 3, 4)))
    assert np.array_equal(dy, normal((2, 3, 4), 1))
    assert index.tolist() == [1, 0]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x.reshape(4, -1),
        lambda x: x.flatten(1),
        lambda x: x.permute(2, 0, 1),
        lambda x: x.transpose(0, -1),
        lambda x: x[1, ..., ::2],
        lambda x: x[np.array([0, 1, 1]), np.array([2, 0, 0])],
        lambda x: x[:, None, [2, 2, 0]],
        lambda x: x[X > 7],
        lambda x: apply("concatenate", x, x * 2, x[:, :1], dim=1),
    ],
)
def test_gradient(fn):
    assert gradcheck(fn, [normal((2, 3, 4))])


def test_nothing_but_shapes_is_saved():
    for name, options in (("reshape", {"shape": 24}), ("flatten", {}), ("transpose", {"dims": (2, 1, 0)})):
        _, saved = operation(name).record((True,), X, **options)
        assert not any(isinstance(value, np.ndarray) for value in saved.values())
    _, saved = operation("index").record((False,), X, index=ROWS)
    assert saved["options"]["index"] is None


# ---- errors ---------------------------------------------------------------------------------------------------------

SIX = np.ones((2, 3))
BAD = [
    (
        lambda: shape.reshape_forward(SIX, shape=(4, 2)),
        ShapeError,
        "reshape: cannot reshape (2, 3) into (4, 2); seen 6 elements; rule: as many elements as before",
    ),
    (
        lambda: shape.reshape_forward(SIX, shape=(4, -1)),
        ShapeError,
        "cannot reshape (2, 3) into (4, -1); seen 6 elements",
    ),
    (lambda: shape.reshape_forward(np.empty((0, 3)), shape=(0, -1)), ShapeError, "cannot reshape (0, 3) into (0, -1)"),
    (lambda: shape.reshape_forward(SIX, shape=(-1, -1)), ArgumentError, "shape is not valid; seen shape=(-1, -1)"),
    (lambda: shape.reshape_forward(SIX, shape=(-2, 3)), ArgumentError, "rule: whole numbers >= 0, at most one -1"),
    (lambda: shape.reshape_forward(SIX, shape=(6.0,)), ArgumentError, "shape is not valid; seen shape=(6.0,)"),
    (lambda: shape.reshape_forward([1.0], shape=(1,)), DTypeError, "reshape: x is not an array; seen list"),
    (lambda: shape.flatten_forward(SIX, start_dim=2), ArgumentError, "flatten: no axis 2 in an array with 2 axes"),
    (lambda: shape.flatten_forward(SIX, end_dim=-3), ArgumentError, "seen end_dim=-3; rule: -2..1"),
    (
        lambda: shape.flatten_forward(X, start_dim=2, end_dim=0),
        ArgumentError,
        "flatten: start_dim comes after end_dim; seen start_dim=2, end_dim=0, x (2, 3, 4)",
    ),
    (lambda: shape.transpose_forward(SIX, dims=(0, 2)), ArgumentError, "transpose: no axis 2 in an array with 2 axes"),
    (
        lambda: shape.transpose_forward(X, dims=(0, 1)),
        ArgumentError,
        "transpose: dims is not an order of the axes; seen dims=(0, 1); rule: each of the 3 axes once",
    ),
    (lambda: shape.transpose_forward(SIX, dims=(1, 1)), ArgumentError, "dims is not an order of the axes"),
    (lambda: shape.transpose_forward(SIX, dims=(1, "0")), ArgumentError, "dims is not a whole number; seen dims='0'"),
    (
        lambda: shape.index_forward(SIX, index=(0, 7)),
        ShapeError,
        "index: the index does not fit; seen x (2, 3), index [0, 7]; rule: index 7 is out of bounds for axis 1",
    ),
    (
        lambda: shape.index_forward(SIX, index=(np.array([0, 5]), slice(0, 2))),
        ShapeError,
        "seen x (2, 3), index [int64 array (2,), 0:2]; rule: index 5 is out of bounds for axis 0 with size 2",
    ),
    (lambda: shape.index_forward(SIX, index=(0, 0, 0)), ShapeError, "rule: too many indices for array"),
    (lambda: shape.index_forward(SIX, index=1.0), ShapeError, "index: the index does not fit"),
    (lambda: shape.index_forward(SIX, index="a"), ShapeError, "index: the index does not fit"),
    (lambda: shape.index_forward(SIX, index=slice(0, 2, 0)), ShapeError, "rule: slice step cannot be zero"),
    (lambda: shape.index_forward(SIX, index=(..., ...)), ShapeError, "index [..., ...]"),
    (lambda: shape.index_forward(SIX, index=np.ones((2, 2), bool)), ShapeError, "index [bool array (2, 2)]"),
    (lambda: shape.index_forward(SIX, index=([0, 1], [0, 1, 2])), ShapeError, "rule: shape mismatch"),
    (
        lambda: shape.index_grad_input(np.ones(2), (2, 3), index=0),
        ShapeError,
        "index.grad_input: dy does not have the shape of y; seen dy (2,), y (3,)",
    ),
    (lambda: shape.concatenate_forward(), ArgumentError, "concatenate: nothing to concatenate"),
    (
        lambda: shape.concatenate_forward(SIX, X[0]),
        ShapeError,
        "concatenate: the arrays do not fit each other; seen (2, 3), (3, 4); rule: equal shapes but for axis 0",
    ),
    (lambda: shape.concatenate_forward(SIX, X), ShapeError, "the arrays do not fit each other"),
    (lambda: shape.concatenate_forward(SIX, SIX, dim=2), ArgumentError, "no axis 2 in an array with 2 axes"),
    (lambda: shape.concatenate_forward(np.array(1.0)), ShapeError, "numbers without axes cannot be concatenated"),
    (
        lambda: shape.concatenate_forward(SIX, SIX.astype(np.float32)),
        DTypeError,
        "the arrays have different dtypes; seen float64, float32",
    ),
    (lambda: shape.concatenate_forward(SIX, [1.0]), DTypeError, "concatenate: x1 is not an array; seen list"),
    (lambda: shape.concatenate_grad_inputs(SIX, [(1, 3), (2, 3)]), ShapeError, "seen dy (2, 3), y (3, 3)"),
]


@pytest.mark.parametrize(("run", "error", "text"), BAD)
def test_errors(run, error, text):
    with pytest.raises(error, match=re.escape(text)):
        run()
