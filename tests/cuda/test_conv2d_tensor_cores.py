"""Convolution on the GPU's tensor cores: like the formula on factors that are rounded beforehand.

Products of rounded factors are exact in float32, so what is left is the rounding of sums, as in the other rungs. That
holds the rounding too, and is far stricter than a tolerance of rounded numbers.
"""

from __future__ import annotations

import numpy as np
import nvrtc
import pytest
from compare import assert_close
from on_gpu import on_gpu
from test_conv2d import CASES, arrays, by_formula

from minicnn.backends import cuda_kernels
from minicnn.errors import AlgorithmError
from minicnn.ops import conv2d
from minicnn.ops.conv2d import tensor_cores
from minicnn.ops.conv2d.cuda_common import HERE, PASSES
from minicnn.ops.registry import algorithm

TOLERANCE = 2e-6
MORE_CASES = {  # whole tiles and parts of them, several slabs of depth, channels that need no padding
    "whole units": ((2, 16, 9, 7), (24, 16, 3, 3), {"padding": 1}),
    "two tiles each way": ((1, 8, 13, 12), (136, 8, 2, 3), {"padding": (0, 1)}),
    "deep": ((1, 136, 3, 4), (8, 136, 3, 3), {"padding": 1}),
    "stride 2, whole units": ((2, 8, 11, 14), (16, 8, 3, 3), {"stride": 2, "padding": 1}),
}
ALL_CASES = {**CASES, **MORE_CASES}


def to_tf32(x):
    """Rounded to 10 bits of mantissa, ties away from zero."""
    bits = x.astype(np.float32).view(np.uint32) + np.uint32(1 << 12)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def to_bf16(x):
    """Rounded to 7 bits of mantissa, ties to even."""
    bits = x.astype(np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


RUNGS = {
    "cuda_tf32": (to_tf32, ("forward", "grad_input", "grad_weight")),
    "cuda_bf16": (to_bf16, ("forward", "grad_input")),
}


def expected(case, rung):
    rounded = RUNGS[rung][0]
    x, w, b, dy, options = arrays(case, np.float32)
    y, dx, dw, _ = by_formula(rounded(x), rounded(w), b, rounded(dy), options)
    return {"forward": y, "grad_input": dx, "grad_weight": dw}


def found(case, rung):
    x, w, b, dy, options = arrays(case, np.float32)
    calls = {
        "forward": (conv2d.forward, x, w, b),
        "grad_input": (conv2d.grad_input, dy, w, x.shape),
        "grad_weight": (conv2d.grad_weight, dy, x, w.shape),
    }
    with algorithm(conv2d=rung):
        return {name: on_gpu(*calls[name], **options) for name in RUNGS[rung][1]}


def check(case, rung):
    wanted = expected(case, rung)
    for name, y in found(case, rung).items():
        assert y.dtype == np.float32
        try:
            assert_close(y, wanted[name], rtol=TOLERANCE, dtype=False)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("case", ALL_CASES)
@pytest.mark.parametrize("rung", RUNGS)
def test_equals_the_formula_on_rounded_factors(gpu, rung, case):
    check(ALL_CASES[case], rung)


@pytest.mark.parametrize("tile", tensor_cores.TILES, ids=lambda tile: f"{tile.rows}x{tile.columns}")
@pytest.mark.parametrize("rung", RUNGS)
def test_every_tile(gpu, rung, tile, monkeypatch):
    """The tiles that small layers would not choose."""
    monkeypatch.setattr(tensor_cores, "TILES", (tile,))
    for case in (MORE_CASES["two tiles each way"], MORE_CASES["stride 2, whole units"]):
        check(case, rung)


def test_parts_of_the_pixels(gpu):
    """Grad_weight of so many pixels that they are split, into parts that are no whole slabs."""
    case = ((1, 4, 61, 37), (4, 4, 3, 3), {"padding": 1})
    check(case, "cuda_tf32")


@pytest.mark.parametrize("rung", RUNGS)
def test_every_schedule_gives_the_same_bits(any_schedule, rung):
    case = MORE_CASES["stride 2, whole units"]
    check(case, rung)
    again = found(case, rung)
    kept = KEPT.setdefault(rung, again)
    assert all(again[name].tobytes() == kept[name].tobytes() for name in again)


KEPT: dict[str, dict[str, np.ndarray]] = {}


@pytest.mark.parametrize("rung", RUNGS)
def test_infinity_and_nan_stay(gpu, rung):
    x = np.zeros((1, 4, 1, 6), np.float32)
    x[0, 0, 0] = [1, np.inf, -np.inf, np.nan, 3e38, 0]
    x.view(np.uint32)[0, 0, 0, 3] = 0x7FFFFFFF  # the NaN that GPUs make
    w = np.ones((4, 4, 1, 1), np.float32)
    with algorithm(conv2d=rung):
        y = on_gpu(conv2d.forward, x, w, None)
    wanted = RUNGS[rung][0](x[0, 0, 0])
    wanted[3] = np.nan
    for channel in y[0, :, 0]:
        np.testing.assert_array_equal(channel, wanted)


@pytest.mark.parametrize("rung", RUNGS)
def test_float64_is_refused(gpu, rung):
    x, w, _, _, options = arrays(CASES["3x3"], np.float64)
    with algorithm(conv2d=rung), pytest.raises(AlgorithmError, match="numbers must be float32"):
        on_gpu(conv2d.forward, x, w, **options)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("rung", "pass_name"), [(rung, name) for rung, (_, names) in RUNGS.items() for name in names])
def test_two_blocks_of_the_largest_tile_fit(rung, pass_name, arch):
    """Layers of real networks take it; those of the tests do not, so `test_compiles.py` does not see it."""
    if nvrtc.missing():
        pytest.skip(nvrtc.missing())
    name, tile = rung.removeprefix("cuda_"), tensor_cores.TILES[0]
    macros = {"PASS": PASSES[pass_name], "STAGES": tensor_cores.STAGES, **tile.macros()}
    code = cuda_kernels.source(HERE / f"{name}.cu")
    needs = nvrtc.compiled(code, [f"-D{key}={value}" for key, value in macros.items()], arch)[name]
    assert (needs.spilled, needs.stack) == (0, 0)
    assert 2 * tensor_cores.THREADS * needs.registers <= 65536
    shared = {"sm_80": 164 << 10, "sm_90": 228 << 10}[arch]  # of a multiprocessor; 1 KiB a block is the system's
    assert 2 * (tile.shared(pass_name == "grad_weight") + 1024) <= shared


def test_small_layers_take_small_tiles():
    assert tensor_cores._choose(256 * 56 * 56, 64, 1, divisible=False).columns == 64
    assert tensor_cores._choose(256 * 28 * 28, 128, 1, divisible=False)[:2] == (128, 128)
    assert tensor_cores._choose(1 * 7 * 7, 512, 1, divisible=False)[:2] == (64, 64)
