"""Compiling kernels with Numba: one decorator, one cache that never serves stale code, one compile clock.

Numba's own on-disk cache looks only at the file that holds the kernel: after an edit in a file that the kernel
*calls*, it serves the old machine code. `kernel` therefore keeps all kernels in a folder named by a hash of every
Python file of `minicnn/backends` and `minicnn/ops` but those for the GPU: any edit there means a new folder.

Flags: `contract` lets the compiler fuse a product and a sum (one rounding less). Nothing that assumes the absence of
NaN or infinity, or that reorders sums, is allowed: NaN must travel, and the order of a sum must not depend on the
machine.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from minicnn.backends import clocks, threads

FASTMATH = {"contract"}
_settings = threading.RLock()  # Numba's, which are changed for a moment
KEEP_DAYS = 30  # cache folders of other versions are removed when unused for so long


def kernel(function: Callable[..., Any] | None = None, *, parallel: bool = True) -> Any:
    """Compile a function of arrays and numbers on its first call, and keep the machine code on disk.

    Parameters
    ----------
    function : callable
        Loops over arrays. `numba.prange` marks the loop whose steps run on several threads.
    parallel : bool
        False for helpers that are called inside another kernel. A parallel kernel is called from Python only, by any
        thread and in forked processes too (`threads`).
    """
    if function is None:
        return functools.partial(kernel, parallel=parallel)
    if not parallel:
        return _compiled(function, cache_folder())
    # Numba's cache does not look at `parallel`: the two kinds of code need two folders
    alone = functools.cache(lambda: _compiled(function, cache_folder() / "alone"))
    return threads.parallel(_compiled(function, cache_folder(), parallel=True), alone)


def _compiled(function: Callable[..., Any], folder: Path, parallel: bool = False) -> Any:
    config: Any = numba.config  # its settings are made at run time, unseen by type checkers
    with _settings:
        before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
        try:
            made: Any = numba.njit(
                function, parallel=parallel, cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH
            )
        finally:
            config.CACHE_DIR = before
    made.compile = _uninterrupted(made.compile)
    return made


def _uninterrupted(compile_: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(compile_)
    def whole(*arguments: Any) -> Any:
        with interrupts_wait():
            return compile_(*arguments)

    return whole


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait until the end of this block.

    LLVM hands over a finished kernel by calling a Python function, which no exception can leave: an interrupt there
    would be lost, and the kernel with it.
    """
    act: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(act):  # nothing would be interrupted
        yield
        return
    came: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *details: came.append(details))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, act)
        if came:
            act(*came[0])


@functools.cache
def cache_folder() -> Path:
    """Folder of the compiled kernels of exactly these sources; a temporary one where home is read-only."""
    root = os.environ.get("MINICNN_CACHE")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minicnn"
    folder = base / "kernels" / _source_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        os.utime(folder)
        _remove_old(folder)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="minicnn-kernels-"))
    return folder


def _source_hash() -> str:
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in ("backends", "ops"):
        for path in sorted((package / folder).rglob("*.py")):
            if path.name.startswith("cuda"):  # no kernel of the CPU calls what runs on the GPU
                continue
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _remove_old(current: Path) -> None:
    oldest = time.time() - KEEP_DAYS * 86400
    for folder in current.parent.iterdir():
        if folder != current and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


class CompileClock(event.Listener):
    """Counts the seconds spent compiling, by Numba and for the GPU, and calls `announce` at the start of each kernel.

    Examples
    --------
    >>> with CompileClock() as clock:
    ...     pass
    >>> clock.seconds
    0.0
    """

    def __init__(self, announce: Callable[[str], None] | None = None) -> None:
        self.seconds = 0.0
        self.kernels: list[str] = []
        self._announce = announce
        self._depth = 0
        self._start = 0.0

    def on_start(self, event: Any) -> None:
        """Note the time, and the name of the kernel."""
        self._depth += 1
        if self._depth == 1:  # a kernel compiles its helpers inside its own compilation
            self._start = time.perf_counter()
            name = event.data["dispatcher"].py_func
            self.kernels.append(f"{name.__module__.removeprefix('minicnn.ops.')}.{name.__name__}")
            if self._announce:
                self._announce(self.kernels[-1])

    def on_end(self, event: Any) -> None:
        """Add up the time."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._start

    def add(self, name: str, seconds: float) -> None:
        """Count a kernel for the GPU, which was compiled in so many seconds."""
        if self._depth == 0:
            self.seconds += seconds
            self.kernels.append(name)
            if self._announce:
                self._announce(name)

    def __enter__(self) -> CompileClock:
        event.register("numba:compile", self)
        clocks.RUNNING.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        event.unregister("numba:compile", self)
        clocks.RUNNING.remove(self)
