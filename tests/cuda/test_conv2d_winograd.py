"""Winograd's convolution on the GPU against the formula: borders, odd sizes, groups of images, orders of threads."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu
from test_conv2d import _full, arrays, by_formula

from minicnn.errors import AlgorithmError
from minicnn.ops import conv2d
from minicnn.ops.conv2d import cuda_winograd
from minicnn.ops.registry import algorithm

CASES = {
    "odd": ((2, 5, 9, 7), (6, 5, 3, 3), {"padding": 1}),
    "whole tiles": ((1, 8, 8, 12), (4, 8, 3, 3), {"padding": 1}),
    "no border": ((1, 4, 7, 11), (8, 4, 3, 3), {}),
    "wide border": ((1, 4, 3, 5), (4, 4, 3, 3), {"padding": (2, 0)}),
    "one pixel": ((1, 3, 1, 1), (2, 3, 3, 3), {"padding": 1}),
    "many channels": ((1, 70, 6, 5), (67, 70, 3, 3), {"padding": 1}),
    "no image": ((0, 4, 5, 5), (4, 4, 3, 3), {"padding": 1}),
}
TOLERANCE = 5e-6  # the error is near ten times that of a sum of products


def both(x, w, b, dy, options):
    with algorithm(conv2d="cuda_winograd"):
        return on_gpu(conv2d.forward, x, w, b, **options), on_gpu(conv2d.grad_input, dy, w, x.shape, **options)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_formula(gpu, case):
    given = arrays(CASES[case], np.float32)
    for found, wanted in zip(both(*given), by_formula(*given), strict=False):
        assert found.dtype == np.float32
        assert_close(found, wanted, rtol=TOLERANCE, dtype=False)


@pytest.mark.parametrize("most", [0, 40_000])
def test_groups_of_images(gpu, monkeypatch, most):
    given = arrays(((5, 8, 9, 7), (12, 8, 3, 3), {"padding": 1}), np.float32)
    whole = both(*given)
    monkeypatch.setattr(cuda_winograd, "MOST_NUMBERS", most)
    assert all(np.array_equal(a, e) for a, e in zip(both(*given), whole, strict=True))


def test_every_schedule_gives_the_same_bits(any_schedule):
    found = both(*arrays(CASES["odd"], np.float32))
    KEPT.setdefault("first", found)
    assert all(np.array_equal(a, e) for a, e in zip(found, KEPT["first"], strict=True))


KEPT: dict[str, tuple[np.ndarray, ...]] = {}


@pytest.mark.parametrize(
    ("w_shape", "options", "rule"),
    [
        ((4, 4, 1, 1), {}, "3x3"),
        ((4, 4, 3, 3), {"stride": 2}, "stride"),
        ((4, 4, 3, 3), {"dilation": 2}, "dilation"),
        ((4, 4, 3, 3), {"padding": 3}, "padding"),
        ((4, 2, 3, 3), {"groups": 2}, "groups"),
    ],
)
def test_says_what_it_does_not_support(gpu, w_shape, options, rule):
    x, w = np.ones((1, 4, 8, 8), np.float32), np.ones(w_shape, np.float32)
    with algorithm(conv2d="cuda_winograd"), pytest.raises(AlgorithmError, match=rule):
        on_gpu(conv2d.forward, x, w, **_full(options))
