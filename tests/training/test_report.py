from __future__ import annotations

import getpass
import io
import json
import platform
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn.errors import MinicnnError
from minicnn.training import Epoch, History, measure, pictures
from minicnn.training.report import RunFolder, environment, shown_path


def history(rate, epochs=4):
    values = [rate**i for i in range(epochs)]
    return History(
        [Epoch(i + 1, 2 * v, 1 - v, 2.2 * v, 1 - 0.9 * v, 1 - v, 0.1, 1.0, 9.0) for i, v in enumerate(values)]
    )


def scores(classes, count):
    rng = np.random.default_rng(classes)
    targets = rng.integers(0, classes, count)
    probabilities = rng.random((count, classes))
    probabilities[np.arange(count), targets] += 0.5
    return targets, probabilities


def picture(content):
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))


def test_files_of_a_run(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run")
    folder.write_settings({"settings": {"seed": 3, "out": None}, "ways": {"from scratch": {"lr": 0.1}}})
    folder.write_metrics({"accuracy": 0.5})
    folder.write_pictures({"x": history(0.5)}, measure(*scores(3, 30)), "digits", "x")
    names = sorted(path.name for path in folder.path.iterdir())
    assert names == ["confusion.png", "curves.png", "metrics.json", "run.toml"]
    settings = tomllib.loads((folder.path / "run.toml").read_text(encoding="utf-8"))
    assert settings["settings"] == {"seed": 3}
    assert settings["ways"]["from scratch"]["lr"] == 0.1
    assert set(settings["versions"]) >= {"minicnn", "numpy", "numba", "python"}
    assert settings["versions"]["python"] == platform.python_version()
    assert json.loads((folder.path / "metrics.json").read_text()) == {"accuracy": 0.5}
    picture((folder.path / "curves.png").read_bytes())


def test_no_host_and_no_user_is_named(monkeypatch, tmp_path):
    values = [str(value) for table in environment().values() for value in table.values()]
    assert not any(name in value for value in values for name in (platform.node(), getpass.getuser()))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "home" / "photos") == "home/photos"
    monkeypatch.chdir("/")
    assert not shown_path(tmp_path / "home" / "photos").startswith("~") or tmp_path == Path("/")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert shown_path(tmp_path / "home" / "photos") == "~/photos"
    assert shown_path("runs/a") == "runs/a"


def test_numbered_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [RunFolder(None, "my photos/1").path.as_posix() for _ in range(3)]
    assert names == ["runs/my-photos-1-1", "runs/my-photos-1-2", "runs/my-photos-1-3"]
    assert RunFolder(None, "..").path.as_posix() == "runs/run-1"


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"precious")
    with pytest.raises(MinicnnError, match=r"the folder is not empty; seen model\.h5; rule: a run has its own"):
        RunFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.h5"]


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(MinicnnError, match="file/run: cannot be written; seen Not a directory"):
        RunFolder(tmp_path / "file" / "run")
    with pytest.raises(MinicnnError, match="file: cannot be written; seen File exists"):
        RunFolder(tmp_path / "file")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    with pytest.raises(MinicnnError, match="runs: cannot be written"):
        RunFolder(None)


def test_a_folder_that_cannot_be_written_to_is_not_left_behind(tmp_path, monkeypatch):
    def full(*_):
        raise MinicnnError("cannot be written", seen="No space left on device")

    monkeypatch.setattr("minicnn.training.report.write_atomically", full)
    with pytest.raises(MinicnnError, match="No space left"):
        RunFolder(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_discard_takes_only_what_is_its_own(tmp_path):
    new = RunFolder(tmp_path / "new")
    new.discard()
    assert not new.path.exists()
    (tmp_path / "old").mkdir()
    old = RunFolder(tmp_path / "old")
    old.discard()
    assert list(old.path.iterdir()) == []
    used = RunFolder(tmp_path / "used")
    (used.path / "notes.txt").write_text("mine")
    used.discard()
    assert [path.name for path in used.path.iterdir()] == ["notes.txt"]


def test_metrics_that_are_not_numbers_are_refused_before_writing(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match="JSON"):
        folder.write_metrics({"loss": float("nan")})
    assert not (folder.path / "metrics.json").exists()


@pytest.mark.parametrize("classes", [2, 10, 31, 100])
def test_confusion_of_few_and_many_classes(classes):
    names = [rf"$\class_{i}$ 蚁 with a name that is much too long for any axis" for i in range(classes)]
    image = picture(pictures.confusion(measure(*scores(classes, 20 * classes), names), "title with $"))
    assert max(image.shape) < 1700
    assert image.std() > 5  # something is drawn


def test_confusion_shades_rows_by_their_shares_not_by_their_counts():
    def dark(first, second):
        targets = np.repeat([0, 1], [first, second])
        return (picture(pictures.confusion(measure(targets, np.eye(2)[targets]))) < 30).mean()

    assert dark(50, 50) > 0.2
    assert dark(90, 10) == pytest.approx(dark(50, 50), rel=0.02)


def test_curves_of_one_and_of_three_ways():
    three = {"from scratch": history(0.9), "frozen features": history(0.8), "fine-tuned": history(0.7)}
    one, all_three = picture(pictures.curves({"fine-tuned": history(0.7)})), picture(pictures.curves(three, "three"))
    assert one.shape == all_three.shape
    assert not np.array_equal(one, all_three)
    without = History([Epoch(1, 1.0, 0.5, None, None, None, 0.1, 1.0, 9.0)])
    picture(pictures.curves({"no validation": without}))


def test_pictures_leave_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    pictures.curves({"a": history(0.5)})
    pictures.confusion(measure(*scores(3, 9)))
    assert dict(matplotlib.rcParams) == before
