"""Each tutorial runs to its end; its own assertions hold."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
PROGRAMS = sorted(path for path in TUTORIALS.rglob("*.py") if path.name != "page.py")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", str(path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_tutorials() -> None:
    assert {path.parent.name for path in PROGRAMS} == {"tutorials", "documents"}


def test_the_page_is_the_one_that_was_made() -> None:
    spec = importlib.util.spec_from_file_location("page", TUTORIALS / "documents" / "page.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    sys.modules["page"] = page
    spec.loader.exec_module(page)
    results = json.loads(page.RESULTS.read_text())
    assert f"{page.MARKERS[0]}\n{page.table(results)}\n{page.MARKERS[1]}" in page.PAGE.read_text()
    assert {system.name for system in page.SYSTEMS} == {f"S{number}" for number in range(1, 13)}
    pictures = [found["picture"] for found in results.values() if found["picture"]]
    assert all((page.PICTURES / name).is_file() for name in pictures)
