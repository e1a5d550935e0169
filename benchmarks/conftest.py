"""`pytest benchmarks`: each case by itself, by pytest-benchmark; `benchmarks/table.py` is the table that compares.

`pytest benchmarks -k "conv1 and forward"` chooses some; `--benchmark-json=FILE` keeps what was measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # peers and rows lie here
pytest.importorskip("pytest_benchmark")
pytest.importorskip("torch", reason="pip install minicnn[bench]")

from minicnn.study.timing import PAUSE  # PyTorch had to be first: see peers.py


@pytest.fixture
def measure(benchmark: Any) -> Callable[[Callable[[], Any]], None]:
    """Time a call: a pause, in which other libraries' threads fall asleep, two warm calls, five timed ones."""

    def run(call: Callable[[], Any]) -> None:
        time.sleep(PAUSE)
        benchmark.pedantic(call, rounds=5, iterations=1, warmup_rounds=2)

    return run
