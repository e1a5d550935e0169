"""Convolution: by hand; every algorithm and pass against sums written out and against formula; gradients; arrays.

Errors stand in test_conv2d_errors.py.
"""

from __future__ import annotations

import functools
import itertools

import numba
import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.autograd import Tensor, apply
from minicnn.gradcheck import gradcheck
from minicnn.ops import conv2d
from minicnn.ops.conv2d import im2col
from minicnn.ops.registry import algorithm
from minicnn.ops.windows import pair

DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1}
NAN, INF = np.nan, np.inf
ALGORITHMS = ("formula", "loops", "im2col")
PASSES = ("forward", "grad_input", "grad_weight", "grad_bias")
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}

# shape of x, shape of w, options
CASES = [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((2, 3, 5, 7), (4, 3, 3, 3), {}),
    ((2, 3, 7, 5), (5, 3, 1, 1), {}),
    ((3, 2, 4, 4), (2, 2, 4, 4), {}),  # the kernel covers the image
    ((1, 5, 11, 1), (3, 5, 3, 1), {"padding": (1, 0)}),
    ((2, 1, 1, 13), (7, 1, 1, 5), {"padding": (0, 2)}),
    ((2, 3, 6, 9), (4, 3, 2, 5), {"stride": (2, 1), "padding": (1, 2)}),
    ((2, 2, 7, 8), (3, 2, 3, 3), {"stride": 2}),  # the last column is never used
    ((1, 2, 8, 9), (3, 2, 3, 2), {"stride": 3, "padding": 1}),
    ((2, 2, 9, 8), (3, 2, 2, 3), {"stride": (5, 4)}),  # stride > kernel
    ((2, 2, 7, 10), (3, 2, 1, 1), {"stride": 3}),
    ((1, 2, 3, 2), (3, 2, 2, 3), {"padding": (4, 5)}),  # padding > kernel
    ((1, 2, 3, 4), (2, 2, 1, 1), {"padding": 3, "stride": 2}),
    ((2, 2, 9, 11), (3, 2, 3, 2), {"dilation": (2, 5)}),
    ((1, 2, 10, 9), (3, 2, 3, 3), {"dilation": 3, "stride": 2, "padding": (4, 1)}),
    ((1, 2, 2, 2), (3, 2, 2, 2), {"dilation": 4, "padding": 3}),  # each window sees one corner
    ((2, 4, 5, 6), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    ((2, 6, 5, 4), (3, 2, 2, 3), {"groups": 3, "stride": 2, "padding": 1}),
    ((2, 5, 6, 5), (5, 1, 3, 3), {"groups": 5, "padding": 1}),  # depthwise
    ((1, 3, 5, 6), (9, 1, 3, 2), {"groups": 3, "dilation": 2}),  # depthwise, three kernels a channel
    ((5, 1, 24, 27), (2, 1, 2, 2), {"padding": 1}),  # 3,500 pixels: more than 8 blocks
    ((13, 2, 8, 8), (3, 2, 2, 2), {}),  # 5 images a block of grad_input, and a remainder of 3
    ((1, 1, 3, 610), (1, 1, 2, 3), {"stride": (1, 2)}),  # one row longer than a block
    ((1, 2, 41, 43), (5, 2, 1, 1), {}),  # one image longer than a strip of the product
    ((1, 115, 3, 3), (2, 115, 3, 3), {}),  # more than 1,024 rows of columns
    ((0, 3, 5, 4), (2, 3, 3, 3), {"padding": 1}),  # no image
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(conv2d=request.param):
        yield request.param


def image(rows, dtype=np.float64) -> np.ndarray:
    return np.array(rows, dtype)[None, None]


def full(options) -> dict:
    """Options as pairs."""
    steps = {name: pair(options.get(name, least), name, "", least=least) for name, least in DEFAULTS.items()}
    return {**steps, "groups": options.get("groups", 1)}


def y_shape(x_shape, w_shape, options) -> tuple[int, ...]:
    """The number of places of the window, by counting them."""
    o, places = full(options), []
    for axis in (0, 1):
        size = x_shape[2 + axis] + 2 * o["padding"][axis]
        reach = o["dilation"][axis] * (w_shape[2 + axis] - 1)
        places.append(sum(1 for start in range(0, size, o["stride"][axis]) if start + reach < size))
    return (x_shape[0], w_shape[0], *places)


def draw(x_shape, w_shape, options, dtype=np.float64, seed=0):
    """x, w, b and dy."""
    rng = np.random.default_rng(seed)
    shapes = x_shape, w_shape, w_shape[:1], y_shape(x_shape, w_shape, options)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def passes(x, w, b, dy, options) -> dict[str, np.ndarray]:
    """All passes of the public functions."""
    return {
        "forward": conv2d.forward(x, w, b, **options),
        "grad_input": conv2d.grad_input(dy, w, x.shape, **options),
        "grad_weight": conv2d.grad_weight(dy, x, w.shape, **options),
        "grad_bias": conv2d.grad_bias(dy),
    }


def written_out(x, w, b, dy, options) -> dict[str, np.ndarray]:
    """All passes, product by product: y[n,k,p,q] adds up x[n,c,h,v] w[k,c,r,s], with x = 0 outside the image."""
    o = full(options)
    (sh, sw), (ph, pw), (dh, dw), groups = (o[name] for name in ("stride", "padding", "dilation", "groups"))
    (_, _, height, width), (outputs, inputs, rows, columns) = x.shape, w.shape
    y, dx, dwt, db = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape), np.zeros(outputs)
    for n, k, p, q in np.ndindex(*dy.shape):
        y[n, k, p, q] += b[k]
        db[k] += dy[n, k, p, q]
        first = k // (outputs // groups) * inputs
        for c, r, s in itertools.product(range(inputs), range(rows), range(columns)):
            h, v = p * sh + r * dh - ph, q * sw + s * dw - pw
            inside = 0 <= h < height and 0 <= v < width
            pixel = x[n, first + c, h, v] if inside else 0.0
            y[n, k, p, q] += pixel * w[k, c, r, s]
            dwt[k, c, r, s] += dy[n, k, p, q] * pixel
            if inside:
                dx[n, first + c, h, v] += dy[n, k, p, q] * w[k, c, r, s]
    return {"forward": y, "grad_input": dx, "grad_weight": dwt, "grad_bias": db}


@functools.cache
def expected(case: int, dtype: type) -> tuple[list[np.ndarray], dict, dict]:
    """The arrays of a case, what the products written out give in float64, and what formula gives."""
    x_shape, w_shape, options = CASES[case]
    arrays = draw(x_shape, w_shape, options, dtype)
    products = written_out(*(a.astype(np.float64) for a in arrays), options)
    with algorithm(conv2d="formula"):
        return arrays, products, passes(*arrays, options)


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_formula_d1_1(each_algorithm):
    """y[i,j] = sum_{k,l} x[i+k-1, j+l-1] w[k,l] + b: the kernel is not flipped."""
    x, w = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), image([[1, 10], [100, 1000]])
    assert_close(conv2d.forward(x, w, np.array([0.5])), image([[5421.5, 6532.5], [8754.5, 9865.5]]))
    assert_close(conv2d.forward(x, w), image([[5421, 6532], [8754, 9865]]))


