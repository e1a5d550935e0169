"""Each tutorial runs to its end; its own assertions hold."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
MAKERS = ("page.py", "build.py")
PROGRAMS = sorted(
    path for path in (*TUTORIALS.glob("*.py"), *TUTORIALS.glob("documents/*.py")) if path.name not in MAKERS
)
NUMBERED = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))


# The other tests keep the other cores busy, and threads of tiny kernels would only wait for each other. minicnn's
# results are the same bits with one.
ALONE = {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    command, alone = [sys.executable, "-W", "error", str(path)], os.environ | ALONE
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_tutorials() -> None:
    assert {path.parent.name for path in PROGRAMS} == {"tutorials", "documents"}


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_each_becomes_a_valid_notebook_that_opens_with_a_question_and_ends_with_exercises() -> None:
    pytest.importorskip("jupytext")
    build = loaded(TUTORIALS / "build.py")
    assert build.SOURCES == NUMBERED
    for path in NUMBERED:
        cells = build.notebook(path).cells  # which nbformat has found valid
        assert cells[0].cell_type == "markdown", path
        assert cells[0].source.startswith(f"# {int(path.name[:2])}. "), path
        assert "**Question: " in cells[0].source, path
        exercises = [cell.source for cell in cells if cell.cell_type == "markdown"][-1]
        assert "## Exercises" in exercises.splitlines(), path
        assert exercises.count("\n3. ") == 1, path  # three or more
        assert not any(line.startswith("# %%") for cell in cells for line in cell.source.splitlines()), path


def test_a_notebook_runs_and_shows_its_figures(tmp_path: Path) -> None:
    pytest.importorskip("jupytext")
    nbformat = pytest.importorskip("nbformat")
    command = [sys.executable, str(TUTORIALS / "build.py"), "--to", str(tmp_path), "00"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.iterdir()  # figures are in the notebook, not beside it
    assert path.name == "00_one_by_one.ipynb"
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    shown = [output for cell in code for output in cell.outputs]
    assert sum(output.output_type == "display_data" and "image/png" in output.data for output in shown) == 2
    assert any(output.output_type == "stream" and "44 operations" in output.text for output in shown)


def test_what_cannot_be_built_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = loaded(TUTORIALS / "build.py")
    assert build.main(["99"]) == 1
    assert "no such tutorial; seen 99; rule: one of 00_one_by_one, " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jupytext", None)
    assert build.main(["--to", str(tmp_path / "new"), "00"]) == 1
    assert capsys.readouterr().err == ("build: jupytext is not installed; hint: pip install 'minicnn[tutorials]'\n")


def test_the_table_lists_each() -> None:
    table = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in PROGRAMS if path.parent == TUTORIALS and f"({path.name})" not in table] == []


def test_the_page_is_the_one_that_was_made() -> None:
    page = loaded(TUTORIALS / "documents" / "page.py")
    results = json.loads(page.RESULTS.read_text())
    assert f"{page.MARKERS[0]}\n{page.table(results)}\n{page.MARKERS[1]}" in page.PAGE.read_text()
    assert {system.name for system in page.SYSTEMS} == {f"S{number}" for number in range(1, 13)}
    pictures = [found["picture"] for found in results.values() if found["picture"]]
    assert all((page.PICTURES / name).is_file() for name in pictures)
