"""Each vector operation against NumPy, NaN and infinity among the numbers; tiles against a product of matrices.

test_other_machines.py runs this file again as for a machine with other vectors.
"""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from numba import njit

from minicnn.backends import cpu as machine
from minicnn.backends.cpu import TILE, VECTOR_BYTES
from minicnn.backends.scratch import aligned_zeros
from minicnn.backends.simd import (
    lanes,
    prefetch,
    relu,
    vload,
    vloads,
    vmax,
    vsplat,
    vstore,
    vstores,
    vstream,
    vzero,
    where_positive,
)
from minicnn.backends.tiles import tile_add, tile_fma, tile_load, tile_relu, tile_store, tile_stream, tile_zero

NAN, INF = np.nan, np.inf
MR, NV = TILE
SPECIAL = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 2.5, -3.25, 1e-30, -1e-30, 7.0])
compiled = njit(fastmath={"contract"}, error_model="numpy")


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


def pairs(dtype) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of the special numbers, filled up to whole vectors."""
    u, v = (grid.ravel() for grid in np.meshgrid(SPECIAL, SPECIAL))
    more = -len(u) % VECTOR_BYTES
    return np.pad(u, (0, more)).astype(dtype), np.pad(v, (0, more)).astype(dtype)


def same(found, expected) -> None:
    """Equal, zeros by sign too, and NaN in the same places."""
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=True)
    there = ~np.isnan(expected)
    assert np.array_equal(np.signbit(found[there]), np.signbit(expected[there]))


# ---- the machine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ({"avx512f", "avx2", "sse2"}, "AVX-512"),
        ({"avx512vl", "avx2"}, "AVX2"),
        ({"avx2"}, "AVX2"),
        ({"avx", "sse4.2"}, "SSE"),
        ({"neon"}, "NEON"),
        (set(), "SSE"),
    ],
)
def test_instruction_set(features, name):
    assert machine.instruction_set(features) == name


@pytest.mark.parametrize(
    ("cpu", "given", "name"),
    [
        ("haswell", "+avx,+avx2,-avx512f", "AVX2"),
        ("skylake-avx512", "+avx,-avx2", "SSE"),  # features say more than the name
        ("skylake-avx512", None, "AVX-512"),
        ("icelake-server", None, "AVX-512"),
        ("skylake", None, "AVX2"),
        ("znver3", "", "AVX2"),
        ("generic", None, "SSE"),
        ("nehalem", "", "SSE"),
    ],
)
def test_cpu_features(monkeypatch, cpu, given, name):
    monkeypatch.setattr(machine.config, "CPU_NAME", cpu)
    monkeypatch.setattr(machine.config, "CPU_FEATURES", given)
    assert machine.instruction_set(machine.cpu_features()) == name


@pytest.mark.parametrize("cpu", [None, "", "host"])
def test_cpu_features_of_this_machine(monkeypatch, cpu):
    monkeypatch.setattr(machine.config, "CPU_NAME", cpu)
    monkeypatch.setattr(machine.config, "CPU_FEATURES", None)
    host = machine.binding.get_host_cpu_features()
    assert machine.cpu_features() == {name for name in host if host[name]}


def test_lanes(dtype):
    @compiled
    def kernel(a):
        return lanes(a)

    a = np.zeros(1, dtype)
    assert kernel(a) == lanes(a) == machine.lanes_of(dtype) == VECTOR_BYTES // a.itemsize


# ---- vectors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_load_and_store_anywhere(dtype, offset):
    @compiled
    def kernel(a, b, i):
        prefetch(a, i + 1000000)  # may lie anywhere
        vstore(b, i + 1, vload(a, i))

    a = np.arange(200, dtype=dtype)
    b = np.zeros_like(a)
    kernel(a, b, offset)
    expected = np.zeros_like(a)
    many = machine.lanes_of(dtype)
    expected[offset + 1 : offset + 1 + many] = a[offset : offset + many]
    assert np.array_equal(b, expected)


def test_zero_and_splat(dtype):
    @compiled
    def kernel(a, s):
        vstore(a, 1, vzero(a))
        vstore(a, 1 + lanes(a), vsplat(a, s))

    many = machine.lanes_of(dtype)
    a = np.full(2 * many + 2, 9, dtype)
    kernel(a, 0.1)
    same(a, np.array([9, *[0] * many, *[0.1] * many, 9], dtype))


def test_arithmetic(dtype):
    @compiled
    def kernel(x, y, s, out):
        for i in range(0, x.size, lanes(x)):
            u, v = vload(x, i), vload(y, i)
            vstore(out[0], i, u + v)
            vstore(out[1], i, u - v)
            vstore(out[2], i, u * v)
            vstore(out[3], i, s * v)
            vstore(out[4], i, u * s)
            vstore(out[5], i, s - v)
            vstore(out[6], i, 3 + u)

    x, y = pairs(dtype)
    s = dtype(0.3)
    out = np.zeros((7, x.size), dtype)
    kernel(x, y, s, out)
    with np.errstate(all="ignore"):
        for found, expected in zip(out, (x + y, x - y, x * y, s * y, x * s, s - y, 3 + x), strict=True):
            same(found, expected)


def test_maximum_and_relu_keep_nan(dtype):
    @compiled
    def kernel(x, y, out):
        for i in range(0, x.size, lanes(x)):
            u, v = vload(x, i), vload(y, i)
            vstore(out[0], i, vmax(u, v))
            vstore(out[1], i, relu(u))
            vstore(out[2], i, where_positive(u, v))

    x, y = pairs(dtype)
    out = np.zeros((3, x.size), dtype)
    kernel(x, y, out)
    expected = np.maximum(x, y), np.where(x < 0, dtype(0), x), np.where(x <= 0, dtype(0), y)
    for found, right in zip(out, expected, strict=True):
        assert np.array_equal(found, right, equal_nan=True)


def test_several_vectors_at_once(dtype):
    @compiled
    def kernel(a, b, i, a_step, b_step):
        vstores(vloads(3, a, i, a_step), b, i, b_step)

    a = np.arange(400, dtype=dtype)
    b = np.zeros_like(a)
    kernel(a, b, 5, 70, 90)
    expected = np.zeros_like(a)
    many = machine.lanes_of(dtype)
    for j in range(3):
        expected[5 + 90 * j : 5 + 90 * j + many] = a[5 + 70 * j : 5 + 70 * j + many]
    assert np.array_equal(b, expected)


# ---- tiles ----------------------------------------------------------------------------------------------------------


def tile_product(mr, nv):
    """c[tile] = relu?(c[tile] + a @ b + bias), for tiles of mr x nv vectors."""

    @compiled
    def kernel(a, lda, b, K, bias, c, ic, ldc, begin, activate):
        tile = tile_load(mr, nv, c, ic, ldc)
        if begin:
            tile = tile_zero(mr, nv, c)
        for k in range(K):
            tile = tile_fma(mr, nv, tile, a, k, lda, b, k * nv * lanes(b))
        tile = tile_add(mr, nv, tile, bias, 0, 0)
        if activate:
            tile = tile_relu(tile)
        tile_store(mr, nv, tile, c, ic, ldc)

    return kernel


@pytest.mark.parametrize(("mr", "nv"), sorted({TILE, (1, 1), (3, 1), (4, 2), (2, 3)}))
def test_a_tile_is_a_product_of_matrices(dtype, mr, nv):
    rng = np.random.default_rng(0)
    K, wide = 29, nv * machine.lanes_of(dtype)
    kernel = tile_product(mr, nv)
    a = rng.standard_normal((mr, K + 2)).astype(dtype)
    b = rng.standard_normal((K, wide)).astype(dtype)
    bias = rng.standard_normal(wide).astype(dtype)
    for begin in (True, False):
        for activate in (True, False):
            c = rng.standard_normal((mr + 2, wide + 5)).astype(dtype)
            expected = c.astype(np.float64)
            tile = expected[1:-1, 2 : 2 + wide]
            tile[:] = (0 if begin else tile) + a[:, :K].astype(np.float64) @ b + bias
            if activate:
                tile[tile < 0] = 0
            kernel(a.ravel(), K + 2, b.ravel(), K, bias, c.reshape(-1), wide + 5 + 2, wide + 5, begin, activate)
            assert_close(c, expected.astype(dtype), rtol=2e-6 if dtype == np.float32 else 1e-14)


def test_a_multiply_add_rounds_once(dtype):
    """(1 + e)(1 - e) - 1 = -e^2, which two roundings would lose."""
    kernel = tile_product(MR, NV)
    e = np.finfo(dtype).eps
    wide = NV * machine.lanes_of(dtype)
    c = np.full(MR * wide, -1, dtype)
    kernel(
        np.full(MR, 1 + e, dtype), 1, np.full(wide, 1 - e, dtype), 1, np.zeros(wide, dtype), c, 0, wide, False, False
    )
    assert (c == -(e**2)).all()


def test_nan_and_infinity_in_a_tile(dtype):
    """Each stays in its row and its column; ReLU keeps NaN."""
    wide = NV * machine.lanes_of(dtype)
    a, b = np.ones((MR, 3), dtype), np.ones((3, wide), dtype)
    a[1, 1], b[2, 1] = NAN, INF
    c = np.zeros((MR, wide), dtype)
    tile_product(MR, NV)(a.ravel(), 3, b.ravel(), 3, np.zeros(wide, dtype), c.reshape(-1), 0, wide, True, True)
    expected = np.full((MR, wide), 3, dtype)
    expected[:, 1] = INF
    expected[1] = NAN
    assert np.array_equal(c, expected, equal_nan=True)


def test_past_the_caches(dtype):
    """The same numbers at the same places."""
    wide = machine.lanes_of(dtype)

    @compiled
    def kernel(a, b, c):
        vstream(b, lanes(a), vload(a, 1))
        tile_stream(MR, NV, tile_load(MR, NV, a, 2, 2 * NV * lanes(a)), c, NV * lanes(a), 2 * NV * lanes(a))

    rng = np.random.default_rng(0)
    a = rng.standard_normal(2 * MR * NV * wide + 2).astype(dtype)
    b, c = aligned_zeros(3 * wide, dtype), aligned_zeros((2 * MR + 1) * NV * wide, dtype)
    kernel(a, b, c)
    same(b, np.concatenate([np.zeros(wide), a[1 : 1 + wide], np.zeros(wide)]).astype(dtype))
    expected = np.zeros(((2 * MR + 1) * NV * wide,), dtype)
    for i in range(MR):
        at = (2 * i + 1) * NV * wide
        expected[at : at + NV * wide] = a[2 + 2 * i * NV * wide :][: NV * wide]
    same(c, expected)
