"""Cross-validation: every image validated once; the same bits after an interruption and in several processes."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from killing import without_times

from minicnn.errors import MinicnnError
from minicnn.training import Settings, Trainer, cross_validate, fold_processes, resume_cross_validation
from minicnn.training.folds import Fold


class Killed(BaseException):
    """As if the process had ended."""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Those of the runs take longer than the training."""
    monkeypatch.setattr("minicnn.training.pictures.curves", lambda *rest: b"curves")
    monkeypatch.setattr("minicnn.training.pictures.confusion", lambda *rest: b"confusion")


@pytest.fixture
def settings(photos, tiny_weights, tmp_path):
    """`settings("out")`: two short epochs on seven ants and eight bees."""
    data = photos({"ants": 7, "bees": 8})
    common = {"augment": False, "head_first": False, "epochs": 2, "batch_size": 4, "lr": 0.01}

    def build(out="out", **more):
        return Settings(**{"data": data, "weights": tiny_weights, **common, **more}, out=tmp_path / out)

    return build


def numbers(result):
    return without_times({**result.as_dict(), "folder": ""})


@pytest.mark.parametrize("stratified", [True, False])
def test_each_image_is_validated_once(stratified):
    targets = np.repeat([0, 1, 2], [7, 8, 11])
    parts = [Fold(number, 3, stratified).divide(targets, 0, ["a", "b", "c"]) for number in (1, 2, 3)]
    assert sorted(np.concatenate([validation for _, validation in parts])) == list(range(26))
    for train, validation in parts:
        assert sorted([*train, *validation]) == list(range(26))
    shares = np.array([np.bincount(targets[validation], minlength=3) for _, validation in parts])
    assert (np.ptp(shares, axis=0).max() <= 1) == stratified


def test_means_pictures_and_going_on_to_the_same_bits(settings, monkeypatch, tmp_path):
    whole = cross_validate(settings("whole"), 3, announce=None)
    accuracies = [row.accuracy for row in whole.rows]
    assert whole.mean() == pytest.approx(np.mean(accuracies))
    assert whole.deviation() == pytest.approx(np.std(accuracies, ddof=1))
    assert whole.confusion.sum() == 15
    assert whole.confusion.sum(axis=1).tolist() == [7, 8]
    assert whole.confusion.trace() == round(sum(row.accuracy * row.validation_images for row in whole.rows))
    assert json.loads((whole.folder / "crossval.json").read_text())["accuracy_mean"] == whole.mean()
    assert (whole.folder / "crossval.png").read_bytes().startswith(b"\x89PNG")
    assert "mean" in str(whole)
    original, count = Trainer._step, [0]

    def counted(self, *arguments):
        count[0] += 1
        if (
            count[0] == 7 + 7 - 1
        ):  # each fold: one step of warming up, then 2 epochs of 3 steps; the second's last but 1
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", counted)
    with pytest.raises(Killed):
        cross_validate(settings(checkpoint_every="1"), 3, announce=None)
    lines = []
    result = resume_cross_validation(tmp_path / "out", announce=lines.append)
    assert lines[0] == "1 of 3 folds are finished already"
    assert count[0] == 7 + 7 - 1 + (1 + 2) + 7
    assert numbers(result) == numbers(whole)
    shutil.rmtree(result.folder / "fold-2")
    assert numbers(resume_cross_validation(result.folder, announce=None)) == numbers(whole)


def test_several_processes_give_the_same_bits(settings, photos, tmp_path, narrow_weights):
    asked = {"weights": narrow_weights, "per_class": 2, "epochs": 1}
    one = cross_validate(settings("one", **asked), 2, announce=None)
    two = cross_validate(settings("two", **asked), 2, processes=2, announce=None)
    assert numbers(one) == numbers(two)


def test_an_error_in_a_process_comes_back_as_one_line(monkeypatch, capsys, settings):
    asked = {key: str(value) if key in ("data", "weights", "out") else value for key, value in vars(settings()).items()}
    line = json.dumps([{**asked, "per_class": 100}, 1, 2, asked["out"]])
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    with pytest.raises(SystemExit, match="2"):
        fold_processes.main()
    assert "has not so many images to train on" in capsys.readouterr().out
    fake = [sys.executable, "-c", "import sys; sys.stdin.read(); print('photos: no good'); sys.exit(2)"]
    original = subprocess.Popen
    monkeypatch.setattr(fold_processes.subprocess, "Popen", lambda words, **rest: original(fake, **rest))
    with pytest.raises(MinicnnError, match=r"fold [12]: photos: no good; seen exit status 2"):
        cross_validate(settings(), 2, processes=2, announce=None)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"folds": 1}, "folds"),
        ({"folds": 2.5}, "folds"),
        ({"folds": 8}, "class ants has too few images to be split; seen 7 of 15 images; rule: at least 8 a class"),
        ({"folds": 16, "stratified": False}, "more folds than images; seen 16 folds, 15 images"),
        ({"processes": 0}, "processes"),
        ({"stratified": "yes"}, "stratified is not valid"),
    ],
)
def test_what_is_refused_before_any_work(settings, tmp_path, options, text):
    with pytest.raises(MinicnnError) as caught:
        cross_validate(settings(), announce=None, **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_cannot_go_on(settings, tmp_path, monkeypatch):
    with pytest.raises(MinicnnError, match="there is no such cross-validation"):
        resume_cross_validation(tmp_path, announce=None)
    monkeypatch.setattr("minicnn.training.crossval._run", lambda *rest: None)
    cross_validate(settings(), 3, announce=None)
    path = tmp_path / "out" / "crossval.toml"
    text = path.read_text()
    for old, new, said in (
        ('minicnn = "', 'minicnn = "9.', "of another version of minicnn"),
        ("epochs = 2", "epochs = [", "not the settings of a cross-validation"),
        ('images = "', 'images = "0', "with other images"),
        ("crossval]\nfolds = 3\n", "crossval]\nfolds = 0\n", "folds"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(MinicnnError, match=said):
            resume_cross_validation(tmp_path / "out", announce=None)
    with pytest.raises(MinicnnError, match=r"the folder is not empty; .* go on: minicnn crossval --resume"):
        cross_validate(settings(), 3, announce=None)


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "2", "a/b", 3])
def test_a_fold_that_is_none(fold):
    with pytest.raises(MinicnnError, match="fold is not valid"):
        Settings(fold=fold).check()
