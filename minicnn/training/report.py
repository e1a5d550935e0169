"""The folder of a run: what was set, what came out, and pictures of it. Every file in it is whole at any moment.

| file | what is in it |
|---|---|
| `run.toml` | all settings, the seed, the data, the weights, versions |
| `metrics.json` | all results: for each way its metrics, confusion matrix and learning curves |
| `curves.png`, `confusion.png` | the same as pictures |
| `model.h5` | the trained network, after the last epoch (`minicnn.weights`) |
| `best.h5` | the same after the epoch that did best on the validation images |
| `checkpoints/` | while it runs: whole states, from which `minicnn finetune --resume` goes on (`way_files.py`) |

`metrics.json` is written last: a run that has it is finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import minicnn
from minicnn.errors import ArgumentError
from minicnn.files import cannot_write, remove_leftovers, write_atomically
from minicnn.training import pictures, toml
from minicnn.training.history import History
from minicnn.training.metrics import Metrics

RUNS = "runs"  # folder of the folders, where none is named
FILES = ("run.toml", "metrics.json", "curves.png", "confusion.png", "model.h5", "best.h5")


class RunFolder:
    """A new folder for the files of one run.

    Parameters
    ----------
    path : path, optional
        A folder that does not exist or is empty. Without, the next free one of `runs/NAME-1`, `runs/NAME-2`, ...
    name : str
        What the run is about.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, name: str = "run") -> None:
        self._is_new = True
        self._lock: int | None = None
        try:
            self.path = next_free(name) if path is None else self._at(Path(path).expanduser())
        except OSError as error:
            raise cannot_write(path if path is not None else RUNS, error) from None
        try:
            write_atomically(self.path / "run.toml", "")  # a folder that takes no files is found before the training
            self.lock()
        except BaseException:
            self.discard()
            raise

    def _at(self, path: Path) -> Path:
        self._is_new = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        if any(entry.name != "run.toml" or entry.stat().st_size for entry in path.iterdir()):  # killed at its birth
            raise ArgumentError(
                "the folder is not empty",
                called=str(path),
                seen=", ".join(sorted(entry.name for entry in path.iterdir())[:4]),
                rule="a run has its own",
                hint="choose another name, or remove the folder",
            )
        return path

    @classmethod
    def reopen(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The folder of a run that is to go on."""
        folder = cls.__new__(cls)
        folder.path, folder._is_new, folder._lock = Path(path).expanduser(), False, None
        called, hint = os.fspath(path), "give the folder of a run that was interrupted"
        if not folder.path.is_dir():
            raise ArgumentError("there is no such run", called=called, rule="a folder with run.toml", hint=hint)
        if not (folder.path / "run.toml").is_file():
            raise ArgumentError("not a run", called=called, rule="a folder with run.toml", hint=hint)
        folder.lock()
        remove_leftovers(folder.path)
        return folder

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / "metrics.json").exists()

    def lock(self) -> None:
        """Raise if another process is at work here. The system takes the lock away when the process ends, as it may."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise ArgumentError(
                "another process is at work in this folder", called=str(self.path), hint="wait for it, or end it"
            ) from None
        except OSError:  # a file system without locks
            self.unlock()

    def unlock(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove the files again, and the folder if it was not there before: for a run that came to nothing."""
        self.unlock()
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)
        if self._is_new:
            with contextlib.suppress(OSError):  # someone has put a file of his own into it
                self.path.rmdir()

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write `run.toml`: the given tables, and versions and platform."""
        write_atomically(self.path / "run.toml", toml.dumps({**settings, **environment()}))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write `metrics.json`."""
        write_atomically(self.path / "metrics.json", json.dumps(metrics, indent=1, allow_nan=False) + "\n")

    def write_pictures(self, histories: Mapping[str, History], metrics: Metrics, title: str, way: str) -> None:
        """Draw `curves.png` of all ways, and `confusion.png` of the one called `way`."""
        write_atomically(self.path / "curves.png", pictures.curves(histories, title))
        write_atomically(self.path / "confusion.png", pictures.confusion(metrics, f"{title}: {way}"))


def environment() -> dict[str, dict[str, Any]]:
    """Versions and platform, without names of hosts or users."""
    packages = ("numpy", "numba", "h5py", "scikit-learn", "pillow", "matplotlib")
    return {
        "versions": {
            "minicnn": minicnn.__version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in packages},
        },
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_implementation(),
            "cores": os.cpu_count(),
            "threads": _threads(),
        },
    }


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path for a report: from the working folder, or from home as `~`, so that no user is named."""
    full = Path(os.path.abspath(os.path.expanduser(path)))
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~")):
        if full.is_relative_to(base):
            return (Path(prefix) / full.relative_to(base)).as_posix()
    return full.as_posix()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _threads() -> int:
    import numba

    return numba.get_num_threads()


def next_free(name: str) -> Path:
    """Make the first of `runs/NAME-1`, `runs/NAME-2`, ... that does not exist."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    number = 1
    while True:
        path = Path(RUNS) / f"{name}-{number}"
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not path.exists():  # then it is `runs` that is in the way, and no number helps
                raise
        number += 1
