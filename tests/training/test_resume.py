"""`minicnn finetune --resume`: to the same files as without the interruption, or one clear error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from killing import differences

from minicnn import weights
from minicnn.errors import MinicnnError
from minicnn.training import Settings, Trainer, finetune, resume
from minicnn.training.report import RunFolder

KILLS = int(os.environ.get("MINICNN_KILLS", "4"))  # a hundred and more take some minutes

EXACT = {"augment": False, "head_first": False}  # so that steps can be counted


class Killed(BaseException):
    """As if the process had ended."""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than the training, and have tests of their own."""
    monkeypatch.setattr("minicnn.training.pictures.curves", lambda *rest: b"curves")
    monkeypatch.setattr("minicnn.training.pictures.confusion", lambda *rest: b"confusion")


@pytest.fixture
def data(photos):
    return photos({"ants": 10, "bees": 10})


@pytest.fixture
def start(tmp_path, tiny_weights, data):
    """`start("run")` fine-tunes: 1 step of warming up, then 2 epochs of 4 steps in each of 3 ways; gives the folder."""

    def begin(name="run", announce=None, **settings):
        settings = {
            "data": data,
            "weights": tiny_weights,
            "compare": True,
            "checkpoint_every": "1",
            **EXACT,
            **settings,
        }
        return finetune(Settings(**settings, epochs=2, batch_size=4, out=tmp_path / name), announce=announce).folder

    return begin


_wholes: dict[str, Path] = {}


@pytest.fixture
def whole(start, tmp_path_factory):
    """`whole(compare=False)`: the folder of a run that was not interrupted; each kind runs once."""

    def build(**settings):
        if str(settings) not in _wholes:
            kept = tmp_path_factory.mktemp("wholes")
            _wholes[str(settings)] = shutil.copytree(start("whole", **settings), kept / "whole")
        return _wholes[str(settings)]

    return build


@pytest.fixture
def end_in(monkeypatch):
    """`end_in(5)`: the fifth step from now is not done, as if the process had ended; `end_in(0)`: all are."""
    count, last, original = [0], [0], Trainer._step

    def counted(self, *arguments):
        count[0] += 1
        if count[0] == last[0]:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", counted)

    def arm(step):
        count[0], last[0] = 0, step
        return count

    return arm


@pytest.fixture
def interrupted(start, end_in, tmp_path):
    """`interrupted(5)`: the folder of a run that ended in its fifth step."""

    def build(step, **settings):
        end_in(step)
        with pytest.raises(Killed):
            start(**settings)
        end_in(0)
        return tmp_path / "run"

    return build


# ---- the same files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "left"), [(4, 22), (14, 12), (25, 1)], ids=["first way", "frozen features", "last"])
def test_the_same_files_and_no_step_twice(whole, end_in, interrupted, step, left):
    expected = whole()
    run = interrupted(step)
    count = end_in(0)
    lines = []
    result = resume(run, announce=lines.append)
    assert differences(expected, result.folder) == []
    assert count[0] == 1 + left
    assert any(line.startswith("going on from ") for line in lines)
    settings = tomllib.loads((run / "run.toml").read_text())
    assert settings.pop("resumed") == {"times": 1, "devices": ["cpu"]}
    before = tomllib.loads((expected / "run.toml").read_text())
    other = {"data", "weights", "out"}  # folders of the tests
    assert {key for key, value in before["settings"].items() if settings["settings"][key] != value} <= other
    assert not (run / "checkpoints").exists()


def test_killed_twice_and_before_the_first_checkpoint(whole, end_in, interrupted):
    expected = whole(compare=False)
    run = interrupted(8, compare=False)
    end_in(1)
    with pytest.raises(Killed):
        resume(run, announce=None)
    for path in (run / "checkpoints").rglob("*.h5"):
        path.unlink()
    end_in(0)
    resume(run, announce=None)
    assert differences(expected, run) == []
    assert tomllib.loads((run / "run.toml").read_text())["resumed"]["times"] == 2


