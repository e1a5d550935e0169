"""Convolution on the GPU: every rung and pass against the formula."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu

from minicnn.backends import cuda
from minicnn.errors import AlgorithmError
from minicnn.ops import conv2d
from minicnn.ops.conv2d import OPERATION
from minicnn.ops.registry import algorithm

ROUNDED = ("cuda_tf32", "cuda_bf16", "cuda_winograd")  # have tests and tolerances of their own
RUNGS = tuple(name for name in OPERATION.cuda if name not in ROUNDED)
EXACT = {"cuda_naive", "cuda_tiled", "cuda_registers"}  # have float64 too
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}

# x, w, options: odd, prime and one-sized shapes, borders, strides, several tiles
CASES = {
    "3x3": ((2, 5, 9, 7), (6, 5, 3, 3), {"padding": 1}),
    "no border": ((1, 3, 5, 11), (7, 3, 3, 2), {}),
    "stride 2": ((2, 4, 10, 9), (6, 4, 3, 3), {"stride": 2, "padding": 1}),
    "stride 3, 2": ((1, 3, 11, 8), (2, 3, 4, 3), {"stride": (3, 2), "padding": (2, 0)}),
    "stride over the kernel": ((2, 3, 7, 7), (4, 3, 1, 1), {"stride": 2}),
    "1x1": ((3, 17, 4, 5), (19, 17, 1, 1), {}),
    "stem": ((1, 3, 17, 15), (8, 3, 7, 7), {"stride": 2, "padding": 3}),
    "dilation": ((1, 4, 9, 12), (3, 4, 3, 3), {"dilation": (2, 3), "padding": 2}),
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "many channels": ((1, 70, 4, 3), (67, 70, 3, 3), {"padding": 1}),
    "many pixels": ((2, 3, 23, 19), (5, 3, 3, 3), {"padding": 1}),
    "several tiles": ((1, 132, 5, 6), (140, 132, 3, 3), {"padding": 1}),
    "several tiles, stride 2": ((2, 68, 17, 15), (72, 68, 3, 3), {"stride": 2, "padding": 1}),
    "no image": ((0, 3, 5, 5), (4, 3, 3, 3), {}),
}
NAIVE_CASES = {
    "groups": ((2, 6, 7, 5), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((1, 5, 6, 6), (10, 1, 3, 3), {"groups": 5, "stride": 2}),
    "stride and dilation": ((1, 3, 13, 12), (4, 3, 3, 3), {"stride": 2, "dilation": 2, "padding": 1}),
}


def arrays(case, dtype, seed=0):
    x_shape, w_shape, options = case
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape, w_shape[:1]))
    _, y_shape = conv2d.check_shapes(x_shape, w_shape, *_full(options).values())
    return x, w, b, rng.standard_normal(y_shape).astype(dtype), options


def _full(options):
    return {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}


def by_formula(x, w, b, dy, options):
    x, w, b, dy = (a.astype(np.float64) for a in (x, w, b, dy))
    with algorithm(conv2d="formula"):
        return (
            conv2d.forward(x, w, b, **options),
            conv2d.grad_input(dy, w, x.shape, **options),
            conv2d.grad_weight(dy, x, w.shape, **options),
            conv2d.grad_bias(dy),
        )


def by_rung(rung, x, w, b, dy, options):
    with algorithm(conv2d=rung):
        return (
            on_gpu(conv2d.forward, x, w, b, **options),
            on_gpu(conv2d.grad_input, dy, w, x.shape, **options),
            on_gpu(conv2d.grad_weight, dy, x, w.shape, **options),
            on_gpu(conv2d.grad_bias, dy),
        )


def check(rung, case, dtype):
    given = arrays(case, dtype)
    for found, wanted in zip(by_rung(rung, *given), by_formula(*given), strict=True):
        assert found.dtype == dtype
        assert_close(found, wanted, rtol=TOLERANCE[dtype], dtype=False)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("rung", "dtype"), [(r, d) for r in RUNGS for d in TOLERANCE if d == np.float32 or r in EXACT])
def test_every_rung_equals_the_formula(gpu, rung, dtype, case):
    check(rung, CASES[case], dtype)


@pytest.mark.parametrize("case", NAIVE_CASES)
def test_all_options_have_a_rung(gpu, case):
    check("cuda_naive", NAIVE_CASES[case], np.float64)


def test_rungs_say_what_they_do_not_support(gpu):
    x, w, _, _, options = arrays(NAIVE_CASES["groups"], np.float32)
    with algorithm(conv2d="cuda_tiled"), pytest.raises(AlgorithmError, match="groups must be 1"):
        on_gpu(conv2d.forward, x, w, **options)
    with algorithm(conv2d="im2col"), pytest.raises(AlgorithmError, match="must live on the CPU"):
        on_gpu(conv2d.forward, x, w, **options)


@pytest.mark.parametrize("rung", RUNGS)
def test_many_parts_of_the_pixels(gpu, rung):
    """grad_weight of so many pixels that they are split, and added in order."""
    x, w, _, dy, options = arrays(((1, 2, 61, 37), (3, 2, 3, 3), {"padding": 1}), np.float32)
    with algorithm(conv2d=rung):
        found = on_gpu(conv2d.grad_weight, dy, x, w.shape, **options)
    wanted = by_formula(x, w, w[:, 0, 0, 0], dy, options)[2]
    assert_close(found, wanted, rtol=TOLERANCE[np.float32], dtype=False)


@pytest.mark.parametrize("rung", RUNGS)
def test_every_schedule_gives_the_same_bits(any_schedule, rung):
    given = arrays(CASES["stride 2"], np.float32)
    found = by_rung(rung, *given)
    for one, wanted in zip(found, by_formula(*given), strict=True):
        assert_close(one, wanted, rtol=TOLERANCE[np.float32], dtype=False)
    KEPT.setdefault(rung, found)
    assert all(np.array_equal(a, b) for a, b in zip(found, KEPT[rung], strict=True))


KEPT: dict[str, tuple[np.ndarray, ...]] = {}


def test_results_lie_channels_last(gpu):
    x, w, b, dy, options = arrays(CASES["3x3"], np.float32)
    y = conv2d.forward(*(cuda.to_gpu(a) for a in (x, w, b)), **options)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    dw = conv2d.grad_weight(cuda.to_gpu(dy), cuda.to_gpu(x), w.shape, **options)
    assert dw.transpose(0, 2, 3, 1).flags.c_contiguous
