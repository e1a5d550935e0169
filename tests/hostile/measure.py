"""Give every hostile weights file to everything that reads weights, and measure: `python tests/hostile/measure.py`.

Each must be refused by an error of minicnn that says the right reason, in one printable line, within a second of
computing and 100 MB; nothing of the file's choosing may run or be opened, nothing be written. A table by name is
printed, then what was wrong; the exit status is 1 if anything was. All of it happens in this one process.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import downloads
import hdf5_files
import home_files
import npz_files
import numpy as np
import onnx_files
import pickles
import safetensors_files
import tensors
import values
import zips
from making import VALUES, Case, t

from minicnn import models, weights
from minicnn.cli.weights import info
from minicnn.errors import MinicnnError
from minicnn.models.importing import import_weights
from minicnn.weights.importers import read_foreign

FAMILIES = {
    module.__name__: module.family
    for module in (
        pickles,
        tensors,
        zips,
        npz_files,
        safetensors_files,
        onnx_files,
        hdf5_files,
        home_files,
        downloads,
        values,
    )
}
MOST_SECONDS, MOST_BYTES, FEWEST = 1.0, 100_000_000, 40
WATCHED = ("import", "exec", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "marshal.", "shutil.", "tempfile.")
HARMLESS = ("os.listdir", "os.scandir", "os.putenv")


@dataclass
class Row:
    """What one way of reading did with one file."""

    family: str
    case: Case
    way: str
    error: BaseException | None = None
    found: Any = None
    seconds: float = 0.0
    bytes: int = 0
    events: list[str] = field(default_factory=list)

    def faults(self) -> Iterator[str]:
        """What is wrong."""
        case, message = self.case, str(self.error)
        if self.error is not None and not isinstance(self.error, MinicnnError):
            yield f"{type(self.error).__name__}: {message[:200]}"
        elif self.error is not None:
            if not message.isprintable() or len(message) > 1_000:
                yield f"not a printable line: {message[:300]!r}"
            if self.way in case.refused_by and not any(part in message for part in case.reason.split("|")):
                yield f"another reason: {message[:300]}"
        if self.error is None and self.way in case.refused_by:
            yield "accepted"
        if case.values is not None and self.way == "read_foreign":
            yield from _differences(case.values, {} if self.found is None else self.found.arrays)
        if self.seconds > MOST_SECONDS:
            yield f"{self.seconds:.2f} seconds"
        if self.bytes > MOST_BYTES:
            yield f"{self.bytes:,} bytes"
        if self.events:
            yield f"something ran or was opened: {', '.join(self.events[:6])}"


def _differences(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> Iterator[str]:
    if list(found) != list(expected):
        yield f"names {list(found)[:4]}, not {list(expected)[:4]}"
        return
    for name, array in expected.items():
        if found[name].dtype != array.dtype or not np.array_equal(found[name], array):
            yield f"{name} has other values"


WAYS: dict[str, Callable[[Path, Path], Any]] = {
    "read_foreign": lambda path, out: read_foreign(path),
    "import_weights": lambda path, out: import_weights(path, out, "resnet18"),
    "info": lambda path, out: info(str(path), False),
    "read": lambda path, out: weights.read(path),
    "load": lambda path, out: models.resnet18(weights=path),
}


class Watch:
    """What happens while a file is read: events of Python's own audit, and openings that only the system sees."""

    def __init__(self, elsewhere: Path) -> None:
        self.events: list[str] = []
        self.allowed: tuple[str, ...] | None = None
        sys.addaudithook(self._hook)
        self.descriptor = -1
        with contextlib.suppress(OSError, AttributeError):  # Linux has inotify
            libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor = libc.inotify_init1(os.O_NONBLOCK)
            libc.inotify_add_watch(self.descriptor, os.fsencode(elsewhere), 0xFFF)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open":
            path = arguments[0]
            if isinstance(path, (str, bytes, os.PathLike)) and not os.fsdecode(path).startswith(self.allowed):
                self.events.append(f"open {os.fsdecode(path)}")
        elif event.startswith(WATCHED) and event not in HARMLESS:
            on_its_own = event.startswith("os.") and str(arguments[0]).startswith(self.allowed)
            if not on_its_own:
                self.events.append(f"{event} {str(arguments[:1])[:80]}")

    @contextlib.contextmanager
    def over(self, *paths: Path) -> Iterator[None]:
        """Watch this block, in which files at these paths may be opened."""
        self.events, self.allowed = [], tuple(map(str, paths))
        try:
            yield
        finally:
            self.allowed = None
            with contextlib.suppress(OSError):
                if self.descriptor >= 0 and os.read(self.descriptor, 4096):
                    self.events.append("a file elsewhere was opened")