def test_gradients_by_hand(each_algorithm):
    """dx is dy with the kernel flipped; the last row and column, which stride 2 does not reach, get zero."""
    x, w = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), image([[1, 10], [100, 1000]])
    dy = image([[1, 0], [0, 2]])
    assert_close(conv2d.grad_input(dy, w, x.shape), image([[1, 10, 0], [100, 1002, 20], [0, 200, 2000]]))
    assert_close(conv2d.grad_weight(dy, x, w.shape), image([[11, 14], [20, 23]]))
    assert_close(conv2d.grad_bias(dy), np.array([3.0]))
    assert_close(conv2d.grad_input(image([[3]]), w, x.shape, stride=2), image([[3, 30, 0], [300, 3000, 0], [0, 0, 0]]))
    assert_close(conv2d.grad_weight(image([[3]]), x, w.shape, stride=2), image([[3, 6], [12, 15]]))


def test_groups_do_not_see_each_other(each_algorithm):
    x = np.array([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1)
    w = np.array([[1.0, 2], [3, 4], [5, 6]] * 2).reshape(6, 2, 1, 1)
    y = conv2d.forward(x, w, groups=2)
    assert y.ravel().tolist() == [21, 43, 65, 2100, 4300, 6500]


# ---- every algorithm and pass ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{x}-{w}" for x, w, _ in CASES])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_sums_written_out_and_formula(each_algorithm, case, dtype):
    arrays, products, formula = expected(case, dtype)
    found = passes(*arrays, CASES[case][2])
    assert tuple(found) == PASSES
    for name, result in found.items():
        rtol = TOLERANCE[arrays[0].dtype]
        assert_close(result, products[name].astype(dtype), rtol=rtol)
        assert_close(result, formula[name], rtol=rtol)


def test_the_cases_reach_every_kind_of_block():
    """Should the sizes of im2col's blocks change, the cases must follow."""
    pixels = [(n, p * q, q) for n, _, p, q in (y_shape(*case) for case in CASES)]
    assert any(n * pq > im2col.PARTS * im2col.PIXELS and n * pq % im2col.PIXELS for n, pq, _ in pixels)
    assert any(1 < im2col.PIXELS // pq < n and n % (im2col.PIXELS // pq) for n, pq, _ in pixels if pq)
    assert any(q > im2col.PIXELS for _, _, q in pixels)


@st.composite
def problems(draw):
    """Any valid problem with small sizes."""
    groups, kernels, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    options: dict = {"groups": groups}
    for name, least, most in (("stride", 1, 4), ("padding", 0, 3), ("dilation", 1, 3)):
        options[name] = draw(st.tuples(st.integers(least, most), st.integers(least, most)))
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    sizes = []
    for axis in (0, 1):
        least = options["dilation"][axis] * (kernel[axis] - 1) + 1 - 2 * options["padding"][axis]
        sizes.append(max(1, least) + draw(st.integers(0, 4)))
    return (draw(st.integers(0, 3)), groups * channels, *sizes), (groups * kernels, channels, *kernel), options


@settings(derandomize=True, deadline=None, max_examples=60)
@given(problems(), st.integers(0, 99))
def test_any_shape(problem, seed):
    arrays = draw(*problem, seed=seed)
    products = written_out(*arrays, problem[2])
    for name in ALGORITHMS:
        with algorithm(conv2d=name):
            for key, result in passes(*arrays, problem[2]).items():
                assert_close(result, products[key], rtol=1e-12)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(problems(), st.integers(0, 99), st.sampled_from(ALGORITHMS))
def test_the_passes_are_adjoint(problem, seed, name):
    """Without a bias y is linear in x and in w: <dy, y> = <dx, x> = <dw, w>."""
    x, w, b, dy = draw(*problem, seed=seed)
    with algorithm(conv2d=name):
        found = passes(x, w, np.zeros_like(b), dy, problem[2])
    products = (dy * found["forward"]).sum()
    assert_close((found["grad_input"] * x).sum(), products, rtol=1e-10, atol=1e-10)
    assert_close((found["grad_weight"] * w).sum(), products, rtol=1e-10, atol=1e-10)


def test_float16_runs_through_the_formula():
    arrays = draw(*CASES[6], np.float16)
    with algorithm(conv2d="formula"):
        exact = passes(*(a.astype(np.float64) for a in arrays), CASES[6][2])
    for name, result in passes(*arrays, CASES[6][2]).items():
        assert_close(result, exact[name].astype(np.float16), rtol=1e-2)


# ---- pixels that no window reaches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unused_rows_and_columns_get_zero(each_algorithm, dtype):
    """9 x 8 pixels, kernel 2 x 3, stride (5, 4): rows 2-4, 7, 8 and columns 3, 7 are in no window."""
    x, w, _, dy = draw((2, 2, 9, 8), (3, 2, 2, 3), {"stride": (5, 4)}, dtype)
    dx = conv2d.grad_input(dy, w, x.shape, stride=(5, 4))
    used = np.zeros((9, 8), bool)
    used[np.ix_([0, 1, 5, 6], [0, 1, 2, 4, 5, 6])] = True
    assert (dx[:, :, ~used] == 0).all()
    assert (dx[:, :, used] != 0).all()
    x[:, :, ~used] = NAN  # nor does anything look there
    assert np.isfinite(conv2d.forward(x, w, stride=(5, 4))).all()
    assert np.isfinite(conv2d.grad_weight(dy, x, w.shape, stride=(5, 4))).all()


# ---- NaN and infinity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype"), [(NAN, np.float32), (NAN, np.float64), (INF, np.float32), (-INF, np.float64)]
)
@pytest.mark.parametrize("place", ["x", "dy", "b", "w"])
@pytest.mark.parametrize("case", [1, 6, 14, 16, 18])
def test_nan_and_infinity_reach_exactly_their_outputs(value, dtype, place, case):
    """Zeros included, in w and around the image: 0 * NaN and 0 * infinity are NaN."""
    x_shape, w_shape, options = CASES[case]
    arrays = dict(zip(("x", "w", "b", "dy"), draw(x_shape, w_shape, options, dtype), strict=True))
    arrays["w"].flat[::3] = 0
    a = arrays[place]
    a[tuple(n // 2 for n in a.shape)] = value
    with np.errstate(invalid="ignore"):
        products = written_out(*(v.astype(np.float64) for v in arrays.values()), options)
    assert any(not np.isfinite(result).all() for result in products.values())
    for name in ALGORITHMS:
        with algorithm(conv2d=name), np.errstate(invalid="ignore"):
            found = passes(*arrays.values(), options)
        for key, result in found.items():
            assert_close(result, products[key].astype(dtype), rtol=TOLERANCE[a.dtype], nan_ok=True)


# ---- arrays ---------------------------------------------------------------------------------------------------------

VIEWS = {
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "Fortran order": lambda a: np.asfortranarray(a),
    "channels last": lambda a: np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 1 else a.copy(),
    "read only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("case", [2, 17])
def test_any_strides(each_algorithm, view, case):
    arrays = draw(*CASES[case])
    seen = [VIEWS[view](a) for a in arrays]
    assert all(np.array_equal(one, other) for one, other in zip(seen, arrays, strict=True))
    plain = passes(*arrays, CASES[case][2])
    for name, result in passes(*seen, CASES[case][2]).items():
        assert_close(result, plain[name], rtol=1e-14)


@pytest.mark.parametrize("case", [0, 1, 2, 16])
def test_inputs_are_not_written_to(each_algorithm, case):
    arrays = draw(*CASES[case])
    before = [a.copy() for a in arrays]
    for result in passes(*arrays, CASES[case][2]).values():
        result += 1  # nor may a result share memory with an input
    assert all(np.array_equal(a, kept) for a, kept in zip(arrays, before, strict=True))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.parametrize("name", ["loops", "im2col"])
def test_threads_do_not_change_a_bit(name):
    before, results = numba.get_num_threads(), []
    arrays = draw((9, 4, 23, 21), (6, 2, 3, 3), {"groups": 2}, np.float32)
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            with algorithm(conv2d=name):
                results.append({key: a.tobytes() for key, a in passes(*arrays, {"groups": 2}).items()})
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        CASES[0],
        CASES[5],
        ((1, 2, 4, 5), (3, 2, 2, 3), {"padding": 1}),
        ((2, 2, 6, 5), (2, 2, 2, 2), {"stride": (4, 3)}),  # the last row is never used
        ((1, 2, 5, 4), (2, 2, 2, 2), {"dilation": (3, 2), "padding": (0, 3)}),
        ((1, 6, 3, 4), (3, 2, 2, 3), {"groups": 3, "stride": 2, "padding": 1}),
        ((1, 3, 4, 3), (6, 1, 3, 2), {"groups": 3, "padding": (2, 1)}),
    ],
)
def test_gradient(each_algorithm, x_shape, w_shape, options):
    x, w, b, _ = draw(x_shape, w_shape, options)
    report = gradcheck(lambda x, w, b: apply("conv2d", x, w, b, **options), [x, w, b])
    assert [row.checked for row in report.inputs] == [x.size, w.size, b.size]


def test_gradient_without_bias(each_algorithm):
    x, w, _, _ = draw((1, 1, 4, 3), (2, 1, 2, 2), {})
    assert gradcheck(lambda x, w: apply("conv2d", x, w, None), [x, w])


def test_the_tape_saves_what_a_wanted_gradient_needs():
    """dw needs x, dx needs w, db neither."""
    x, w, b, dy = draw(*CASES[1])
    for needs, kept in [
        ((True, False, False), {"w"}),
        ((False, True, False), {"x"}),
        ((False, False, True), set()),
        ((True, True, True), {"x", "w"}),
    ]:
        _, saved = conv2d.record(needs, x, w, b)
        assert {name for name, value in saved.items() if isinstance(value, np.ndarray)} == kept
        assert [g is not None for g in conv2d.backward(needs, saved, dy)] == list(needs)


def test_on_the_tape(each_algorithm):
    x, w, b = (Tensor(a, requires_grad=True) for a in (image([[1, 2], [3, 4]]), image([[10, 20]]), np.array([5.0])))
    y = apply("conv2d", x, w, b, stride=(1, 2))
    assert_close(y.array, image([[55], [115]]))
    y.backward(image([[1], [2]]))
    assert_close(x.grad.array, image([[10, 20], [20, 40]]))
    assert_close(w.grad.array, image([[7, 10]]))
    assert_close(b.grad.array, np.array([3.0]))
