"""What the README says holds: its Python runs, its commands exist, its table is the one that was measured."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from minicnn.cli import app
from minicnn.models import resnet18

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONSOLE = re.findall(r"^\$ (.*?)(?:\s+#.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_runs(number: int) -> None:
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})


def test_there_is_python_to_run() -> None:
    assert len(BLOCKS) >= 2


def test_commands_exist() -> None:
    names = {command.callback.__name__ for command in app.registered_commands}
    said = {line.split()[1] for line in CONSOLE if line.startswith("minicnn ")}
    assert said == names
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in CONSOLE if line.startswith("make ")} == {"demo", "test"} <= targets


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_table_is_the_one_that_was_measured() -> None:
    spec = importlib.util.spec_from_file_location("transfer", ROOT / "benchmarks" / "transfer.py")
    assert spec is not None
    assert spec.loader is not None
    transfer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(transfer)
    result = json.loads(transfer.RESULT.read_text())
    assert f"{transfer.START}\n{transfer.table(result)}\n{transfer.END}" in README
    accuracy = {name: sum(way["accuracy"]) / len(way["accuracy"]) for name, way in result["ways"].items()}
    assert len(result["ways"]["fine-tuned"]["accuracy"]) >= 5
    assert accuracy["fine-tuned"] > accuracy["from scratch"]


def test_the_number_of_parameters() -> None:
    assert "11,689,512" in README
    assert sum(p.numel() for p in resnet18().parameters()) == 11_689_512
