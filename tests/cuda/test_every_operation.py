"""Every operation on the GPU: each algorithm and pass against the formula; the same bits in every order of threads."""

from __future__ import annotations

import re

import gpu_cases
import numpy as np
import pytest
from compare import assert_close

from minicnn.backends import cuda_kernels
from minicnn.errors import AlgorithmError
from minicnn.ops.registry import OPERATIONS
from minicnn.study.emulator import emulated

TOLERANCE = {np.float32: {"rtol": 2e-5, "atol": 1e-6}, np.float64: {"rtol": 1e-11, "atol": 1e-12}}
ROUNDED = {"tf32": 2e-3, "bf16": 2e-2}  # of algorithms that round their operands: relative error


def tolerance(algorithm, dtype):
    coarse = [rtol for kind, rtol in ROUNDED.items() if kind in algorithm]
    return {"rtol": coarse[0], "atol": 1e-6} if coarse else TOLERANCE[dtype]


def results(operation, algorithm, dtype):
    """(case, what the GPU found) of all cases that the algorithm supports."""
    found = []
    for case in gpu_cases.cases(operation):
        try:
            found.append((case, case.run(algorithm, dtype)))
        except AlgorithmError as error:
            if "does not support this problem" not in str(error):
                raise
    return found


def test_no_operation_is_missing():
    assert not [name for name, op in OPERATIONS.items() if not op.cuda]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("operation", "algorithm"), gpu_cases.algorithms())
def test_equals_formula(gpu, operation, algorithm, dtype, monkeypatch):
    made = OPERATIONS[operation].algorithm(algorithm)
    ran = set()
    for name, function in list(made.passes.items()):
        monkeypatch.setitem(made.passes, name, lambda *a, _n=name, _f=function, **o: (ran.add(_n), _f(*a, **o))[1])
    found = results(operation, algorithm, dtype)
    for case, arrays in found:
        assert len(arrays) == len(case.expected)
        for i, (y, expected) in enumerate(zip(arrays, case.expected, strict=True)):
            if expected is None:
                continue
            expected = expected.astype(dtype) if expected.dtype.kind == "f" else expected
            try:
                assert_close(y, expected, **tolerance(algorithm, dtype), nan_ok=True)
            except AssertionError as error:
                what = f"gradient of input {i - 1}" if i else "y"
                raise AssertionError(f"{case.label}: {what}: {error}") from None
    if found or dtype == np.float32:
        assert ran == set(made.passes), "a pass that no case runs"


@pytest.mark.parametrize(("operation", "algorithm"), gpu_cases.algorithms())
def test_same_bits_in_every_order_of_threads(operation, algorithm):
    with emulated():
        first = results(operation, algorithm, np.float32)
    for schedule in (0, 1, 2, 3):
        with emulated(schedule=schedule):
            again = results(operation, algorithm, np.float32)
        for (case, a), (_, b) in zip(first, again, strict=True):
            for x, y in zip(a, b, strict=True):
                assert x is y is None or x.tobytes() == y.tobytes(), f"{case.label}, schedule {schedule}"


@pytest.mark.parametrize("algorithm", ["cuda_tf32", "cuda_bf16"])
def test_a_wait_that_is_missing_is_found(algorithm, monkeypatch):
    """Copies that nobody waits for arrive late in the emulator: in a real kernel without its waits, not in time."""

    def function(library, path, name, macros):
        text = re.sub(r"copy_wait<[^;]*>\(\);", "", cuda_kernels.source(path))
        return library.RawModule(code=text, options=[f"-D{k}={v}" for k, v in macros]).get_function(name)

    case = next(case for case in gpu_cases.cases("conv2d") if case.label == "conv2d, larger")
    with emulated():
        right = case.run(algorithm, np.float32)
        monkeypatch.setattr(cuda_kernels, "_function", function)
        wrong = case.run(algorithm, np.float32)
    assert not np.isnan(right[0]).any()
    assert np.isnan(wrong[0]).any()