@pytest.mark.parametrize(("step", "left"), [(1 + 3, 8 - 2 + 8), (1 + 8 + 6, 8 - 5)], ids=["head", "all"])
def test_with_augmentation_and_a_head_that_learns_first(whole, interrupted, end_in, step, left):
    settings = {"compare": False, "augment": True, "head_first": True}
    expected = whole(**settings)
    run = interrupted(step, **settings)
    count = end_in(0)
    resume(run, announce=None)
    assert differences(expected, run) == []
    assert count[0] == 1 + left


@pytest.mark.parametrize("step", [3, 6], ids=["stages closed", "all open"])
def test_with_rates_by_depth_gradual_unfreezing_and_batch_norm_that_stays(whole, interrupted, end_in, step):
    settings = {"compare": False, "rates_by_depth": 0.5, "unfreeze": "gradually", "freeze_bn": "statistics"}
    expected = whole(**settings)
    run = interrupted(1 + step, **settings)
    count = end_in(0)
    resume(run, announce=None)
    assert differences(expected, run) == []
    assert count[0] == 1 + 8 - step + 1
    assert differences(whole(compare=False), expected)  # they change something


def test_frozen_layers_stay_as_they_were(interrupted, tiny_weights):
    run = interrupted(7, freeze="until=bn", compare=False)
    resume(run, announce=None)
    state, before = weights.read(run / "model.h5")[0], weights.read(tiny_weights)[0]
    same = {name for name in state if state[name].shape == before[name].shape and (state[name] == before[name]).all()}
    assert same == {name for name in before if name.startswith(("conv.", "bn."))}


def test_interrupted_while_reporting(start, whole, interrupted, monkeypatch, end_in, tmp_path):
    expected = whole()

    def stop(*rest):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("minicnn.training.pictures.confusion", stop)
        with pytest.raises(Killed):
            start()
    count = end_in(0)
    run = tmp_path / "run"
    resume(run, announce=None)
    assert count[0] == 1  # of warming up
    assert differences(expected, run) == []


def test_a_damaged_outcome_of_a_way_is_computed_again(whole, interrupted, end_in):
    expected = whole()
    run = interrupted(14)
    path = run / "checkpoints" / "from-scratch" / "outcome.h5"
    path.write_bytes(path.read_bytes()[:-1])
    count, lines = end_in(0), []
    resume(run, announce=lines.append)
    assert differences(expected, run) == []
    assert count[0] == 1 + 8 + 12
    assert any(line.startswith(f"{path} is passed over: ") for line in lines)


def test_images_and_weights_that_were_moved(whole, interrupted, data, tiny_weights):
    expected = whole(compare=False)
    run = interrupted(5, compare=False)
    moved = data.rename(data.with_name("moved")), tiny_weights.rename(tiny_weights.with_name("other.h5"))
    with pytest.raises(MinicnnError, match="the images are not there; hint: go to the folder where"):
        resume(run, announce=None)
    with pytest.raises(MinicnnError, match="the weights that the run began with are not there"):
        resume(run, data=moved[0], announce=None)
    resume(run, data=moved[0], weights=moved[1], announce=None)
    # the names of the folder and of the file stand in what model.h5 says about itself
    state, other = (weights.read(folder / "model.h5")[0] for folder in (expected, run))
    assert all((state[name] == other[name]).all() for name in state)


def test_checkpoints_are_kept_if_asked_for(start):
    run = start(keep_checkpoints=True, compare=False)
    kept = sorted(path.name for path in (run / "checkpoints" / "fine-tuned").iterdir())
    assert kept[-1] == "outcome.h5"
    assert "epoch-0003-step-000000.h5" in kept
    assert len(kept) <= 4


# ---- what cannot go on ----------------------------------------------------------------------------------------------


