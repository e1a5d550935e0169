"""Transposed convolution: by hand; algorithms and passes against sums written out; adjoint to conv2d; errors."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from compare import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.autograd import Tensor, apply
from minicnn.errors import ArgumentError, DTypeError, MinicnnError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import conv2d, conv_transpose2d
from minicnn.ops.registry import algorithm
from minicnn.ops.windows import pair

ALGORITHMS = ("adjoint", "formula")
PASSES = ("forward", "grad_input", "grad_weight", "grad_bias")
DEFAULTS = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}

# shape of x, shape of w (C, K/groups, R, S), options
CASES = [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((2, 3, 5, 7), (3, 4, 3, 3), {}),
    ((2, 3, 3, 5), (3, 4, 4, 4), {"stride": 2, "padding": 1}),  # a decoder's: the size doubles
    ((2, 3, 5, 3), (3, 2, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),  # the same with a kernel of 3
    ((1, 5, 7, 1), (5, 3, 3, 1), {"padding": (1, 0)}),
    ((2, 1, 1, 5), (1, 7, 1, 5), {"stride": (1, 3), "padding": (0, 2), "output_padding": (0, 2)}),
    ((2, 2, 3, 2), (2, 3, 2, 2), {"stride": (5, 3)}),  # between the copies of the kernel there is only the bias
    ((2, 2, 3, 3), (2, 3, 1, 1), {"stride": 2, "output_padding": 1}),
    ((1, 2, 5, 4), (2, 3, 2, 3), {"padding": (2, 1)}),  # padding >= the kernel: pixels of x that reach nothing
    ((1, 2, 4, 3), (2, 3, 3, 2), {"dilation": (2, 3), "padding": (1, 2)}),
    ((1, 2, 3, 4), (2, 3, 2, 2), {"dilation": 4, "output_padding": (3, 2), "padding": 1}),  # more than stride
    ((1, 2, 3, 2), (2, 3, 2, 3), {"stride": 2, "dilation": (5, 3), "output_padding": (4, 2), "padding": (3, 1)}),
    ((2, 4, 3, 5), (4, 3, 3, 3), {"groups": 2, "stride": 2, "padding": 1}),
    ((1, 6, 3, 2), (6, 1, 2, 3), {"groups": 3, "output_padding": 1, "stride": (2, 3)}),
    ((2, 5, 4, 3), (5, 1, 3, 3), {"groups": 5, "padding": 1}),  # one kernel a channel
    ((3, 17, 8, 8), (17, 20, 4, 4), {"stride": 2, "padding": 1}),  # more channels than a vector
    ((0, 3, 5, 4), (3, 2, 3, 3), {"stride": 2}),  # no image
]


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(conv_transpose2d=request.param):
        yield request.param


def full(options) -> dict:
    """Options as pairs."""
    steps = {name: pair(options.get(name, least), name, "", least=0) for name, least in DEFAULTS.items()}
    return {**steps, "groups": options.get("groups", 1)}


def y_shape(x_shape, w_shape, options) -> tuple[int, ...]:
    """From the place of the last tap of the last pixel, and what is cut off."""
    o, sizes = full(options), []
    for axis in (0, 1):
        last = (x_shape[2 + axis] - 1) * o["stride"][axis] + (w_shape[2 + axis] - 1) * o["dilation"][axis]
        sizes.append(last + 1 - 2 * o["padding"][axis] + o["output_padding"][axis])
    return (x_shape[0], w_shape[1] * o["groups"], *sizes)


def draw(x_shape, w_shape, options, dtype=np.float64, seed=0):
    """x, w, b and dy."""
    rng, shape = np.random.default_rng(seed), y_shape(x_shape, w_shape, options)
    return [rng.standard_normal(s).astype(dtype) for s in (x_shape, w_shape, shape[1:2], shape)]


def passes(x, w, b, dy, options) -> dict[str, np.ndarray]:
    """All passes of the public functions."""
    return {
        "forward": conv_transpose2d.forward(x, w, b, **options),
        "grad_input": conv_transpose2d.grad_input(dy, w, x.shape, **options),
        "grad_weight": conv_transpose2d.grad_weight(dy, x, w.shape, **options),
        "grad_bias": conv_transpose2d.grad_bias(dy),
    }


def written_out(x, w, b, dy, options) -> dict[str, np.ndarray]:
    """All passes, product by product: y[n,k,p,q] adds up x[n,c,h,v] w[c,k,r,s] where p and q are inside."""
    o = full(options)
    (sh, sw), (ph, pw), (dh, dw), groups = (o[name] for name in ("stride", "padding", "dilation", "groups"))
    (_, _, height, width), outputs = dy.shape, w.shape[1]
    y, dx, dwt, db = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape), np.zeros(dy.shape[1])
    y += b[:, None, None]
    for n in range(len(dy)):
        db += dy[n].sum((1, 2))
    for c, k, r, s in np.ndindex(*w.shape):
        to = c // (len(w) // groups) * outputs + k
        for h, v in np.ndindex(*x.shape[2:]):
            p, q = h * sh + r * dh - ph, v * sw + s * dw - pw
            if 0 <= p < height and 0 <= q < width:
                y[:, to, p, q] += x[:, c, h, v] * w[c, k, r, s]
                dx[:, c, h, v] += dy[:, to, p, q] * w[c, k, r, s]
                dwt[c, k, r, s] += (dy[:, to, p, q] * x[:, c, h, v]).sum()
    return {"forward": y, "grad_input": dx, "grad_weight": dwt, "grad_bias": db}


@functools.cache
def expected(case: int, dtype: type) -> tuple[list[np.ndarray], dict]:
    """The arrays of a case, and what the products written out give in float64."""
    arrays = draw(*CASES[case], dtype)
    return arrays, written_out(*(a.astype(np.float64) for a in arrays), CASES[case][2])


def image(rows) -> np.ndarray:
    return np.array(rows, np.float64)[None, None]


# ---- what it computes -----------------------------------------------------------------------------------------------


def test_by_hand(each_algorithm):
    """Each pixel lays its copy of the kernel down, unflipped; copies add up; output_padding is no zero border."""
    x, w, b = image([[1, 2]]), image([[1, 10, 100]]), np.array([0.5])
    assert_close(conv_transpose2d.forward(x, w, b), image([[1.5, 12.5, 120.5, 200.5]]))
    assert_close(conv_transpose2d.forward(x, w, stride=2), image([[1, 10, 102, 20, 200]]))
    options = {"stride": (1, 2), "padding": (0, 1)}
    assert_close(conv_transpose2d.forward(x, w, **options), image([[10, 102, 20]]))
    assert_close(conv_transpose2d.forward(x, w, output_padding=(0, 1), **options), image([[10, 102, 20, 200]]))
    dy = image([[1, 2, 3]])
    assert_close(conv_transpose2d.grad_input(dy, w, x.shape, **options), image([[210, 32]]))
    assert_close(conv_transpose2d.grad_weight(dy, x, w.shape, **options), image([[4, 7, 2]]))


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{x}-{w}" for x, w, _ in CASES])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_sums_written_out(each_algorithm, case, dtype):
    arrays, products = expected(case, dtype)
    before = [a.copy() for a in arrays]
    found = passes(*arrays, CASES[case][2])
    assert tuple(found) == PASSES
    for name, result in found.items():
        assert_close(result, products[name].astype(dtype), rtol=TOLERANCE[arrays[0].dtype])
        result += 1  # nor may a result share memory with an input
    assert all(np.array_equal(a, kept) for a, kept in zip(arrays, before, strict=True))


@pytest.mark.parametrize("inner", ["formula", "im2col", "direct"])
def test_by_any_algorithm_of_conv2d(inner):
    """An algorithm of conv2d that is named computes the passes."""
    arrays, products = expected(1, np.float32)
    with algorithm(conv2d=inner):
        for name, result in passes(*arrays, {}).items():
            assert_close(result, products[name].astype(np.float32), rtol=1e-5)


@st.composite
def problems(draw):
    """Any valid problem with small sizes."""
    groups, kernels, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    options: dict = {"groups": groups}
    for name, least, most in (("stride", 1, 4), ("dilation", 1, 3)):
        options[name] = draw(st.tuples(st.integers(least, most), st.integers(least, most)))
    kernel, sizes, cut, more = [], [], [], []
    for axis in (0, 1):
        kernel.append(draw(st.integers(1, 3)))
        sizes.append(draw(st.integers(1, 4)))
        stride, dilation = options["stride"][axis], options["dilation"][axis]
        more.append(draw(st.integers(0, max(stride, dilation) - 1)))
        whole = (sizes[-1] - 1) * stride + dilation * (kernel[-1] - 1) + 1 + more[-1]
        cut.append(draw(st.integers(0, min(4, (whole - 1) // 2))))
    options.update(padding=tuple(cut), output_padding=tuple(more))
    return (draw(st.integers(0, 2)), groups * channels, *sizes), (groups * channels, kernels, *kernel), options


@settings(derandomize=True, deadline=None, max_examples=40)
@given(problems(), st.integers(0, 99))
def test_any_shape(problem, seed):
    arrays = draw(*problem, seed=seed)
    products = written_out(*arrays, problem[2])
    for name in ALGORITHMS:
        with algorithm(conv_transpose2d=name):
            for key, result in passes(*arrays, problem[2]).items():
                assert_close(result, products[key], rtol=1e-12, atol=1e-12)


def test_it_is_the_adjoint_of_conv2d():
    """<x, conv2d(z)> = <conv_transpose2d(x), z> for all images z of the size that it gives."""
    rng = np.random.default_rng(0)
    options = {"stride": (2, 3), "padding": (1, 2), "groups": 2}
    x, w = rng.standard_normal((2, 4, 5, 3)), rng.standard_normal((4, 3, 3, 4))
    y = conv_transpose2d.forward(x, w, output_padding=(1, 2), **options)
    z = rng.standard_normal(y.shape)
    assert_close((x * conv2d.forward(z, w, **options)).sum(), (y * z).sum(), rtol=1e-12)


def test_nan_and_infinity_reach_exactly_their_outputs(each_algorithm):
    """Zeros in w included: 0 * NaN and 0 * infinity are NaN; what no copy of the kernel reaches stays finite."""
    (x_shape, w_shape, options), dtype = CASES[6], np.float32
    for place, value in ((0, np.nan), (0, np.inf), (1, np.nan), (3, np.nan)):
        arrays = draw(x_shape, w_shape, options, dtype)
        arrays[1].flat[::3] = 0
        arrays[place][tuple(n // 2 for n in arrays[place].shape)] = value
        with np.errstate(invalid="ignore"):
            products = written_out(*(a.astype(np.float64) for a in arrays), options)
            for name, result in passes(*arrays, options).items():
                assert_close(result, products[name].astype(dtype), rtol=1e-5, nan_ok=True)


def test_float16_runs_too(each_algorithm):
    arrays = draw(*CASES[3], np.float16)
    exact = written_out(*(a.astype(np.float64) for a in arrays), CASES[3][2])
    for name, result in passes(*arrays, CASES[3][2]).items():
        assert_close(result, exact[name].astype(np.float16), rtol=1e-2)


# ---- gradients and the tape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [0, 3, 5, 8, 11, 13])
def test_gradient(each_algorithm, case):
    x, w, b, _ = draw(*CASES[case])
    report = gradcheck(lambda x, w, b: apply("conv_transpose2d", x, w, b, **CASES[case][2]), [x, w, b])
    assert [row.checked for row in report.inputs] == [x.size, w.size, b.size]


def test_the_tape_saves_what_a_wanted_gradient_needs():
    x, w, b, dy = draw(*CASES[1])
    for needs, kept in [
        ((True, False, False), {"w"}),
        ((False, True, False), {"x"}),
        ((False, False, True), set()),
        ((True, True, True), {"x", "w"}),
    ]:
        _, saved = conv_transpose2d.record(needs, x, w, b)
        assert {name for name, value in saved.items() if isinstance(value, np.ndarray)} == kept
        assert [g is not None for g in conv_transpose2d.backward(needs, saved, dy)] == list(needs)


def test_functional_has_the_order_of_pytorch():
    """... output_padding, groups, dilation."""
    x, w, b, _ = draw((1, 4, 3, 2), (4, 3, 2, 2), {"groups": 2})
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 3}
    y = F.conv_transpose2d(Tensor(x), Tensor(w), Tensor(b), 2, 1, 1, 2, 3)
    assert_close(y.array, conv_transpose2d.forward(x, w, b, **options), rtol=0)


# ---- errors ---------------------------------------------------------------------------------------------------------

X, W = (2, 4, 6, 7), (4, 6, 3, 3)


def refused(error: type[MinicnnError], text: str, call, *arguments, **options) -> None:
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    assert str(caught.value).startswith(f"conv_transpose2d: {text}")


@pytest.mark.parametrize(
    ("x", "w", "b", "options", "text"),
    [
        (X[1:], W, (6,), {}, "x must have 4 axes; seen x (4, 6, 7); rule: x: (N, C, H, W); hint: add the batch axis"),
        ((2, 4, 0, 7), W, (6,), {}, "x has an empty axis; seen x (2, 4, 0, 7); rule: C, H, W >= 1"),
        (X, (4, 6, 0, 3), (6,), {}, "w must have 4 axes, none empty; seen w (4, 6, 0, 3); rule: w: (C, K / groups, R"),
        (
            X,
            (6, 4, 3, 3),
            (4,),
            {},
            "the channels of x and w differ; seen x (2, 4, 6, 7), w (6, 4, 3, 3); rule: C = w.shape[0]; hint: give 6 c",
        ),
        (X, W, (6,), {"groups": 3}, "groups does not divide the input channels; seen w (4, 6, 3, 3), groups 3; rule:"),
        (
            X,
            W,
            (6,),
            {"groups": 2},
            "b does not fit w; seen b (6,), w (4, 6, 3, 3), groups 2; rule: b: (K,) with K = w.shape[1] * groups",
        ),
        (
            X,
            W,
            (6,),
            {"padding": (0, 5)},
            "the padding leaves nothing of the width; seen x (2, 4, 6, 7), w (4, 6, 3, 3), stride (1, 1), "
            "padding (0, 5): width -1; rule: (size - 1) * stride + dilation * (kernel - 1) + 1 + output_padding > 2 * ",
        ),
    ],
)
def test_shapes(each_algorithm, x, w, b, options, text):
    refused(ShapeError, text, conv_transpose2d.forward, np.zeros(x), np.zeros(w), np.zeros(b), **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stride": 0}, "stride is not valid; seen stride=0; rule: a whole number >= 1, or two"),
        ({"padding": -1}, "padding is not valid; seen padding=-1; rule: a whole number >= 0, or two"),
        ({"dilation": 1.5}, "dilation is not valid; seen dilation=1.5; rule: a whole number >= 1, or two"),
        ({"groups": 0}, "groups is not valid; seen groups=0; rule: groups >= 1"),
        ({"output_padding": -1}, "output_padding is not valid; seen output_padding=-1; rule: a whole number >= 0, or"),
        (
            {"output_padding": (0, 2), "stride": 2, "dilation": (3, 2)},
            "output_padding is not valid; seen output_padding=(0, 2), stride=2, dilation=(3, 2); "
            "rule: output_padding < stride, or < dilation",
        ),
    ],
)
def test_options(options, text):
    x, w, dy = np.zeros(X), np.zeros(W), np.zeros((2, 6, 8, 9))
    refused(ArgumentError, text, conv_transpose2d.forward, x, w, **options)
    refused(ArgumentError, text, conv_transpose2d.grad_input, dy, w, x.shape, **options)
    refused(ArgumentError, text, conv_transpose2d.grad_weight, dy, x, w.shape, **options)


def test_backward_passes_want_the_shape_of_y():
    x, w = np.zeros(X), np.zeros(W)
    text = "dy does not have the shape of y; seen dy (2, 6, 8, 8), y (2, 6, 8, 9)"
    refused(ShapeError, text, conv_transpose2d.grad_input, np.zeros((2, 6, 8, 8)), w, X)
    refused(ShapeError, text, conv_transpose2d.grad_weight, np.zeros((2, 6, 8, 8)), x, W)
    text = "x must have 4 axes, none but N empty; seen x (4, 6, 7)"
    refused(ShapeError, text, conv_transpose2d.grad_input, np.zeros((2, 6, 8, 9)), w, X[1:])
    with pytest.raises(DTypeError, match=r"^conv_transpose2d: x and w have different dtypes"):
        conv_transpose2d.forward(x, w.astype(np.float32))
