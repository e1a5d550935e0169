"""A training that was interrupted at any step goes on to the same bits, or says why it does not."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim, weights
from minicnn.backends import random
from minicnn.data import DataLoader
from minicnn.errors import ArgumentError, MinicnnError, WeightsError
from minicnn.training import Checkpoints, LastAndBest, Trainer, cosine, saving
from minicnn.training.state import State
from minicnn.weights import WeightsInfo

TIMES = ("seconds", "images_per_second")
INFO = WeightsInfo("tiny", {"num_classes": 3, "width": 4}, ["red", "green", "blue"], input_size=8)
OPTIMIZERS = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda ps: optim.Adam(ps, lr=0.01),
}


class Training:
    """A training of 3 epochs of 4 steps, with dropout and validation; built anew for each `fit`, as by a new process.

    `act(training)` runs in every call of the loss; the calls are counted, 4 of an epoch's 6 are steps.
    """

    def __init__(self, tiny, stripes, folder: Path | None, **settings) -> None:
        settings = {"optimizer": "SGD", "every": "1", "keep": 2, "images": 0, "schedule": cosine(), **settings}
        self.calls, self.act, self.lines = 0, settings.get("act", lambda training: None), []
        self.model = settings["model"]() if "model" in settings else tiny()
        if settings.get("frozen"):
            self.model.conv.freeze()
        minicnn.manual_seed(settings.get("seed", 5))
        self.train = DataLoader(stripes(16, seed=settings["images"]), settings.get("batch_size", 4), shuffle=True)
        self.validation = DataLoader(stripes(8, seed=99), 4)
        self.files = None if folder is None else LastAndBest(folder, self.model, INFO)
        optimizer = OPTIMIZERS[settings["optimizer"]]([p for p in self.model.parameters() if p.requires_grad])
        self.trainer = Trainer(
            self.model, optimizer, self.loss, schedule=settings["schedule"], progress=False, on_epoch=self.files
        )
        self.checkpoints = None
        if folder is not None:
            about = settings.get("about", {})
            options = {"every": settings["every"], "keep": settings["keep"], "about": about}
            self.checkpoints = Checkpoints(folder / "states", **options, announce=self.lines.append)
        self.epochs = settings.get("epochs", 3)

    def loss(self, scores, labels):
        self.calls += 1
        self.act(self)
        return nn.functional.cross_entropy(scores, labels)

    def fit(self):
        checkpoints = self.checkpoints
        self.trainer.fit(self.train, self.validation, self.epochs, checkpoints=checkpoints, resume=bool(checkpoints))
        return self.result()

    def result(self):
        """Everything that must be the same, as bytes and numbers."""
        history = {k: v for k, v in self.trainer.history.as_dict().items() if k not in TIMES}
        state = {name: array.tobytes() for name, array in self.model.state_dict().items()}
        memory = {
            (i, k): v.tobytes() if isinstance(v, np.ndarray) else v
            for i, kept in self.trainer.optimizer.state_dict()["state"].items()
            for k, v in kept.items()
        }
        return state, memory, history, random.generator().bit_generator.state, self.trainer.evaluation.loss


class Killed(BaseException):
    """As if the process had ended."""


def killed_in(call):
    def act(training):
        if training.calls == call:
            raise Killed

    return act


@pytest.fixture
def make(tiny, stripes):
    return lambda folder, **settings: Training(tiny, stripes, folder, **settings)


@pytest.fixture
def whole(make):
    """`whole()`: the result of a training that was not interrupted; each kind is trained once."""
    return lambda optimizer="SGD": (
        _whole.get(optimizer) or _whole.setdefault(optimizer, make(None, optimizer=optimizer).fit())
    )


_whole = {}


@pytest.fixture
def interrupted(make, tmp_path):
    """`interrupted(call)`: the folder of a training that ended in this call of its loss."""

    def build(call, **settings):
        with pytest.raises(Killed):
            make(tmp_path, act=killed_in(call), **settings).fit()
        return tmp_path

    return build


# ---- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "every"), [("SGD", "1"), ("Adam", "3"), ("SGD", "60min")])
def test_the_same_bits_whenever_it_was_interrupted(make, whole, interrupted, tmp_path, optimizer, every):
    """In the first step, in the middle of epochs, in validations, and several times in one training."""
    interrupted(1, optimizer=optimizer, every=every)
    for call in (3, 5, 4, 7):  # counted from where each goes on
        seed = 6 if make(tmp_path).checkpoints.paths() else 5  # of the generator and the loader; the checkpoint's count
        again = make(tmp_path, optimizer=optimizer, every=every, act=killed_in(call), seed=seed)
        with pytest.raises(Killed):
            again.fit()
    last = make(tmp_path, optimizer=optimizer, every=every)
    assert last.fit() == whole(optimizer)
    assert again.trainer.position.epoch >= 2
    assert len(weights.describe(tmp_path / "last.h5").log) == 3


def test_a_finished_training_is_not_trained_again(make, tmp_path):
    expected = make(tmp_path).fit()
    again = make(tmp_path)
    assert again.fit() == expected
    assert again.calls == 2  # the validation


def test_a_loader_of_ones_own_is_passed_over(make, tmp_path):
    """A list of batches has no `set_epoch`."""

    def training(folder, act):
        made = make(folder, act=act)
        made.train = list(made.train)
        return made

    expected = training(None, lambda _: None).fit()
    with pytest.raises(Killed):
        training(tmp_path, killed_in(9)).fit()
    assert training(tmp_path, lambda _: None).fit() == expected


def test_frozen_stays_frozen(make, interrupted, tmp_path, tiny):
    interrupted(9, frozen=True)
    last = make(tmp_path, frozen=True)
    last.fit()
    assert np.array_equal(last.model.conv.weight.array, tiny().conv.weight.array)
    assert not np.array_equal(last.model.top.weight.array, tiny().top.weight.array)


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


def pressed_in(call, times=1):
    def act(training):
        if training.calls == call:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return act


@pytest.mark.parametrize(("call", "name"), [(2, "epoch-0001-step-000002.h5"), (5, "epoch-0001-step-000004.h5")])
def test_ctrl_c_waits_for_the_end_of_a_step_and_writes(make, whole, tmp_path, call, name):
    """In training, and in validation, which is done again."""
    training = make(tmp_path, act=pressed_in(call), every="60min")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        training.fit()
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in training.checkpoints.paths()] == [name]
    assert make(tmp_path).fit() == whole()


def test_a_second_ctrl_c_does_not_wait(make, tmp_path):
    training = make(tmp_path, act=pressed_in(2, times=2), every="60min")
    with pytest.raises(KeyboardInterrupt):
        training.fit()
    assert training.checkpoints.paths() == []


# ---- which are kept -------------------------------------------------------------------------------------------------


def test_the_last_ones_and_the_best(make, tmp_path):
    training = make(tmp_path, keep=3)
    training.fit()
    best = training.trainer.history.best().number
    kept = {"epoch-0003-step-000003.h5", "epoch-0003-step-000004.h5", "epoch-0004-step-000000.h5"}
    kept.add(f"epoch-{best + 1:04d}-step-000000.h5")
    assert {path.name for path in (tmp_path / "states").iterdir()} == kept


def test_quick_epochs_do_not_each_write_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.is_due_after_epoch(is_best=False)  # the first
    checkpoints.last, checkpoints._took = tmp_path, 10.0
    assert not checkpoints.is_due_after_epoch(is_best=False)
    assert checkpoints.is_due_after_epoch(is_best=True)
    checkpoints._took = 0.0
    assert checkpoints.is_due_after_epoch(is_best=False)
    assert not checkpoints.is_due(10)
    checkpoints._ended -= 301
    assert checkpoints.is_due(10)


@pytest.mark.parametrize("every", ["0", "-1", "1.5", "5 min", "min", "5h", "", 5])
def test_how_often_must_be_clear(tmp_path, every):
    with pytest.raises(ArgumentError, match="how often checkpoints are written is not valid; seen every="):
        Checkpoints(tmp_path, every=every)


# ---- damage ---------------------------------------------------------------------------------------------------------


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over(make, whole, interrupted, tmp_path):
    interrupted(9)
    before, newest = make(tmp_path).checkpoints.paths()[-2:]
    damage(newest)
    last = make(tmp_path)
    assert last.fit() == whole()
    assert last.lines[0].startswith(f"{newest} is passed over: ")
    assert last.lines[1] == f"going on from epoch 2, after step 1: {before}"


def test_if_all_are_damaged_it_begins_anew(make, whole, interrupted, tmp_path):
    interrupted(4)
    for path in make(tmp_path).checkpoints.paths():
        path.write_bytes(path.read_bytes()[:1000])
    last = make(tmp_path)
    assert last.fit() == whole()
    assert len(last.lines) == 2
    assert last.calls == 18


def test_lost_weights_of_the_best_epoch_are_written_again(make, interrupted, tmp_path):
    expected = make(tmp_path)
    expected.fit()
    best = (tmp_path / "best.h5").read_bytes()
    shutil.rmtree(tmp_path / "states")
    interrupted(17)
    (tmp_path / "best.h5").unlink()
    make(tmp_path).fit()
    assert (tmp_path / "best.h5").read_bytes() == best


def test_leftovers_of_killed_writers_are_removed(make, interrupted, tmp_path):
    interrupted(4)
    left = tmp_path / "states" / ".epoch-0001-step-000004.h5.12345.tmp"
    left.write_bytes(b"half")
    make(tmp_path).fit()
    assert not left.exists()


# ---- what does not fit ----------------------------------------------------------------------------------------------


REFUSED = {
    "a checkpoint with other parts frozen": {"frozen": True},
    "a checkpoint with another optimizer": {"optimizer": "Adam"},
    "a checkpoint of a training on other images": {"images": 1},
    "a checkpoint with other batches": {"batch_size": 2},
    "a checkpoint of a training of another length": {"epochs": 4},
    "a checkpoint with another schedule": {"schedule": cosine(0.1)},
    "a checkpoint of another training": {"about": {"way": "other"}},
    "a checkpoint of another network": {"model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3))},
}


def test_what_does_not_fit_is_refused(make, whole, interrupted, tmp_path):
    interrupted(9)
    for problem, settings in REFUSED.items():
        other = make(tmp_path, **settings)
        before = {name: array.copy() for name, array in other.model.state_dict().items()}
        with pytest.raises(ArgumentError) as caught:
            other.fit()
        text = str(caught.value)
        assert text.startswith(f"{tmp_path / 'states' / 'epoch-0002-step-000002.h5'}: {problem}; seen ")
        assert "\n" not in text
        assert all(np.array_equal(array, before[name]) for name, array in other.model.state_dict().items())
    assert make(tmp_path).fit() == whole()


def test_another_version(make, interrupted, tmp_path, monkeypatch):
    interrupted(4)
    monkeypatch.setattr(saving.minicnn, "__version__", "9.9")
    with pytest.raises(ArgumentError, match=r"a checkpoint of another version of minicnn; seen 0\.1\.0; rule: 9\.9"):
        make(tmp_path).fit()


def test_a_file_of_another_program_or_form(make, interrupted, tmp_path):
    interrupted(4)
    path = make(tmp_path).checkpoints.paths()[-1]
    with pytest.raises(WeightsError, match="an HDF5 file, but not minicnn weights; seen format 'minicnn-checkpoint'"):
        weights.read(path)
    state = State.read(path)
    State(state.arrays, {**state.values, "position": {"epoch": 1, "place": 3}}).save(path)
    with pytest.raises(WeightsError, match="a checkpoint that minicnn did not write"):
        make(tmp_path).fit()


def test_resume_needs_checkpoints(make):
    training = make(None)
    with pytest.raises(ArgumentError, match="nothing to go on from; seen resume=True, checkpoints=None"):
        training.trainer.fit(training.train, resume=True)


# ---- disks ----------------------------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow(make, whole, tmp_path):
    """A limit of the system on the size of files, as a quota; what was written before stays, and is gone on from."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def act(training):
        if training.calls == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))

    try:
        with pytest.raises(MinicnnError, match=r"epoch-0002-step-000003\.h5: cannot be written; seen File too large"):
            make(tmp_path, act=act).fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.suffix for path in (tmp_path / "states").iterdir()} == {".h5"}
    assert make(tmp_path).fit() == whole()


def test_a_full_disk(make, whole, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def act(training):
        if training.calls == 9:
            monkeypatch.setattr("minicnn.files.os.fsync", full)

    with pytest.raises(MinicnnError, match=r"cannot be written; seen No space left on device; hint: .*free space"):
        make(tmp_path, act=act).fit()
    monkeypatch.undo()
    assert make(tmp_path).fit() == whole()


def test_a_folder_that_may_not_be_written_to(make):
    """For root nothing is forbidden, so root becomes somebody else for the moment."""
    folder = Path(tempfile.mkdtemp())
    states = folder / "states"
    states.mkdir()
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    folder.chmod(0o755)
    training = make(folder)
    training.trainer.on_epoch = None
    try:
        states.chmod(0o555)
        if is_root:
            os.seteuid(65534)
        with pytest.raises(MinicnnError, match=r"step-000001\.h5: cannot be written; seen Permission denied"):
            training.fit()
    finally:
        if is_root:
            os.seteuid(0)
        states.chmod(0o755)
        shutil.rmtree(folder)
