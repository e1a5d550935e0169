"""Dropout on the GPU: against the formula; masks by Philox, against a reference with its published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from on_gpu import on_gpu

import minicnn
from minicnn import Tensor
from minicnn.backends import cuda
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import dropout
from minicnn.ops.dropout.cuda import draw_mask
from minicnn.ops.registry import algorithm

SHAPES = [(), (1,), (7,), (3, 1, 5), (2, 3, 5, 7), (0, 3), (257,)]


def philox(counter, key):
    """Philox 4x32-10 as published: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011)."""
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k0, p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def test_the_reference_gives_the_published_numbers():
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([2**32 - 1] * 4, [2**32 - 1] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert philox(pi, [0xA4093822, 0x299F31D0]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_masks_are_philox(gpu, p):
    first, second = (int(n) for n in np.random.default_rng(5).integers(0, 2**32, 2, np.uint32))
    numbers = [n for i in range(51) for n in philox([i, 0, 0, 0], [first, second])][:203]
    mask = draw_mask((203,), p, np.random.default_rng(5))
    assert np.array_equal(cuda.to_cpu(mask), np.array(numbers) >= p * 2**32)


def test_the_share_that_stays(gpu):
    mask = cuda.to_cpu(draw_mask((40, 3, 20, 17), 0.3, np.random.default_rng(0)))
    assert abs(mask.mean() - 0.7) < 0.01
    assert abs((mask[1:] == mask[:-1]).mean() - (0.7**2 + 0.3**2)) < 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_formula(gpu, shape, dtype):
    rng = np.random.default_rng(0)
    x, mask = np.asarray(rng.standard_normal(shape), dtype), np.asarray(rng.random(shape) > 0.4)
    if x.size > 6:
        x.flat[:4] = np.nan, np.inf, -np.inf, 0
    for p in (0.25, 0.4, 1.0):
        for function in (dropout.forward, dropout.grad_input):
            with algorithm(dropout="formula"):
                expected = function(x, mask, p=p)
            assert np.array_equal(on_gpu(function, x, mask, p=p), expected, equal_nan=True)


def test_same_seed_same_bits(gpu):
    x = Tensor(cuda.to_gpu(np.ones((2, 3, 5, 4), np.float32)), requires_grad=True)
    found = []
    for _ in range(2):
        minicnn.manual_seed(7)
        found.append([cuda.to_cpu(F.dropout(x, 0.5).array) for _ in range(2)])
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0][0], found[0][1])


def test_backward_takes_the_same_mask(gpu):
    x = Tensor(cuda.to_gpu(np.ones((2, 3, 5, 4), np.float32)), requires_grad=True)
    y = F.dropout(x, 0.5)
    y.backward(cuda.to_gpu(np.ones((2, 3, 5, 4), np.float32)))
    assert np.array_equal(cuda.to_cpu(x.grad.array), cuda.to_cpu(y.array))
    assert x.grad.array.strides == x.array.strides


def test_every_schedule(any_schedule):
    first, second = (int(n) for n in np.random.default_rng(5).integers(0, 2**32, 2, np.uint32))
    numbers = [n for i in range(51) for n in philox([i, 0, 0, 0], [first, second])][:203]
    assert np.array_equal(cuda.to_cpu(draw_mask((203,), 0.5, np.random.default_rng(5))), np.array(numbers) >= 2**31)
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((2, 3, 5, 7)), rng.random((2, 3, 5, 7)) > 0.5
    assert np.array_equal(on_gpu(dropout.forward, x, mask, p=0.5), x * mask * 2)
