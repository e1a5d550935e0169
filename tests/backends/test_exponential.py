"""Exponential, logarithm and hyperbolic tangent of kernels: against NumPy in float64, over all of float32."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minicnn.backends import exponential
from minicnn.backends.jit import kernel


@kernel(parallel=False)
def all_exp(x, y):
    for i in range(x.size):
        y[i] = exponential.exp(x[i])


@kernel(parallel=False)
def all_log(x, y):
    for i in range(x.size):
        y[i] = exponential.log(x[i])


@kernel(parallel=False)
def all_tanh(x, y):
    for i in range(x.size):
        y[i] = exponential.tanh(x[i])


FUNCTIONS = {"exp": (all_exp, np.exp), "log": (all_log, np.log), "tanh": (all_tanh, np.tanh)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_within_two_units_of_the_last_place(name):
    """Every 1999th float32: of both signs, denormal, infinite and NaN ones among them."""
    compiled, exact = FUNCTIONS[name]
    x = np.arange(0, 2**32, 1999, dtype=np.uint64).astype(np.uint32).view(np.float32)
    y = np.empty_like(x)
    compiled(x, y)
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.float64))
        rounded = expected.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded))
    np.testing.assert_array_equal(y[np.isinf(rounded)], rounded[np.isinf(rounded)])
    finite = np.isfinite(rounded)
    assert finite.sum() > 500_000
    assert (np.abs(y[finite] - expected[finite]) / np.spacing(np.abs(rounded[finite]))).max() < 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name):
    compiled, exact = FUNCTIONS[name]
    x = np.array([0, -0.0, 1, np.inf, -np.inf, np.nan, 88.8, -104.1, 1e-45, -1e-45], np.float32)
    y = np.empty_like(x)
    compiled(x, y)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(y, exact(x), rtol=3e-7, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_is_the_c_librarys(name):
    compiled, _ = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(0.01, 3, 100)
    y = np.empty_like(x)
    compiled(x, y)
    assert y.tolist() == [getattr(math, name)(v) for v in x.tolist()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_does_not_depend_on_its_place(name, rng):
    """Where a loop's vectors end, single numbers follow: the same bits."""
    compiled, _ = FUNCTIONS[name]
    x = rng.uniform(0.01, 3, 200).astype(np.float32)
    whole = np.empty_like(x)
    compiled(x, whole)
    for i in range(0, 200, 7):
        one = np.empty(1, np.float32)
        compiled(x[i : i + 1], one)
        assert one[0] == whole[i]


def test_they_are_compiled_to_vectors():
    """A loop of calls would take several times as long."""
    x = np.ones(1, np.float32)
    all_exp(x, x.copy())
    code = all_exp.inspect_llvm(all_exp.signatures[0])
    assert any("fmul" in line and " x float>" in line for line in code.splitlines())


def test_outside_of_kernels_they_are_numpys():
    assert exponential.exp(0.0) == 1
    assert exponential.log(1.0) == 0
    assert exponential.tanh(0.0) == 0
