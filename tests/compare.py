"""Comparisons that fail on NaN, on a wrong shape and on a wrong dtype."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_close(
    actual: Any, expected: Any, *, rtol: float = 1e-10, atol: float = 1e-12, nan_ok: bool = False, dtype: bool = True
) -> None:
    """Raise AssertionError unless max|actual - expected| <= atol + rtol * max|expected|.

    The error is measured against the largest expected value (the field's "max/max"), so that entries near zero do not
    decide. NaN is an error, unless `nan_ok` says that NaN must stand in exactly the same places. Infinities must be
    equal.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if dtype:
        assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    if nan_ok:
        assert np.array_equal(np.isnan(actual), np.isnan(expected)), "NaN in different places"
    else:
        assert not np.isnan(expected).any(), "the expected values hold NaN"
        assert not np.isnan(actual).any(), f"{np.isnan(actual).sum()} values are NaN"
    finite = np.isfinite(expected)
    unequal = ~finite & ~np.isnan(expected) & (actual != expected)
    assert not unequal.any(), f"{unequal.sum()} infinite values differ"
    if not finite.any():
        return
    difference = np.abs(actual[finite].astype(np.float64) - expected[finite].astype(np.float64))
    bound = atol + rtol * np.abs(expected[finite]).max()
    assert difference.max() <= bound, f"largest difference {difference.max():.3g} > {bound:.3g}"
