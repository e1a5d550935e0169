"""`minicnn explain`: the first number within one command; JSON; errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minicnn import weights
from minicnn.cli import main
from minicnn.models import resnet18

PHOTOGRAPHS = Path(__file__).parents[3].parent / "shared" / "data" / "hymenoptera_160"


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A weights file of a ResNet-18 of width 4 for images of 32 x 32."""
    arguments = {"num_classes": 3, "width": 4, "stem": "small"}
    info = weights.WeightsInfo("resnet18", arguments, ["a", "b", "c"], 32, (0.5,) * 3, (0.25,) * 3)
    path = tmp_path_factory.mktemp("weights") / "narrow.h5"
    weights.save(path, resnet18(**arguments).state_dict(), info)
    return path


def test_the_first_number_needs_no_argument(run):
    code, text, _ = run("explain")
    assert code == 0
    assert text.startswith("resnet18 with the weights resnet18-fashion-mnist-32; image: a handwritten digit")
    assert "conv1: conv2d: y[0," in text
    assert "they differ by" in text


def test_the_example_of_the_help(run, narrow):
    words = ("explain", narrow, "--layer", "layer1.0.conv1", "--at", "3,10,12", "--json")
    code, text, _ = run(*words)
    answer = json.loads(text)
    assert (code, answer["index"], answer["quantity"], answer["agrees"]) == (0, [0, 3, 10, 12], "y", True)
    assert (len(answer["terms"]), answer["number_of_terms"]) == (12, 36)
    assert len(json.loads(run(*words, "--all")[1])["terms"]) == 36
    for name, at in (("x", "3,10,12"), ("w", "3,1,0,0")):
        code, text, err = run(
            "explain", narrow, "--layer", "layer1.0.conv1", "--grad", name, "--at", at, "--label", "b"
        )
        assert code == 0, err
        assert f"layer1.0.conv1: conv2d: d{name}[" in text
        assert "loss against class 1 (b)" in text


def test_the_steps_and_the_chain(run, narrow):
    steps = json.loads(run("explain", narrow, "--list", "--json")[1])["steps"]
    assert {"step": 0, "layer": "conv1", "operation": "conv2d"}.items() <= steps[0].items()
    text = run("explain", narrow, "--list")[1]
    assert len(text.splitlines()) == len(steps) + 1
    answer = json.loads(run("explain", narrow, "--chain", "--label", 2, "--json")[1])
    assert answer["links"][-1]["operation"] == "cross_entropy"
    assert np.prod([link["local"] for link in answer["links"]]) == pytest.approx(answer["product"])
    assert "this path carries" in run("explain", narrow, "--chain", "--training")[1]


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs here")
def test_a_photograph(run, narrow):
    photograph = next(PHOTOGRAPHS.rglob("*.jpg"))
    code, text, err = run("explain", narrow, photograph, "--layer", "bn1", "--grad", "x", "--training")
    assert code == 0, err
    assert "through variance" in text
    assert f"image: {photograph.name}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--at", "3;4"), "not an index; seen --at 3;4; rule: whole numbers"),
        (("--layer", "layer9"), "there is no such layer; seen 'layer9'"),
        (("--at", "99,0,0"), "the index is outside of the array"),
        (("--label", "d"), "there is no such class"),
        (("--step", "-1"), "there is no such step; seen step -1; rule: 0.."),
        (("--chain", "--grad", "x"), "--chain goes with --layer and --at alone"),
    ],
)
def test_an_error_is_one_line(run, narrow, words, message):
    code, out, err = run("explain", narrow, *words)
    lines = [line for line in err.splitlines() if line.startswith("minicnn: error: ")]
    assert (code, out, len(lines)) == (2, "", 1)
    assert message in lines[0]