def refused(run, text, **changes):
    before = {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()}
    with pytest.raises(MinicnnError) as caught:
        resume(run, announce=None, **changes)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()} == before


def test_no_run(tmp_path):
    refused(tmp_path / "nowhere", "nowhere: there is no such run; rule: a folder with run.toml")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty: not a run")
    (tmp_path / "empty" / "run.toml").touch()
    refused(tmp_path / "empty", "empty: the run was interrupted before it began; hint: start it anew")
    (tmp_path / "empty" / "run.toml").write_text("a = [")
    refused(tmp_path / "empty", "run.toml: not the settings of a run; seen no TOML")
    (tmp_path / "empty" / "run.toml").write_text("[versions]\nminicnn = '0.1.0'")
    refused(tmp_path / "empty", "a run that cannot go on; seen no fingerprint in [data]")


def test_a_run_that_was_killed_at_its_birth_may_be_started_anew(start, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").touch()
    (tmp_path / "run" / ".run.toml.12345.tmp").write_text("half")
    assert (start(compare=False) / "metrics.json").exists()
    assert not (tmp_path / "run" / ".run.toml.12345.tmp").exists()


def test_what_cannot_go_on(start, interrupted, data, tiny, tiny_weights, tmp_path, monkeypatch):
    run = interrupted(5, compare=False)
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace('minicnn = "', 'minicnn = "9.'))
    refused(run, "run: a run of another version of minicnn; seen 9.0.1.0; rule: 0.1.0; hint: install that version")
    (run / "run.toml").write_text(text.replace("epochs = 2", 'epochs = "2"'))
    refused(run, "run.toml: not the settings of a run; seen epochs = '2'")
    (run / "run.toml").write_text(text)
    other = tmp_path / "other.h5"
    weights.save(other, tiny(3, seed=8).state_dict(), weights.describe(tiny_weights))
    refused(run, "run: a run with other weights; seen ", weights=other)
    with pytest.raises(MinicnnError, match="another process is at work in this folder"):
        resume_while_locked(run)
    next(data.glob("ants/*.png")).rename(data / "bees" / "new.png")
    refused(run, "run: a run with other images; seen ")


def resume_while_locked(run):
    folder = RunFolder.reopen(run)
    try:
        resume(run, announce=None)
    finally:
        folder.unlock()


def test_a_finished_run(start):
    run = start(compare=False)
    refused(run, "run: the run is finished; hint: its results are in metrics.json; start another")
    left = run / "checkpoints" / "fine-tuned" / "outcome.h5"  # of one that was killed after its last result
    left.parent.mkdir(parents=True)
    left.touch()
    with pytest.raises(MinicnnError, match="the run is finished"):
        resume(run, announce=None)
    assert not (run / "checkpoints").exists()


def test_settings_that_were_edited(interrupted):
    run = interrupted(5, compare=False)
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("\nepochs = 2", "\nepochs = 3"))
    with pytest.raises(MinicnnError, match=r"step-000003\.h5: a checkpoint of a training of another length; seen 2"):
        resume(run, announce=None)


def test_another_device_is_said(interrupted, monkeypatch):
    run = interrupted(5, compare=False)
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace('device = "cpu"', 'device = "cuda"'))
    lines = []
    resume(run, device="cpu", announce=lines.append)
    assert lines[0] == "on cpu now, after cuda: not to the bits of an uninterrupted run"


# ---- real processes -------------------------------------------------------------------------------------------------


def test_killed_at_many_moments(data, tiny_weights, tmp_path):
    """SIGKILL at any time and in the middle of writing; every run comes to the files of the uninterrupted one."""
    tiny_weights.rename(tmp_path / "tiny.h5")
    words = [sys.executable, Path(__file__).parents[1] / "killing.py", tmp_path, KILLS, 0]
    # one thread, of a kind that can be forked
    env = {**os.environ, "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] >= KILLS
    assert result["in writes"] > 0
    assert result["different"] == [[]] * result["runs"]
