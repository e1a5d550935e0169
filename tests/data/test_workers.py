"""Workers of a DataLoader, threads and processes: the same bits, one clear error, nothing left behind."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import loading_work
import numpy as np
import pytest

from minicnn.data import ArrayDataset, DataLoader
from minicnn.data.transforms import ColorJitter, Compose, MixUp, RandomErasing, RandomResizedCrop, ToTensor
from minicnn.errors import ArgumentError, DataError

KINDS = [(0, "threads"), (2, "threads"), (1, "processes")]
CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")
linux = pytest.mark.skipif(not CHILDREN.exists(), reason="counts processes and open files in /proc")


def epoch_of(loader: DataLoader) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(images.numpy(), labels.numpy()) for images, labels in loader]


def labels_of(loader: DataLoader) -> list[int]:
    return np.concatenate([labels for _, labels in epoch_of(loader)]).tolist()


def assert_same(a: list, b: list) -> None:
    assert len(a) == len(b)
    for (x, y), (u, v) in zip(a, b, strict=True):
        assert (x.dtype, y.dtype) == (u.dtype, v.dtype)
        assert np.array_equal(x, u)
        assert np.array_equal(y, v)


def footprint() -> tuple[int, list[str], list[str]]:
    """Open files, child processes, threads of workers."""
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("minicnn-data")]
    return len(os.listdir("/proc/self/fd")), CHILDREN.read_text().split(), names


# ---- the same bits --------------------------------------------------------------------------------------------------


def test_neither_number_nor_kind_of_workers_changes_a_bit():
    images = np.random.default_rng(0).integers(0, 256, (23, 9, 11, 3), dtype=np.uint8)
    augment = Compose([RandomResizedCrop(6), ColorJitter(0.5, hue=0.2), ToTensor(), RandomErasing(value="random")])
    photos = ArrayDataset(images, np.arange(23) % 3, ["a", "b", "c"], augment)
    mix = MixUp(alpha=1.0, num_classes=3)
    loaders = [
        DataLoader(photos, 4, True, 9, num_workers=number, workers=kind, batch_transform=mix)
        for number, kind in [(0, "threads"), (1, "threads"), (3, "threads"), (2, "processes")]
    ]
    for _ in range(2):
        expected, *others = [epoch_of(loader) for loader in loaders]
        assert [len(labels) for _, labels in expected] == [4, 4, 4, 4, 4, 3]
        for other in others:
            assert_same(expected, other)
    assert len(np.unique(expected[0][0])) > 100  # there is something to compare
    for loader in loaders:
        loader.set_epoch(1, start=4)
        assert_same(epoch_of(loader), expected[4:])


def test_batches_of_many_sizes_and_an_empty_rest():
    loader = DataLoader(loading_work.Growing(20), 3, num_workers=1, workers="processes")
    batches = epoch_of(loader)
    assert [images.shape for images, _ in batches] == [(3, 1, 1 + 700 * i, 2) for i in range(6)] + [(2, 1, 4201, 2)]
    for images, labels in batches:
        assert np.array_equal(images[:, 0, -1, 0], labels.astype(np.float32))
    loader.set_epoch(0, start=7)
    assert epoch_of(loader) == []
    loader.close()


def test_given_batches_are_the_callers_own():
    """A slot is written again; what was given out before must not change with it."""
    loader = DataLoader(loading_work.Numbered(12), 1, num_workers=1, workers="processes")
    kept = [images for images, _ in loader]
    assert [images.numpy().flat[0] for images in kept] == list(range(12))
    kept[0].numpy()[...] = 7
    loader.close()


def test_several_loaders_at_once_and_one_loader_twice():
    make = [
        DataLoader(loading_work.Numbered(8), 2, True, seed, num_workers=1, workers=kind)
        for seed, kind in ((0, "processes"), (1, "processes"), (0, "threads"))
    ]
    first, second, third = zip(*zip(*make, strict=True), strict=True)
    assert_same([(x.numpy(), y.numpy()) for x, y in first], [(x.numpy(), y.numpy()) for x, y in third])
    assert [y.numpy().tolist() for _, y in first] != [y.numpy().tolist() for _, y in second]
    twice = [(a.numpy(), b.numpy()) for (a, _), (b, _) in zip(make[0], make[0], strict=True)]
    make[2].set_epoch(1)
    assert_same(twice, list(zip(*[[x for x, _ in epoch_of(make[2])] for _ in range(2)], strict=True)))
    for loader in make:
        loader.close()


# ---- processes come and go ------------------------------------------------------------------------------------------


@linux
def test_processes_stay_for_the_next_epoch_until_closed():
    before = footprint()
    loader = DataLoader(loading_work.Process(8), 1, num_workers=2, workers="processes")
    first = labels_of(loader)
    assert len(set(first)) == 2
    assert os.getpid() not in first
    assert labels_of(loader) == first
    loader.dataset = loading_work.Sent(2)
    assert labels_of(loader) == labels_of(loader) == [1, 1]
    loader.dataset.count = 3  # a data set that was changed in between is sent again
    assert labels_of(loader) == [2, 2, 2]
    assert len(copy.deepcopy(loader)) == 3  # a copy would start its own
    assert set(footprint()[1]) - set(before[1]) == {str(process) for process in set(first)}
    loader.close()
    assert footprint() == before


@linux
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_loop_that_is_left_early_leaves_nothing(kind):
    before = footprint()
    loader = DataLoader(loading_work.Numbered(50), 1, num_workers=1, workers=kind)
    for _ in loader:
        break
    assert footprint() == before
    with pytest.raises(KeyboardInterrupt):
        interrupted(loader)
    assert footprint() == before
    batches = iter(loader)
    next(batches)
    assert footprint() != before
    del batches
    assert footprint() == before
    if kind == "processes":
        epoch_of(loader)
        assert footprint() != before
        del loader  # processes that wait for the next epoch go with it
        assert footprint() == before


def interrupted(loader: DataLoader) -> None:
    for _ in loader:
        raise KeyboardInterrupt


def test_what_the_user_raised_of_pillows_limit_holds_in_processes(monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123456)
    with_limit = DataLoader(loading_work.PixelLimit(2), num_workers=1, workers="processes")
    assert labels_of(with_limit) == [123456, 123456]
    with_limit.close()


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("refuse", "DataLoader: sample 5: photo5.jpg: a broken image"),
        ("raise", r"DataLoader: sample 5: the data set or its transform failed; seen KeyError: 'no such\nkey'"),
        (
            "shape",
            "DataLoader: images of different shapes in a batch; seen sample 4 (1, 2, 3), sample 5 (1, 9, 9); rule: one "
            "shape (C, H, W) for all images of a batch; hint: add Resize((height, width)), or Resize(size) and "
            "CenterCrop(size), to the transform",
        ),
    ],
)
def test_an_error_is_the_same_everywhere_and_comes_in_its_turn(how, text):
    for number, kind in KINDS:
        seen: list[int] = []
        loader = DataLoader(loading_work.Failing(how), 2, num_workers=number, workers=kind)
        with pytest.raises(DataError) as caught:
            seen.extend(label for _, labels in loader for label in labels.numpy())
        assert seen == [0, 1, 2, 3]
        assert str(caught.value) == text
        if how == "raise":  # where it happened in the user's own code is not lost
            cause = caught.value.__cause__
            assert isinstance(cause, KeyError) or "loading_work.py" in "".join(caught.value.__notes__)


@linux
@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("kill", "a worker process was killed; seen signal 9, SIGKILL, at batch 2 (samples 4, 5); hint: where memory"),
        ("exit", "a worker process ended; seen exit status 3, at batch 2 (samples 4, 5); hint: its messages"),
    ],
)
def test_a_worker_that_dies_is_an_error_and_no_hang(how, text):
    before = footprint()
    seen: list[int] = []
    loader = DataLoader(loading_work.Failing(how), 2, num_workers=2, workers="processes")
    with pytest.raises(DataError) as caught:
        seen.extend(label for _, labels in loader for label in labels.numpy())
    assert seen == [0, 1, 2, 3]
    assert str(caught.value).startswith(f"DataLoader: {text}")
    assert footprint() == before


@linux
def test_a_worker_that_is_killed_between_epochs():
    loader = DataLoader(loading_work.Process(4), 1, num_workers=1, workers="processes")
    process = labels_of(loader)[0]
    os.kill(process, signal.SIGKILL)
    with pytest.raises(DataError, match="DataLoader: a worker process was killed; seen signal 9, SIGKILL, at "):
        labels_of(loader)
    assert process not in labels_of(loader)  # by a new one
    loader.close()


def test_what_cannot_be_sent():
    def loader(dataset: object) -> DataLoader:
        return DataLoader(dataset, num_workers=1, workers="processes")

    with pytest.raises(
        DataError, match=r"the data set cannot be sent to worker processes; seen .*lambda.*; rule: the "
    ):
        epoch_of(loader(ArrayDataset(np.zeros((2, 1, 1), np.uint8), [0, 0], ["a"], lambda image: image)))
    with pytest.raises(DataError, match="does not arrive in a worker process; seen RuntimeError: lost on the way;"):
        epoch_of(loader(loading_work.Unloadable(2)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": "fork"}, "DataLoader: unknown workers; seen workers='fork'; rule: one of threads, processes"),
        ({"batch_transform": 3}, "DataLoader: batch_transform is not a transform; seen 3"),
        ({"batch_transform": MixUp}, "DataLoader: batch_transform is not a transform; seen <class"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises(ArgumentError, match=text):
        DataLoader(loading_work.Numbered(2), **options)


# ---- whole programs -------------------------------------------------------------------------------------------------

OWN_CLASS = "class Mine(loading_work.Numbered):\n    pass\n"
LOOP = "print(sum(len(labels) for _, labels in DataLoader({}(6), 2, num_workers=1, workers='processes')))\n"
FOREVER = (
    "for _ in DataLoader(loading_work.Process(10**6), 1, num_workers=2, workers='processes'):\n"
    "    print(*_[1].numpy(), flush=True)\n"
)


def program(folder: Path, *lines: str) -> subprocess.Popen:
    """A script of these lines that was started."""
    script = folder / "script.py"
    script.write_text("import loading_work\nfrom minicnn.data import DataLoader\nprint('begin')\n" + "".join(lines))
    tests = Path(loading_work.__file__).parent
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"},
        start_new_session=True,  # as a terminal does: Ctrl-C goes to the whole group
    )


@pytest.mark.parametrize(
    ("lines", "result"),
    [
        ((LOOP.format("loading_work.Numbered"),), ["begin", "6"]),
        ((OWN_CLASS, "if __name__ == '__main__':\n    ", LOOP.format("Mine")), ["begin", "begin", "6"]),
        ((OWN_CLASS, LOOP.format("Mine")), None),
    ],
)
def test_scripts_without_and_with_a_guard(tmp_path, lines, result):
    output, errors = program(tmp_path, *lines).communicate(timeout=300)
    if result is None:
        assert output == "begin\n"  # the script did not run again
        assert "the data set or its transform is defined in the script itself; seen" in errors.splitlines()[-1]
        assert "put the work of the script under `if __name__ == '__main__':`" in errors.splitlines()[-1]
    else:
        assert output.split() == result
        assert errors == ""


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_by_a_signal_leaves_no_orphans(tmp_path, number):
    with program(tmp_path, FOREVER) as loop:
        assert loop.stdout is not None
        lines = [loop.stdout.readline() for _ in range(5)]
        workers = {int(line) for line in lines[1:]}
        assert len(workers) == 2
        os.killpg(loop.pid, number)
        assert loop.wait(timeout=300) == (-number if number == signal.SIGKILL else loop.returncode)
        deadline = time.monotonic() + 300
        while any(Path(f"/proc/{worker}/exe").exists() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not [worker for worker in workers if Path(f"/proc/{worker}/exe").exists()]
        if number == signal.SIGINT:
            assert loop.stderr is not None
            assert loop.stderr.read().count("Traceback") == 1  # that of the loop; workers say nothing
