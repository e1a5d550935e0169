"""The command line, end to end: what it prints, and what bad input gets: one line, exit status 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from minicnn import weights
from minicnn.models import cnn


def one_line(err: str) -> str:
    """The error's line; there must be just one, and no traceback."""
    lines = [line for line in err.splitlines() if line.startswith("minicnn: error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


# ---- finetune -------------------------------------------------------------------------------------------------------


def test_finetune_makes_a_run_folder(run, photos, narrow, tmp_path):
    out = tmp_path / "run"
    code, text, _ = run("finetune", photos, "--weights", narrow, "--epochs", 2, "--batch-size", 4, "--out", out)
    assert code == 0
    assert "fine-tuned" in text
    assert "accuracy" in text
    assert {p.name for p in out.iterdir()} >= {"metrics.json", "curves.png", "confusion.png", "model.h5", "run.toml"}
    info = weights.describe(out / "model.h5")
    assert info.classes == ["blue", "red"]
    with Image.open(out / "curves.png") as picture:
        assert picture.size[0] > 300


def test_finetune_prints_json_only(run, photos, narrow, tmp_path):
    words = ("--weights", narrow, "--epochs", 1, "--compare", "--json", "--out", tmp_path / "run")
    code, text, _ = run("finetune", photos, *words)
    assert code == 0
    result = json.loads(text)
    assert [row["way"] for row in result["rows"]] == ["from scratch", "frozen features", "fine-tuned"]
    assert all(0 <= row["accuracy"] <= 1 for row in result["rows"])
    assert result["classes"] == ["blue", "red"]


def test_predict_prints_classes_with_probabilities(run, narrow, photos):
    image = photos / "red" / "0.png"
    code, text, _ = run("predict", narrow, image, "--json")
    assert code == 0
    answer = json.loads(text)[str(image)]
    assert sorted(name for name, _ in answer) == ["a", "b", "c"]
    probabilities = [probability for _, probability in answer]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    code, text, _ = run("predict", narrow, image, image, "--top", 1)
    assert text.count(str(image)) == 2
    assert text.count("%") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "epochs is not valid"),
        (["--epochs", "-3"], "epochs is not valid"),
        (["--batch-size", "0"], "batch_size is not valid"),
        (["--lr", "-1"], "lr is not valid"),
        (["--lr", "nan"], "lr is not valid"),
        (["--freeze", "everything"], "freeze"),
        (["--freeze", "until=layer9"], "layer9"),
        (["--weights", "nothing.h5"], "there is no such weights file"),
    ],
)
def test_finetune_refuses_bad_options(run, photos, narrow, tmp_path, words, message):
    options = words if "--weights" in words else ["--weights", narrow, *words]
    code, text, err = run("finetune", photos, *options, "--out", tmp_path / "run")
    assert code == 2
    assert message in one_line(err)
    assert text == ""
    assert not (tmp_path / "run").exists()


def test_a_missing_folder(run, narrow, tmp_path):
    code, _, err = run("finetune", tmp_path / "nowhere", "--weights", narrow)
    assert code == 2
    assert "nowhere" in one_line(err)


