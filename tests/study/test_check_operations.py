"""The cases of `minicnn gradcheck` cover every operation, and every algorithm passes."""

from __future__ import annotations

import pytest

from minicnn.errors import AlgorithmError
from minicnn.ops.registry import OPERATIONS, operation
from minicnn.study.check_operations import CASES, check_operation, names


def test_every_operation_has_cases():
    assert set(CASES) == set(OPERATIONS)
    assert len(CASES) >= 30


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_algorithm_is_right(name):
    rows = check_operation(name)
    assert [row.algorithm for row in rows] == list(operation(name).algorithms)
    for row in rows:
        assert row.ok, row
        assert row.entries > 0
        assert row.worst < 1e-6


def test_unknown_operation():
    with pytest.raises(AlgorithmError, match="no operation is named 'fft'"):
        names("fft")


def test_a_wrong_algorithm_is_found(monkeypatch):
    passes = operation("conv2d").algorithm("loops").passes
    right = passes["grad_weight"]
    monkeypatch.setitem(passes, "grad_weight", lambda dy, x, **options: right(dy, x, **options)[:, :, ::-1])
    verdicts = {row.algorithm: row.verdict for row in check_operation("conv2d")}
    assert verdicts["loops"].startswith("input 1: wrong gradient")
    assert verdicts["formula"] == "ok"
