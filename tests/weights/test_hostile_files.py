"""The hostile weights files of `tests/hostile/`, by name, and a short run of its random ones; each in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = Path(__file__).resolve().parents[1] / "hostile"


@pytest.mark.parametrize("program", [["measure.py"], ["fuzz.py", "--mutations", "100"]], ids=lambda words: words[0])
def test_hostile_weights_files(program):
    """`python tests/hostile/measure.py` prints the table; a longer run is `fuzz.py --mutations 5000`."""
    command = [sys.executable, "-W", "error", str(HOSTILE / program[0]), *program[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1_800)
    assert done.returncode == 0, done.stdout.rpartition("\n\n")[2] + done.stderr[-3_000:]
