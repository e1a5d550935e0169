"""The tests are tested: with each wrong implementation in place, its test file must fail, and `gradcheck` must say
no."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import mutants.networks
import mutants.operations  # noqa: F401
import pytest
from mutants.mutant import MUTANTS

from minicnn.backends.scratch import POOL
from minicnn.study.check_operations import check_operation

ROOT = Path(__file__).resolve().parent.parent.parent
FAILED = 1  # pytest's exit status where tests ran and failed; other faults have other numbers


def run_suite(suite: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "mutants.plugin",
        "-p",
        "no:cacheprovider",
        *options,
        suite,
    ]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_caught_by_its_suite(name: str) -> None:
    done = run_suite(MUTANTS[name].suite, "--mutant", name)
    assert done.returncode == FAILED, done.stdout[-2000:] + done.stderr[-2000:]
    assert "1 failed" in done.stdout


@functools.cache
def is_right(operation: str) -> bool:
    """Without a mutant; once for all mutants of an operation."""
    return all(row.ok for row in check_operation(operation))


@pytest.mark.parametrize("name", sorted(name for name, m in MUTANTS.items() if m.gradient))
def test_caught_by_gradcheck(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = MUTANTS[name].gradient
    assert is_right(operation)
    MUTANTS[name].apply(monkeypatch)
    try:
        assert not all(row.ok for row in check_operation(operation))
    finally:
        POOL.clear()  # a wrong kernel may have written into the halo of images, which is zero for all who come after


def test_without_a_mutant_the_suite_passes() -> None:
    done = run_suite("tests/ops/test_relu.py")
    assert done.returncode == 0, done.stdout[-2000:]


def test_there_are_many() -> None:
    assert len(MUTANTS) >= 60
    assert sum(bool(m.gradient) for m in MUTANTS.values()) >= 30
