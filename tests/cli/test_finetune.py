"""`minicnn finetune` and `minicnn predict`, end to end, and what bad input gets: one line, exit status 2."""

from __future__ import annotations

import inspect
import json
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from minicnn import weights
from minicnn.models import cnn
from minicnn.training.finetune import Settings


def test_finetune_makes_a_run_folder_and_predict_uses_it(run, photos, narrow, tmp_path):
    out = tmp_path / "run"
    words = ("--weights", narrow, "--epochs", 6, "--batch-size", 4, "--lr", 0.01, "--out", out)
    code, text, err = run("finetune", photos, *words)
    assert code == 0
    table = text.split("\n")
    assert table[1].split() == ["accuracy", "macro", "F1", "seconds"]
    assert table[3].startswith("fine-tuned ")
    assert "13 images to train on, 3 to test, 2 classes" in text
    assert "new head fc, 32 -> 2" in err
    assert {p.name for p in out.iterdir()} >= {"metrics.json", "curves.png", "confusion.png", "model.h5", "run.toml"}
    info = weights.describe(out / "model.h5")
    assert info.classes == ["blue", "red"]
    with Image.open(out / "curves.png") as picture:
        assert picture.size[0] > 300
    code, text, _ = run("predict", out / "model.h5", *sorted(photos.glob("*/*.png")), "--json")
    assert code == 0
    assert [Path(path).parent.name for path in json.loads(text)] == ["blue"] * 8 + ["red"] * 8
    assert all(answer[0][0] == Path(path).parent.name for path, answer in json.loads(text).items())


def test_finetune_prints_json_only(run, photos, narrow, tmp_path):
    words = ("--weights", narrow, "--epochs", 1, "--compare", "--json", "--out", tmp_path / "run")
    code, text, err = run("finetune", photos, *words)
    assert code == 0
    assert all(f"{way}: accuracy" in err for way in ("from scratch", "frozen features", "fine-tuned"))
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
def test_finetune_refuses_bad_options(run, one_line, photos, narrow, tmp_path, words, message):
    options = words if "--weights" in words else ["--weights", narrow, *words]
    code, text, err = run("finetune", photos, *options, "--out", tmp_path / "run")
    assert code == 2
    assert message in one_line(err)
    assert text == ""
    assert not (tmp_path / "run").exists()


def test_a_missing_folder(run, one_line, narrow, tmp_path):
    code, _, err = run("finetune", tmp_path / "nowhere", "--weights", narrow)
    assert code == 2
    assert "nowhere" in one_line(err)


def test_an_empty_folder(run, one_line, narrow, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("finetune", tmp_path / "empty", "--weights", narrow)
    assert code == 2
    assert "empty" in one_line(err)


def test_a_class_with_one_image(run, one_line, narrow, photos):
    for path in sorted((photos / "red").iterdir())[1:]:
        path.unlink()
    code, _, err = run("finetune", photos, "--weights", narrow)
    assert code == 2
    assert "red" in one_line(err)


def test_an_image_that_cannot_be_read(run, one_line, narrow, photos):
    broken = photos / "red" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    code, _, err = run("finetune", photos, "--weights", narrow)
    assert code == 2
    assert "3.png" in one_line(err)
    code, _, err = run("predict", narrow, broken)
    assert code == 2
    assert "3.png" in one_line(err)


def test_weights_for_another_architecture(run, one_line, photos, tmp_path):
    path = tmp_path / "other.h5"
    state = cnn(2, 32).state_dict()
    weights.save(path, state, weights.WeightsInfo("vgg99", {}, ["a", "b"], 32))
    code, _, err = run("finetune", photos, "--weights", path)
    assert code == 2
    assert "unknown architecture" in one_line(err)


def test_a_file_that_is_not_weights(run, one_line, photos, tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
    code, _, err = run("predict", path, photos / "red" / "0.png")
    assert code == 2
    assert "an HDF5 file in a form that" in one_line(err)


def test_paths_of_run_folders_are_new(run, photos, narrow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("finetune", photos, "--weights", narrow, "--epochs", 1)[0] == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_resume(run, one_line, photos, narrow, tmp_path, monkeypatch):
    from minicnn.training import Trainer

    out, original = tmp_path / "run", Trainer._step
    words = ("--weights", narrow, "--epochs", 1, "--batch-size", 4, "--checkpoint-every", 1, "--out", out)

    def pressed(self, x, labels, where):
        if "step 2" in where:
            signal.raise_signal(signal.SIGINT)
        return original(self, x, labels, where)

    monkeypatch.setattr(Trainer, "_step", pressed)
    code, text, err = run("finetune", photos, *words)
    assert (code, text) == (130, "")
    assert err.splitlines()[-2:] == [f"to go on: minicnn finetune --resume {out}", "minicnn: interrupted"]
    monkeypatch.undo()
    code, _, err = run("finetune", "--resume", out, "--epochs", 2)
    assert code == 2
    assert "finetune --resume: --epochs cannot change; rule: a run goes on with its own settings" in one_line(err)
    code, text, err = run("finetune", "--resume", out, "--json")
    assert code == 0
    assert f"going on from epoch 1, after step 2: {out / 'checkpoints' / 'fine-tuned' / 'head'}" in err
    assert json.loads(text)["rows"][0]["way"] == "fine-tuned"
    code, _, err = run("finetune", "--resume", out)
    assert code == 2
    assert "the run is finished" in one_line(err)


def test_defaults_are_those_of_the_settings():
    from minicnn.cli.finetune import finetune

    options = {name: option.default for name, option in inspect.signature(finetune).parameters.items()}
    assert options.pop("as_json") is False
    assert options.pop("resume") is None
    del options["context"]
    others = {"fold", "stratified"}  # of a cross-validation
    assert options == {name: value for name, value in vars(Settings()).items() if name not in others}
