"""What the README says holds: its Python runs, its commands exist, its table is the one that was measured."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minicnn import weights
from minicnn.cli import app, main
from minicnn.models import resnet18

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMAND = re.compile(r"^\$ (.*?)(?:\s+#.*)?$", re.MULTILINE)
CONSOLE = COMMAND.findall(README)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_runs(number: int) -> None:
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})


def test_there_is_python_to_run() -> None:
    assert len(BLOCKS) >= 2


def test_commands_exist() -> None:
    names = {command.callback.__name__ for command in app.registered_commands}
    names |= {group.name or group.typer_instance.info.name for group in app.registered_groups}
    said = {line.split()[1] for line in CONSOLE if line.startswith("minicnn ")}
    assert said == names
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in CONSOLE if line.startswith("make ")} == {"demo", "test"} <= targets


def commands_to_run() -> list[str]:
    """The commands, also of the first page of the documentation, that take seconds and no files but one image."""
    found = CONSOLE + COMMAND.findall((ROOT / "docs" / "getting-started.md").read_text())
    quick = ("explain", "graph", "summary", "algorithms", "doctor")
    return sorted({line for line in found if line.startswith("minicnn ") and line.split()[1] in quick})


@pytest.mark.parametrize("line", commands_to_run())
def test_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("bee.jpg")
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)


def test_there_are_commands_to_run() -> None:
    assert len(commands_to_run()) >= 7


@pytest.mark.parametrize("text", [README, CHINESE], ids=["English", "Chinese"])
def test_links_lead_somewhere(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (ROOT / target).exists(), target


def said_in_code(text: str) -> dict[str, list[str]]:
    """What both languages must have: tables between markers, commands, programs (comments may be translated), links."""
    program = re.compile(r"\s*(#.*)?$", re.MULTILINE)
    return {
        "tables": re.findall(r"<!-- [^>]+: made by .*?-->.*?<!-- end.*?-->", text, re.DOTALL),
        "commands": COMMAND.findall(text),
        "programs": [program.sub("", block) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)],
        "links": sorted(set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.zh.md"}),
    }


@pytest.mark.parametrize("what", ["tables", "commands", "programs", "links"])
def test_the_chinese_readme_says_the_same(what: str) -> None:
    english, chinese = said_in_code(README)[what], said_in_code(CHINESE)[what]
    assert [each for each in english if each not in chinese] == [], "missing in README.zh.md"
    assert [each for each in chinese if each not in english] == [], "not in README.md"
    assert english == chinese
    assert len(english) >= 3


def program(folder: str, name: str) -> Any:
    """A module of a folder whose modules import each other."""
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def benchmark(name: str) -> Any:
    """A module of `benchmarks/`."""
    return program("benchmarks", name)


def test_the_table_is_the_one_that_was_measured() -> None:
    transfer = benchmark("transfer")
    result = json.loads(transfer.RESULT.read_text())
    assert f"{transfer.MARKERS[0]}\n{transfer.table(result)}\n{transfer.MARKERS[1]}" in README
    accuracy = {name: sum(way["accuracy"]) / len(way["accuracy"]) for name, way in result["ways"].items()}
    assert len(result["ways"]["fine-tuned"]["accuracy"]) >= 5
    assert accuracy["fine-tuned"] > accuracy["from scratch"]


def test_the_table_of_photographs_is_the_one_that_was_measured() -> None:
    photographs = benchmark("transfer_photographs")
    result = json.loads(photographs.RESULT.read_text())
    start, end = photographs.MARKERS
    assert f"{start}\n{photographs.table(result)}\n{end}" in README
    cells = {(cell["size"], cell["epochs"], cell["per_class"]): cell["ways"] for cell in result["cells"]}
    assert set(cells) == {(s, e, n) for s in (64, 160) for e in (4, 12) for n in (10, 30, None)}
    for ways in cells.values():
        means = {name: np.mean(way["accuracy"]) for name, way in ways.items() if len(way["accuracy"]) == 5}
        assert min(means["frozen features"], means["fine-tuned"]) > means["from scratch"]


def test_loading_keeps_up() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "loading.json").read_text())["rows"]
    assert {row["size"] for row in rows} == {64, 128, 224}
    for row in rows:
        assert row["alone"]["1 processes"] > 4 * row["step"]
        assert max(row["fed"].values()) > 0.85 * row["step"]


def test_what_each_way_of_fine_tuning_brings_is_what_was_measured() -> None:
    well = benchmark("finetuning_well")
    result = json.loads(well.RESULT.read_text())
    assert f"{well.MARKERS[0]}\n{well.table(result)}\n{well.MARKERS[1]}" in well.PAGE.read_text()
    assert list(result["rows"]) == list(well.RECIPES)
    assert all(len(row["accuracy"]) == 5 for row in result["rows"].values())


def test_the_page_of_the_weights_is_the_one_that_was_made() -> None:
    folder = ROOT / "weights"
    page, made = (folder / "README.md").read_text(), program("weights", "page")
    path = folder / f"{made.NAME}.h5"
    info, content = weights.describe(path), path.read_bytes()
    torch = json.loads(made.TORCH.read_text())
    text = made.page(info, len(content), hashlib.sha256(content).hexdigest(), torch)
    assert f"{made.MARKERS[0]}\n{text}\n{made.MARKERS[1]}" in page
    assert (info.accuracy or 0) >= 0.4
    ours = {row["epoch"]: row for row in info.log}
    assert all(abs(row["loss"] - ours[row["epoch"]]["loss"]) < 0.05 for row in torch["log"])


def test_the_losses_are_those_that_were_measured() -> None:
    pytest.importorskip("torch")
    first_epoch = benchmark("first_epoch")
    result = json.loads(first_epoch.RESULT.read_text())
    assert f"{first_epoch.MARKERS[0]}\n{first_epoch.table(result)}\n{first_epoch.MARKERS[1]}" in README
    for losses in result["losses"].values():
        assert np.allclose(losses["minicnn, float64"], losses["PyTorch, float64"], rtol=0, atol=1e-12)


def test_the_table_of_speeds_is_the_one_that_was_measured() -> None:
    speed = benchmark("table")
    result = json.loads(speed.RESULT.read_text())
    assert f"{speed.START}\n{speed.table(result)}\n{speed.END}" in README
    assert {row["group"] for row in result["rows"]} == set(speed.ORDER)


def test_the_ladder_is_the_one_that_was_measured() -> None:
    page = (ROOT / "minicnn" / "ops" / "conv2d" / "README.md").read_text()
    ladder = benchmark("ladder")
    result = json.loads(ladder.RESULTS.read_text())
    assert f"{ladder.MARKERS[0]}\n{ladder.time_table(result['seconds'], result['cpu'])}\n{ladder.MARKERS[1]}" in page
    assert f"{ladder.ERRORS[0]}\n{ladder.error_table(result['errors'])}\n{ladder.ERRORS[1]}" in page


def test_the_number_of_parameters() -> None:
    assert "11,689,512" in README
    assert sum(p.numel() for p in resnet18().parameters()) == 11_689_512


def test_the_gpu_table_is_the_one_that_was_measured_or_says_that_none_was() -> None:
    gpu = benchmark("gpu")
    result = json.loads(gpu.RESULT.read_text()) if gpu.RESULT.exists() else None
    assert f"{gpu.START}\n{gpu.table(result)}\n{gpu.END}" in README
