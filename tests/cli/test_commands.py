"""The commands that only look: what they print, and what bad input gets: one line, exit status 2."""

from __future__ import annotations

import json

import numpy as np
import pytest

import minicnn
from minicnn.ops.registry import operation


def test_summary_of_an_architecture(run):
    code, text, _ = run("summary", "resnet18", "--input", "1,3,32,32", "--json")
    assert code == 0
    assert json.loads(text)["parameters"] == 11_689_512


def test_summary_of_a_file(run, narrow):
    code, text, _ = run("summary", narrow)
    assert code == 0
    assert "layer4.1.conv2" in text
    assert "(1, 3)" in text


@pytest.mark.parametrize("shape", ["1,3,32", "1,3,a,b", "1,3,0,32", "1,3,-1,32", "1,3,²,32", "1,3,8,99999999999"])
def test_summary_refuses_a_bad_shape(run, one_line, shape):
    code, _, err = run("summary", "cnn", "--input", shape)
    assert code == 2
    assert "not a shape" in one_line(err)


def test_summary_refuses_what_no_memory_holds(run, one_line):
    code, _, err = run("summary", "cnn", "--input", "1,3,99999,99999")
    assert code == 2
    assert "a shape too large" in one_line(err)
    assert run("summary", "resnet18", "--width", 10**20)[0] == 2
    assert run("summary", "resnet18", "--classes", 0)[0] == 2


def test_summary_of_a_narrow_network(run, one_line):
    words = ("--width", 8, "--classes", 2, "--stem", "small", "--input", "1,3,32,32")
    code, text, _ = run("summary", "resnet18", *words)
    assert code == 0
    assert text.splitlines()[2].split()[:6] == ["conv1", "Conv2d", "(1,", "8,", "32,", "32)"]
    code, _, err = run("summary", "resnet18", "--stem", "steep")
    assert code == 2
    assert "unknown stem; seen stem='steep'" in one_line(err)
    code, _, err = run("summary", "cnn", "--width", 8)
    assert code == 2
    assert "cnn has no width" in one_line(err)
    code, _, err = run("summary", "nothing.h5", "--width", 8)
    assert code == 2
    assert "go with the name of an architecture" in one_line(err)


def test_summary_of_inception_for_grey_images(run, one_line):
    code, text, _ = run("summary", "inception_v3", "--width", 2, "--channels", 1, "--input", "1,1,75,75", "--json")
    assert code == 0
    assert json.loads(text)["layers"][0]["output"] == [1, 2, 37, 37]
    code, _, err = run("summary", "alexnet", "--stem", "small")
    assert code == 2
    assert "alexnet has no stem" in one_line(err)
    code, _, err = run("summary", "alexnet", "--width", 1, "--input", "1,3,62,80")
    assert code == 2
    assert "AlexNet: the images are too small; seen x (1, 3, 62, 80); rule: height and width of at" in one_line(err)


def test_gradcheck_of_one_operation(run):
    code, text, _ = run("gradcheck", "--operation", "conv2d", "--json")
    assert code == 0
    rows = json.loads(text)
    assert {row["algorithm"] for row in rows} == set(operation("conv2d").algorithms)
    assert "winograd4" in {row["algorithm"] for row in rows}
    assert all(row["ok"] and row["worst"] < 1e-6 and row["entries"] > 100 for row in rows)


def test_gradcheck_fails_on_a_wrong_gradient(run, monkeypatch):
    wrong = operation("tanh")
    right = wrong.backward
    monkeypatch.setattr(wrong, "backward", lambda *a: tuple(None if g is None else 1.01 * g for g in right(*a)))
    code, text, _ = run("gradcheck", "--operation", "tanh")
    assert code == 1
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines[1:-1]] == [["tanh", "formula"], ["tanh", "loops"]]
    assert all("failed: input 0: wrong gradient" in line for line in lines[1:-1])
    assert lines[-1] == "2 checked, 2 failed"


def test_gradcheck_prints_json_that_every_program_reads(run, monkeypatch):

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    monkeypatch.setattr(operation("tanh"), "backward", lambda *_: (None,))
    code, text, _ = run("gradcheck", "--operation", "tanh", "--json")
    assert code == 1
    rows = json.loads(text, parse_constant=refuse)
    assert [(row["ok"], row["worst"]) for row in rows] == [(False, None)] * 2


def test_gradcheck_of_an_unknown_operation(run, one_line):
    code, text, err = run("gradcheck", "--operation", "fft")
    assert code == 2
    assert "no operation is named 'fft'" in one_line(err)
    assert text == ""


def test_algorithms(run, one_line):
    listed = ["conv2d", "winograd4,", "winograd2,", "direct,", "im2col,", "loops,", "formula,", "cuda_warps,"]
    assert run("algorithms", "conv2d")[1].split()[: len(listed)] == listed
    assert json.loads(run("algorithms", "--json")[1])["linear"] == ["tiled", "matmul", "loops", "formula", "cuda"]
    code, _, err = run("algorithms", "conv3d")
    assert code == 2
    assert "no operation is named 'conv3d'" in one_line(err)


