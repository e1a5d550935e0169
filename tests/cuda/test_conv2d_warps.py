"""Convolution with tiles divided among warps: every tile, the depth in parts, the fused end, the choice by layer."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from on_gpu import on_gpu
from test_conv2d import CASES, _full, arrays, by_formula

from minicnn.ops.conv2d import cuda_warps
from minicnn.ops.conv2d.cuda_product import Rung, Work
from minicnn.ops.conv2d.cuda_warps import PROCESSORS, RATES, plan

CHOSEN = ("several tiles", "several tiles, stride 2", "stem", "stride over the kernel", "dilation", "many pixels")


def rung(tile, parts) -> Rung:
    return Rung("warps", (tile,), aligned=True, extra=1, plan=lambda _, work: (tile, parts))


def options_of(case):
    return {key: (value,) * 2 if isinstance(value, int) else value for key, value in _full(case[2]).items()} | {
        "groups": 1
    }


@pytest.mark.parametrize("case", CHOSEN)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("tile", RATES, ids=lambda tile: f"{tile.rows}x{tile.columns}")
def test_every_tile_and_parts(gpu, tile, parts, case):
    x, w, b, dy, _ = arrays(CASES[case], np.float32)
    full = options_of(CASES[case])
    wanted = by_formula(x, w, b, dy, CASES[case][2])
    one = rung(tile, parts)
    found = (
        on_gpu(one.forward, x, w, b, **full),
        on_gpu(one.grad_input, dy, w, x_shape=x.shape, **full),
        on_gpu(one.grad_weight, dy, x, w_shape=w.shape, **full),
    )
    for a, e in zip(found, wanted, strict=False):
        assert_close(a, e, rtol=2e-6, dtype=False)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("case", ["3x3", "stride 2"])
def test_residual_and_relu(gpu, case, parts, relu):
    x, w, b, residual, _ = arrays(CASES[case], np.float32)
    options = options_of(CASES[case])
    del options["groups"]
    y = by_formula(x, w, b, residual, CASES[case][2])[0] + residual
    y = np.maximum(y, 0) if relu else y
    one = rung(next(iter(RATES)), parts)
    assert_close(on_gpu(one.fused, x, w, b, residual, relu, **options), y, rtol=2e-6, dtype=False)


@pytest.mark.parametrize("parts", [1, 2])
def test_relu_keeps_nan(gpu, parts):
    x, w = np.ones((1, 4, 3, 3), np.float32), np.ones((4, 4, 1, 1), np.float32)
    x[0, 0, 1, 1] = np.nan
    options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    y = on_gpu(rung(next(iter(RATES)), parts).fused, x, w, None, None, True, **options)
    assert_close(y, np.where(np.isnan(x[:, :1]), np.nan, np.full_like(y, 4)), nan_ok=True, dtype=False)


def test_parts_are_added_in_one_order(any_schedule):
    x, w, b, dy, _ = arrays(CASES["several tiles, stride 2"], np.float32)
    options = options_of(CASES["several tiles, stride 2"])
    one = rung(list(RATES)[-1], 5)
    y = on_gpu(one.forward, x, w, b, **options)
    dx = on_gpu(one.grad_input, dy, w, x_shape=x.shape, **options)
    KEPT.setdefault("first", (y, dx))
    assert all(np.array_equal(a, e) for a, e in zip((y, dx), KEPT["first"], strict=True))


KEPT: dict[str, tuple[np.ndarray, ...]] = {}


def test_large_layers_take_large_tiles():
    tile, parts = plan(cuda_warps.RUNG, Work("forward", 256 * 28 * 28, 128, 9 * 128))
    assert (tile.rows, tile.columns, parts) == (128, 128, 1)


@pytest.mark.parametrize(("size", "channels"), [(56, 64), (28, 128), (14, 256), (7, 512)])
def test_one_image_fills_the_gpu(size, channels):
    """By parts of the depth: 7 x 7 pixels and 512 channels are 16 tiles of 64 x 32."""
    for name in ("forward", "grad_input"):
        work = Work(name, size * size, channels, 9 * channels)
        tile, parts = plan(cuda_warps.RUNG, work)
        assert tile.blocks(work.rows, work.columns) * parts > PROCESSORS
