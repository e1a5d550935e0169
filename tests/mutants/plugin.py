"""`pytest -p mutants.plugin --mutant NAME FILE` runs tests with a wrong implementation in place."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutant", default="", help="name of a mutant")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--mutant")
    if name:
        import mutants.networks
        import mutants.operations  # noqa: F401
        from mutants.mutant import MUTANTS

        patch = pytest.MonkeyPatch()
        MUTANTS[name].apply(patch)
        config.add_cleanup(patch.undo)