def test_doctor(run):
    code, text, _ = run("doctor", "--json")
    assert code == 0
    found = json.loads(text)
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["minicnn"] == minicnn.__version__
    assert found["kernels"]["threads"] >= 1
    assert found["gpu"]["why not"]
    code, text, _ = run("doctor")
    assert f"  numpy            {np.__version__}\n" in text
    assert f"  threads          {found['kernels']['threads']}\n" in text


def test_doctor_prints_what_is_not_there(run, monkeypatch):
    from minicnn.study import machine

    found = {"versions": {"cupy": None}, "cpu": {"vectors": [], "cores": 3}, "kernels": {"cache is kept": False}}
    monkeypatch.setattr(machine, "describe", lambda: found)
    words = ["versions", "cupy", "not installed", "cpu", "vectors", "none", "cores", "3"]
    assert " ".join(run("doctor")[1].split()) == " ".join([*words, "kernels", "cache is kept", "no"])


# ---- the command line itself ----------------------------------------------------------------------------------------


def test_version_and_wrong_usage(run):
    assert run("--version")[1] == f"minicnn {minicnn.__version__}\n"
    code, text, err = run("paint")
    assert (code, text) == (2, "")
    assert "paint" in err
    assert run("summary", "--nonsense")[0] == 2
    assert run("predict")[0] == 2


def test_alone_it_shows_the_help(run):
    code, text, err = run()
    assert (code, err) == (0, "")
    assert text == run("--help")[1]
    assert "finetune" in text


@pytest.mark.parametrize("command", ["algorithms", "finetune", "gradcheck", "predict", "summary"])
def test_examples_stand_on_lines_of_their_own(run, command):
    lines = [line.strip() for line in run(command, "--help")[1].splitlines()]
    assert lines[lines.index("Examples:") + 1].startswith(f"minicnn {command}")
    assert lines[lines.index("Examples:") + 2].startswith(f"minicnn {command}")


@pytest.mark.parametrize("words", [["summary", "nothing.h5", "--debug"], ["--debug", "summary", "nothing.h5"]])
def test_debug_shows_the_traceback(run, words):
    code, _, err = run(*words)
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("minicnn: error: nothing.h5: there is no such weights file")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "bee.jpg"), "bee.jpg: Permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("a library's\n own words"), "a library's own words"),
        (MemoryError("Unable to allocate 5 GiB"), "not enough memory: Unable to allocate 5 GiB"),
        (OSError(), "OSError"),
    ],
)
def test_errors_of_the_system_are_one_line(run, one_line, monkeypatch, error, line):
    from minicnn.study import machine

    def fail() -> None:
        raise error

    monkeypatch.setattr(machine, "describe", fail)
    code, text, err = run("doctor", "--json")
    assert (code, text) == (2, "")
    assert one_line(err) == f"minicnn: error: {line}"


def test_other_exceptions_are_faults_of_ours_and_are_shown_whole(monkeypatch):
    from minicnn.cli import main
    from minicnn.study import machine

    monkeypatch.setattr(machine, "describe", lambda: {}[0])
    with pytest.raises(KeyError):
        main(["doctor"])


def test_algorithms_say_which_runs_and_why(run, one_line):
    code, text, _ = run("algorithms", "conv2d", "--shape", "8x64x56x56")
    assert code == 0
    lines = text.splitlines()
    assert lines[1] == "forward: winograd4 runs"
    assert [line.split()[0] for line in lines[2:8]] == [
        "winograd4", "winograd2", "direct", "im2col", "loops", "formula"
    ]  # fmt: skip
    stem = ("--shape", "1x3x224x224", "--kernel", "64x7x7", "--stride", 2, "--padding", 3)
    found = json.loads(run("algorithms", *stem, "--json")[1])
    assert found["forward"]["runs"] == "direct"
    assert found["forward"]["refused"]["winograd4"] == "the kernel must be 3x3"
    found = json.loads(run("algorithms", *stem, "--device", "cuda", "--json")[1])
    assert found["forward"]["runs"] == "cuda_warps"
    assert "cuda_tiled" in found["grad_weight"]["fits"]
    assert found["forward"]["refused"]["cuda_winograd"] == "the kernel must be 3x3"
    assert "no such device" in one_line(run("algorithms", *stem, "--device", "tpu")[2])
    for wrong in ("8x64x56", "8x64x56x0", "a"):
        code, _, err = run("algorithms", "--shape", wrong)
        assert code == 2
        assert "--shape is not valid" in one_line(err)
    assert "only conv2d" in run("algorithms", "relu", "--shape", "1x1x1x1")[2]
