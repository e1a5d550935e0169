"""Matrix product: by hand; tiled, blocked and loops against formula; broadcasting; gradients; errors."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.autograd import Tensor, apply
from minicnn.backends.cpu import lanes_of
from minicnn.errors import DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import matmul
from minicnn.ops.matmul import tiled, tiled_kernels
from minicnn.ops.matmul.blocked import COLUMNS, ROWS, STRIP, add_product
from minicnn.ops.registry import algorithm

NAN = np.nan
ALGORITHMS = ("formula", "loops", "blocked", "tiled")
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}

# shapes of a and b: one-sized, prime, fours and what is left of them, repeated leading axes, vectors
CASES = [
    ((1, 1), (1, 1)),
    ((4, 4), (4, 4)),
    ((5, 7), (7, 3)),
    ((13, 11), (11, 17)),
    ((1, 9), (9, 6)),
    ((6, 1), (1, 5)),
    ((2, 3, 5), (2, 5, 4)),
    ((2, 3, 5), (5, 4)),
    ((3, 5), (4, 5, 2)),
    ((2, 1, 3, 5), (4, 5, 6)),
    ((3, 1, 2, 4), (1, 2, 4, 5)),
    ((1, 3, 5), (5, 4)),
    ((5,), (5, 3)),
    ((4, 5), (5,)),
    ((5,), (5,)),
    ((5,), (2, 5, 3)),
    ((3, 1, 4, 5), (5,)),
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(matmul=request.param):
        yield request.param


def draw(a_shape, b_shape, dtype=np.float64, seed=0):
    """a, b and a gradient of a @ b."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in (a_shape, b_shape))
    return a, b, np.asarray(rng.standard_normal(np.matmul(a, b).shape), dtype)


def passes(a, b, dy):
    return matmul.forward(a, b), matmul.grad_a(dy, b, a.shape), matmul.grad_b(dy, a, b.shape)


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_product(each_algorithm):
    a, b = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([[1.0, 0], [10, 1], [100, 2]])
    assert_close(matmul.forward(a, b), np.array([[321.0, 8], [654, 17]]))


def test_gradients_are_products_with_the_transposed(each_algorithm):
    a, b, dy = np.array([[1.0, 2], [3, 4]]), np.array([[5.0, 6], [7, 8]]), np.array([[1.0, 10], [100, 1000]])
    assert_close(matmul.grad_a(dy, b, a.shape), np.array([[65.0, 87], [6500, 8700]]))
    assert_close(matmul.grad_b(dy, a, b.shape), np.array([[301.0, 3010], [402, 4020]]))


def test_a_repeated_matrix_adds_up_its_gradients(each_algorithm):
    a, b = np.array([[2.0, 3]]), np.array([[[1.0], [10]], [[100.0], [1000]]])
    dy = np.array([[[1.0]], [[2.0]]])
    assert_close(matmul.grad_a(dy, b, a.shape), np.array([[201.0, 2010]]))
    assert_close(matmul.grad_b(dy, a, b.shape), np.array([[[2.0], [3]], [[4.0], [6]]]))


def test_vectors(each_algorithm):
    row, column = np.array([1.0, 2]), np.array([10.0, 100])
    assert_close(matmul.forward(row, column), np.array(210.0))
    assert_close(matmul.grad_a(np.array(3.0), column, row.shape), np.array([30.0, 300]))
    assert_close(matmul.forward(row, np.array([[1.0, 2, 3], [4, 5, 6]])), np.array([9.0, 12, 15]))
    assert_close(matmul.forward(np.array([[1.0, 2], [3, 4]]), column), np.array([210.0, 430]))


def test_nan_and_infinity_travel(each_algorithm):
    """Also through products with zero: no term of the sum is skipped."""
    a = np.zeros((9, 6))
    a[4, 5], a[8, 1] = NAN, np.inf
    expected = np.zeros((9, 5))
    expected[4], expected[8] = NAN, NAN
    assert_close(matmul.forward(a, np.zeros((6, 5))), expected, nan_ok=True)
    b = np.ones((6, 5))
    expected[8] = np.inf
    assert_close(matmul.forward(a, b), expected, nan_ok=True)