class TooLongError(BaseException):
    """A file took too long by far."""


def _too_long(*_: Any) -> None:
    raise TooLongError


def _memory() -> tuple[int, int]:
    """Bytes that the process has now, and the most since the last call (ever, where the system has no /proc)."""
    try:
        text = Path("/proc/self/status").read_text()
        now, most = (int(text.partition(f"{word}:")[2].split()[0]) * 1024 for word in ("VmRSS", "VmHWM"))
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        now = most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return now, most


def measured(family: str, case: Case, way: str, path: Path, out: Path, watch: Watch) -> Row:
    """Give one file to one way of reading."""
    row = Row(family, case, way)
    _memory()
    before, _ = _memory()
    signal.setitimer(signal.ITIMER_PROF, 20)
    start = time.process_time()
    try:
        with watch.over(path, out.parent), contextlib.redirect_stdout(io.StringIO()):
            row.found = WAYS[way](path, out)
    except (Exception, TooLongError) as error:
        row.error = error
    finally:
        row.seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
    row.bytes = _memory()[1] - before
    row.events = watch.events
    if row.error is not None and (list(out.parent.iterdir()) or Path("executed").exists()):
        row.events.append("something was written")
    for left in out.parent.iterdir():
        left.unlink()
    return row


def all_rows(folder: Path) -> Iterator[Row]:
    """Every case in every way of its family."""
    here, elsewhere, outside = folder / "cases", folder / "elsewhere", folder / "out"
    for path in (here, elsewhere, outside):
        path.mkdir()
    (elsewhere / "weights.bin").write_bytes(VALUES.tobytes())
    (elsewhere / "weights.h5").write_bytes(hdf5_files.made(hdf5_files.sound))
    os.chdir(here)
    _warm_up(here / "sound", outside / "out.h5")
    watch = Watch(elsewhere)
    for name, family in FAMILIES.items():
        for case in family.cases:
            path = here / f"{case.name}{case.suffix}"
            if case.make.__code__.co_argcount:
                case.make(path)
            else:
                path.write_bytes(case.make())
            for way in ("read", "load", "info") if name == "home_files" else ("read_foreign", "import_weights", "info"):
                yield measured(name, case, way, path, outside / "out.h5", watch)
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _warm_up(path: Path, out: Path) -> None:
    """Import what is imported when it is used, by reading sound files in all ways, and files that are refused."""
    state = values.state()
    sound = [t.as_zip(state), t.as_stream(state), t.as_tar(state), values.npz(state), home_files.sound(whole=True)]
    sound += [
        hdf5_files.made(hdf5_files.sound),
        onnx_files.model(onnx_files.tensor()),
        hdf5_files.a_configuration_with_code(),
    ]
    for content in [*sound, b"nothing"]:
        path.write_bytes(content)
        for way in WAYS.values():
            with contextlib.suppress(MinicnnError), contextlib.redirect_stdout(io.StringIO()):
                way(path, out)
    path.unlink()
    out.unlink()


def main() -> int:
    """Print the table; returns the exit status."""
    signal.signal(signal.SIGPROF, _too_long)
    with contextlib.suppress(ValueError, OSError):  # so that a file which asks for all memory gets an error
        resource.setrlimit(resource.RLIMIT_DATA, (8 * 2**30, 8 * 2**30))
    faults: list[str] = []
    names = set()
    with tempfile.TemporaryDirectory() as folder:
        for row in all_rows(Path(folder).resolve()):
            message = "" if row.error is None else str(row.error).rpartition(str(Path(folder).resolve()))[2]
            print(
                f"{row.family:<18}{row.case.name:<58}{row.way:<15}{row.seconds:6.3f} s {row.bytes / 1e6:6.1f} MB  "
                f"{'read' if row.error is None else message[:90]!r}"
            )
            names.add((row.family, row.case.name))
            faults += [f"{row.family}, {row.case.name}, {row.way}: {fault}" for fault in row.faults()]
        os.chdir("/")
    print(f"\n{len(names)} files, {len(faults)} faults", *faults, sep="\n")
    return int(bool(faults) or len(names) < FEWEST)


if __name__ == "__main__":
    sys.exit(main())
