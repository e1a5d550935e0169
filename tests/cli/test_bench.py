"""`minicnn bench`: its table, its JSON, its picture, and one line for each mistake."""

from __future__ import annotations

import json
import sys

import pytest

from minicnn.ops.registry import operation
from minicnn.study import peak, timing

SMALL = ("--shape", "2x3x7x6", "--kernel", "4x3x3", "--rounds", 1)


@pytest.fixture(autouse=True)
def _no_measuring_of_the_machine(monkeypatch):
    monkeypatch.setattr(peak, "measure", lambda dtype: peak.Peak(1e11, 1e10, 2))
    for name in ("WARM", "TIMED", "SHORTEST"):
        monkeypatch.setattr(timing, name, 0.0)


def test_table(run):
    code, text, _ = run("bench", "conv2d", *SMALL)
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "conv2d forward: x 2x3x7x6, w 4x3x3x3, stride 1, padding 1, float32"
    assert lines[1] == "peak 100 GFLOP/s, memory 10.0 GB/s, 2 threads"
    assert lines[3].split()[:4] == ["algorithm", "layout", "ms", "GFLOP/s"]
    for name in operation("conv2d").names():
        assert any(line.startswith((f"{name} ", f"left out: {name}: ")) for line in lines), name


def test_json_and_float64(run):
    code, text, _ = run("bench", "conv2d", *SMALL, "--float64", "--pass", "grad_weight", "--stride", "2x1", "--json")
    found = json.loads(text)
    assert code == 0
    assert (found["pass"], found["dtype"]) == ("grad_weight", "float64")
    assert found["problem"].endswith("stride 2x1, padding 1")
    assert all(row["ok"] for row in found["rows"])


def test_picture(run, tmp_path):
    path = tmp_path / "roofline.png"
    code, _, _ = run("bench", "relu", "--shape", "3x5", "--rounds", 1, "--picture", path)
    assert code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_from_to(run):
    code, text, _ = run("bench", "conv2d", *SMALL, "--from", "loops", "--to", "formula")
    assert code == 0
    assert "from loops to formula: " in text
    assert "im2col" not in text


def test_an_algorithm_from_a_file(run, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import minicnn\nfrom minicnn.ops.conv2d import formula\n"
        "minicnn.register_algorithm('conv2d', 'mine', forward=formula.forward)\n"
        "minicnn.register_algorithm('conv2d', 'doubled', forward=lambda *a, **o: 2 * formula.forward(*a, **o))\n"
    )
    try:
        code, text, _ = run("bench", "conv2d", *SMALL, "--load", path)
    finally:
        import minicnn

        minicnn.unregister_algorithm("conv2d", "mine")
        minicnn.unregister_algorithm("conv2d", "doubled")
    assert code == 1  # one of them is wrong
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert "wrong" not in lines["mine"]
    assert "wrong: error" in lines["doubled"]


def test_layers(run):
    names = run("bench", "--layer", "list")[1].split()
    assert len(names) == 20
    code, text, _ = run("bench", "--layer", "resnet18.layer4.0.downsample.0", "--batch", 1, "--rounds", 1)
    assert code == 0
    assert text.startswith("conv2d forward: x 1x256x14x14, w 512x256x1x1, stride 2, padding 0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["conv3d"], "not measured; seen 'conv3d'"),
        (["conv2d", "--shape", "8,64,56,56"], "not a shape; seen --shape 8,64,56,56; rule: whole numbers with x"),
        (["conv2d", "--shape", "8x64"], "shape does not fit conv2d"),
        (["conv2d", "--shape", "8x64x56x-1"], "not a shape"),
        (["conv2d", "--kernel", "3x3"], "kernel does not fit conv2d"),
        (["conv2d", "--stride", "0"], "stride"),
        (["conv2d", "--stride", "1x2x3"], "stride"),
        (["conv2d", "--pass", "sideways"], "unknown pass; seen --pass sideways; rule: one of forward"),
        (["conv2d", "--from", "fast"], "no algorithm is named 'fast'"),
        (["conv2d", "--versus", "jax"], "unknown library"),
        (["conv2d", "--layer", "alexnet"], "unknown layer"),
        (["conv2d", "--layer", "resnet18.conv1", "--stride", "1"], "--layer is a whole convolution"),
        (["relu", "--kernel", "3x3"], "relu has no kernel"),
        (["gru", "--kernel", "3x3"], "kernel does not fit gru; seen 3x3; rule: 1 size of 1 or more, H"),
        (["sum", "--pass", "grad_weight"], "unknown pass; seen --pass grad_weight; rule: one of forward, grad_input"),
        (["flatten", "--shape", "2x3", "--picture", "a.png"], "flatten computes nothing"),
        (["relu", "--picture", "nowhere/at/all.png"], "the picture cannot be written"),
        (["relu", "--load", "nothing.py"], "there is no such file"),
    ],
)
def test_mistakes_are_one_line(run, one_line, words, said):
    code, text, err = run("bench", *words)
    assert (code, text) == (2, "")
    assert said in one_line(err)


def test_without_torch(run, one_line, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, _, err = run("bench", "conv2d", *SMALL, "--versus", "torch")
    assert code == 2
    assert one_line(err).endswith("bench: PyTorch is not installed; hint: pip install minicnn[bench]")


def test_examples_stand_on_lines_of_their_own(run):
    lines = [line.strip() for line in run("bench", "--help")[1].splitlines()]
    assert lines[lines.index("Examples:") + 1] == "minicnn bench conv2d"