# ---- against other ways of computing it -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a_shape", "b_shape"), CASES)
def test_against_numpy(each_algorithm, a_shape, b_shape, dtype):
    a, b, _ = draw(a_shape, b_shape, dtype)
    y = matmul.forward(a, b)
    assert isinstance(y, np.ndarray)
    assert_close(y, np.asarray(np.matmul(a.astype(np.float64), b), dtype), rtol=TOLERANCE[a.dtype])


@pytest.mark.parametrize("name", ["loops", "blocked", "tiled"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a_shape", "b_shape"), CASES)
def test_equal_to_formula(name, a_shape, b_shape, dtype):
    arrays = draw(a_shape, b_shape, dtype)
    with algorithm(matmul="formula"):
        expected = passes(*arrays)
    with algorithm(matmul=name):
        found = passes(*arrays)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=TOLERANCE[arrays[0].dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 2])
@pytest.mark.parametrize("columns", [COLUMNS - 1, COLUMNS, COLUMNS + 1, 2 * COLUMNS + 3])
def test_blocked_at_the_borders_of_its_pieces(rows, columns, dtype):
    a, b, _ = draw((2, rows, 5), (2, 5, columns), dtype)
    with algorithm(matmul="blocked"):
        y = matmul.forward(a, b)
    assert_close(y, np.einsum("gmk,gkn->gmn", a, b), rtol=TOLERANCE[a.dtype])


@pytest.mark.parametrize("columns", [1, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 1])
def test_add_product_adds_to_what_is_there(columns):
    a, b, c = draw((6, 7), (7, columns))
    expected = c + np.einsum("mk,kn->mn", a, b)
    add_product(a, b, c)
    assert_close(c, expected, rtol=1e-13)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.tuples(st.integers(0, 10), st.integers(1, 10), st.integers(1, 10)),
    st.lists(st.sampled_from(["both", "a", "b"]), min_size=3, max_size=3),
    st.integers(0, 2),
    st.integers(0, 99),
)
def test_any_shape(batch, sizes, shown, dropped, seed):
    """All algorithms agree, whichever leading axes are repeated, and <dy, a @ b> = <da, a> = <db, b>."""
    rows, inner, columns = sizes
    a_batch = [1 if how == "b" else n for n, how in zip(batch, shown, strict=False)]
    b_batch = [1 if how == "a" else n for n, how in zip(batch, shown, strict=False)]
    arrays = draw((*a_batch[dropped:], rows, inner), (*b_batch, inner, columns), seed=seed)
    found = []
    for name in ALGORITHMS:
        with algorithm(matmul=name):
            found.append(passes(*arrays))
    for result in found[1:]:
        for one, other in zip(result, found[0], strict=True):
            assert_close(one, other, rtol=1e-12)
    a, b, dy = arrays
    y, da, db = found[2]
    assert_close((da * a).sum(), (dy * y).sum(), rtol=1e-11, atol=1e-11)
    assert_close((db * b).sum(), (dy * y).sum(), rtol=1e-11, atol=1e-11)


# ---- tiles ----------------------------------------------------------------------------------------------------------

HEIGHTS = (*tiled_kernels.HEIGHTS, 16)
EDGES = sorted({1, 2, *(h + d for h in HEIGHTS for d in (-1, 0, 1)), 67})


def turn(x):
    """The same matrix, its columns contiguous."""
    return np.ascontiguousarray(x.T).T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", EDGES)
def test_tiles_at_their_borders(rows, dtype):
    """Rows and columns around whole tiles, every way to lie in memory, with and without a bias."""
    wide = tiled_kernels.NV * lanes_of(dtype)
    for columns in (1, wide - 1, wide, 2 * wide + 3, 131):
        for inner in (1, 2, 67):
            a, b, bias = draw((rows, inner), (inner, columns), dtype)
            exact = a.astype(np.float64) @ b.astype(np.float64)
            for left, right in itertools.product((a, turn(a)), (b, turn(b))):
                assert_close(tiled.product(left, right), exact.astype(dtype), rtol=TOLERANCE[a.dtype])
                y = tiled.product(left, right, bias[0])
                assert_close(y, (exact + bias[0]).astype(dtype), rtol=TOLERANCE[a.dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "columns"), [(2, 45), (45, 2), (33, 40), (130, 70)])
