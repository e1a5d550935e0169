"""`benchmarks/gpu.py` runs to its end, on the emulated GPU and with PyTorch on the CPU: ready for the next real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]


def test_it_checks_and_times_every_rung(tmp_path: Path) -> None:
    words = ["--emulate", "--out", str(tmp_path), "--only", "convolutions,networks"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    rungs = {row["who"] for row in rows if row["group"] == "convolutions" and row["who"].startswith("cuda")}
    assert rungs >= {"cuda_naive", "cuda_tiled", "cuda_registers", "cuda_vectorised", "cuda_warps", "cuda_tf32"}
    assert {row["what"] for row in rows if row["group"] == "networks"} == {"forward", "train"}
    assert "| cuda_warps |" in done.stdout