def test_an_empty_folder(run, narrow, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("finetune", tmp_path / "empty", "--weights", narrow)
    assert code == 2
    assert "empty" in one_line(err)


def test_a_class_with_one_image(run, narrow, photos):
    for path in sorted((photos / "red").iterdir())[1:]:
        path.unlink()
    code, _, err = run("finetune", photos, "--weights", narrow)
    assert code == 2
    assert "red" in one_line(err)


def test_an_image_that_cannot_be_read(run, narrow, photos):
    broken = photos / "red" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    code, _, err = run("finetune", photos, "--weights", narrow)
    assert code == 2
    assert "3.png" in one_line(err)
    code, _, err = run("predict", narrow, broken)
    assert code == 2
    assert "3.png" in one_line(err)


def test_weights_for_another_architecture(run, photos, tmp_path):
    path = tmp_path / "other.h5"
    state = cnn(2, 32).state_dict()
    weights.save(path, state, weights.WeightsInfo("vgg99", {}, ["a", "b"], 32))
    code, _, err = run("finetune", photos, "--weights", path)
    assert code == 2
    assert "unknown architecture" in one_line(err)


def test_a_file_that_is_not_weights(run, photos, tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
    code, _, err = run("predict", path, photos / "red" / "0.png")
    assert code == 2
    assert "an HDF5 file in a form that" in one_line(err)


# ---- the other commands ---------------------------------------------------------------------------------------------


def test_summary_of_an_architecture(run):
    code, text, _ = run("summary", "resnet18", "--input", "1,3,32,32", "--json")
    assert code == 0
    assert json.loads(text)["parameters"] == 11_689_512


def test_summary_of_a_file(run, narrow):
    code, text, _ = run("summary", narrow)
    assert code == 0
    assert "layer4.1.conv2" in text
    assert "(1, 3)" in text


@pytest.mark.parametrize("shape", ["1,3,32", "1,3,a,b", "1,3,0,32", "1,3,-1,32"])
def test_summary_refuses_a_bad_shape(run, shape):
    code, _, err = run("summary", "cnn", "--input", shape)
    assert code == 2
    assert "not a shape" in one_line(err)


def test_gradcheck_of_one_operation(run):
    code, text, _ = run("gradcheck", "--operation", "conv2d", "--json")
    assert code == 0
    rows = json.loads(text)
    assert {row["algorithm"] for row in rows} == {"im2col", "loops", "formula"}
    assert all(row["ok"] and row["worst"] < 1e-6 and row["entries"] > 100 for row in rows)


def test_gradcheck_fails_on_a_wrong_gradient(run, monkeypatch):
    from minicnn.ops.registry import operation

    wrong = operation("tanh")
    right = wrong.backward
    monkeypatch.setattr(wrong, "backward", lambda *a: tuple(None if g is None else 1.01 * g for g in right(*a)))
    code, text, _ = run("gradcheck", "--operation", "tanh")
    assert code == 1
    assert "wrong gradient" in text


def test_algorithms(run):
    assert run("algorithms", "conv2d")[1].split() == ["conv2d", "im2col,", "loops,", "formula"]
    assert json.loads(run("algorithms", "--json")[1])["linear"] == ["matmul", "loops", "formula"]
    code, _, err = run("algorithms", "conv3d")
    assert code == 2
    assert "no operation is named 'conv3d'" in one_line(err)


def test_doctor(run):
    code, text, _ = run("doctor", "--json")
    assert code == 0
    found = json.loads(text)
    assert found["versions"]["numpy"] == np.__version__
    assert int(found["kernels"]["threads"]) >= 1
    assert found["gpu"]["gpu"]


def test_version_and_wrong_usage(run):
    assert run("--version")[1].startswith("minicnn ")
    assert run("paint")[0] == 2
    assert run("summary", "--nonsense")[0] == 2


def test_debug_shows_the_traceback(run):
    from minicnn.cli import main
    from minicnn.errors import MinicnnError

    with pytest.raises(MinicnnError):
        main(["summary", "nothing.h5", "--debug"])
    with pytest.raises(MinicnnError):
        main(["--debug", "summary", "nothing.h5"])


# ---- as a process ---------------------------------------------------------------------------------------------------

HEAVY = ("numba", "sklearn", "matplotlib", "h5py", "PIL", "scipy", "tqdm")


def test_help_is_light():
    code = f"""
import sys
from minicnn.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    print([name for name in {HEAVY!r} if name in sys.modules], stop.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "minicnn", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("minicnn ")


def test_ctrl_c_exits_with_130_and_no_traceback(photos, narrow, tmp_path):
    words = ["finetune", photos, "--weights", narrow, "--epochs", 100_000, "--out", tmp_path / "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minicnn", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err


def test_a_reader_that_goes_away():
    command = f"{sys.executable} -m minicnn algorithms | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "adaptive_avg_pool2d" in done.stdout


def test_paths_of_run_folders_are_new(run, photos, narrow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("finetune", photos, "--weights", narrow, "--epochs", 1)[0] == 0
    assert len(list(Path("runs").iterdir())) == 2