def test_long_sums_are_done_in_parts(monkeypatch, rows, columns, dtype):
    """Parts of a few steps, the last one shorter, in every way to lie; and sums over users, part by part."""
    monkeypatch.setattr(tiled, "PANEL_BYTES", 1000)
    monkeypatch.setattr(tiled, "PLACE_BYTES", 700)
    a, b, _ = draw((rows, 103), (103, columns), dtype)
    bias = np.arange(columns, dtype=dtype)
    exact = (a.astype(np.float64) @ b + bias).astype(dtype)
    for left, right in itertools.product((a, turn(a)), (b, turn(b))):
        assert_close(tiled.product(left, right, bias), exact, rtol=10 * TOLERANCE[a.dtype])
    a, b, dy = draw((3, rows, 103), (103, columns), dtype)
    with algorithm(matmul="tiled"):
        db = matmul.grad_b(dy, a, b.shape)
    assert_close(db, np.einsum("tmk,tmn->kn", a, dy), rtol=10 * TOLERANCE[a.dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [(0, 0), (22, 40), (7, 3)])
def test_nan_and_infinity_stay_in_their_row_and_column(place, dtype):
    a, b = np.ones((23, 31), dtype), np.ones((31, 41), dtype)
    a[place[0], 5], b[9, place[1]] = np.nan, np.inf
    expected = np.full((23, 41), 31, dtype)
    expected[:, place[1]] = np.inf
    expected[place[0]] = np.nan
    for left, right in itertools.product((a, turn(a)), (b, turn(b))):
        assert_close(tiled.product(left, right), expected, nan_ok=True)


def test_an_empty_sum_is_the_bias():
    bias = np.arange(3.0)
    y = tiled.product(np.zeros((2, 0)), np.zeros((0, 3)), bias)
    assert_close(y, np.array([bias, bias]))
    assert tiled.product(np.zeros((0, 4)), np.zeros((4, 3)), bias).shape == (0, 3)


def test_old_numbers_in_the_working_memory_do_no_harm():
    """Scratch buffers come back as they were left: here full of NaN."""
    a, b, _ = draw((9, 21), (21, 19))
    expected = a @ b
    tiled.product(np.full_like(a, NAN), turn(np.full_like(b, NAN)))
    for left, right in itertools.product((a, turn(a)), (b, turn(b))):
        assert_close(tiled.product(left, right), expected, rtol=1e-12)


# ---- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["every second", "negative strides", "transposed", "read only"])
def test_any_strides(each_algorithm, view):
    def seen(base):
        if view == "every second":
            return np.repeat(np.repeat(base, 2, axis=-1), 2, axis=-2)[..., ::2, ::2]
        if view == "negative strides":
            return base[..., ::-1, ::-1].copy()[..., ::-1, ::-1]
        if view == "transposed":
            return np.ascontiguousarray(base.T).T
        frozen = base.copy()
        frozen.flags.writeable = False
        return frozen

    a, b, dy = draw((2, 5, 6), (2, 6, 7))
    for one, other in zip(passes(seen(a), seen(b), seen(dy)), passes(a, b, dy), strict=True):
        assert_close(one, other, rtol=1e-14)


def test_inputs_are_not_written_to(each_algorithm):
    arrays = draw((3, 4), (4, 5))
    before = [x.copy() for x in arrays]
    passes(*arrays)
    for x, kept in zip(arrays, before, strict=True):
        assert np.array_equal(x, kept)


@pytest.mark.parametrize(
    ("a_shape", "b_shape"), [((0, 3), (3, 2)), ((0, 2, 3), (3, 4)), ((0, 2, 3), (1, 3, 4)), ((2, 0, 3), (2, 3, 4))]
)
def test_empty_batch(each_algorithm, a_shape, b_shape):
    """No rows, or no matrices: an empty result, and zeros where a matrix has no use."""
    a, b, dy = draw(a_shape, b_shape, np.float32)
    y, da, db = passes(a, b, dy)
    assert (y.size, y.dtype) == (0, np.float32)
    assert (da.shape, da.dtype) == (a_shape, np.float32)
    assert_close(db, np.zeros(b_shape, np.float32))


def test_float16_runs_through_the_formula():
    a, b, dy = draw((5, 6), (6, 4), np.float16)
    with algorithm(matmul="formula"):
        expected = passes(*(x.astype(np.float64) for x in (a, b, dy)))
    for one, other in zip(passes(a, b, dy), expected, strict=True):
        assert_close(one, other.astype(np.float16), rtol=4e-3)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("name", ["loops", "blocked", "tiled"])
def test_threads_do_not_change_a_bit(name):
    arrays = draw((3, 1, 37, 61), (2, 61, 530), np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            with algorithm(matmul=name):
                results.append([x.tobytes() for x in passes(*arrays)])
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a_shape", "b_shape"), CASES)
def test_gradient(each_algorithm, a_shape, b_shape):
    a, b, _ = draw(a_shape, b_shape)
    assert gradcheck(lambda a, b: apply("matmul", a, b), [a, b])


def test_the_tape_saves_what_a_wanted_gradient_needs():
    """db needs a, da needs b."""
    a, b, dy = draw((2, 3), (3, 4))
    for needs, kept in [
        ((True, False), {"b"}),
        ((False, True), {"a"}),
        ((True, True), {"a", "b"}),
        ((False,) * 2, set()),
    ]:
        _, saved = matmul.record(needs, a, b)
        assert {name for name, value in saved.items() if isinstance(value, np.ndarray)} == kept
        assert [g is not None for g in matmul.backward(needs, saved, dy)] == list(needs)


def test_operator():
    a, b = Tensor(np.array([[1.0, 2]]), requires_grad=True), Tensor(np.array([[3.0], [4]]), requires_grad=True)
    y = a @ b
    y.backward()
    assert y.item() == 11
    assert_close(a.grad.array, np.array([[3.0, 4]]))
    assert_close(b.grad.array, np.array([[1.0], [2]]))


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a_shape", "b_shape", "text"),
    [
        (
            (2, 3),
            (4, 5),
            "matmul: the inner axes of a and b differ; seen a (2, 3), b (4, 5); rule: a: (..., M, K), b: (..., K, N)",
        ),
        ((2, 3), (5, 3), "the inner axes of a and b differ; seen a (2, 3), b (5, 3)"),
        ((2, 3), (5, 3), "hint: transpose b"),
        ((3,), (4,), "the inner axes of a and b differ; seen a (3,), b (4,)"),
        ((), (3,), "a and b need at least one axis; seen a (), b (3,); hint: multiply numbers with *"),
        ((2, 3, 4), (3, 4, 5), "the leading axes of a and b do not broadcast; seen a (2, 3, 4), b (3, 4, 5)"),
        ((2, 0), (0, 3), "a and b share or span an empty axis; seen a (2, 0), b (0, 3); rule: K, N >= 1"),
        ((2, 3), (3, 0), "a and b share or span an empty axis"),
    ],
)
def test_bad_shapes(a_shape, b_shape, text):
    with pytest.raises(ShapeError) as caught:
        matmul.forward(np.zeros(a_shape), np.zeros(b_shape))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), np.float32), "a and b have different dtypes; seen a float64, b float32"),
        (np.zeros((2, 2), np.int64), np.zeros((2, 2)), "a has a dtype that is not floating point; seen a int64"),
        ([[1.0]], np.zeros((1, 1)), "matmul: a is not an array; seen list"),
    ],
)
def test_bad_dtypes(a, b, text):
    with pytest.raises(DTypeError) as caught:
        matmul.forward(a, b)
    assert text in str(caught.value)


def test_bad_backward():
    with pytest.raises(ShapeError) as caught:
        matmul.grad_a(np.zeros((2, 2)), np.zeros((3, 4)), (2, 3))
    assert "matmul.grad_a: dy does not have the shape of y; seen dy (2, 2), y (2, 4)" in str(caught.value)
    with pytest.raises(ShapeError) as caught:
        matmul.grad_b(np.zeros((3, 4)), np.zeros((2, 3)), (3, 4))
    assert "matmul.grad_b: dy does not have the shape of y; seen dy (3, 4), y (2, 4)" in str(caught.value)
    with pytest.raises(ShapeError) as caught:
        matmul.grad_b(np.zeros((2, 4)), np.zeros((2, 3)), (5, 4))
    assert "matmul.grad_b: the inner axes of a and b differ" in str(caught.value)
