"""The cache of compiled kernels: where it lies, when it is new, who may share it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minicnn
from minicnn.backends import jit

PACKAGE = Path(minicnn.__file__).parent

# a small package like minicnn: a kernel that calls a helper in another file
PROGRAM = """
import numpy as np
from minicnn.backends.jit import CompileClock, cache_folder
from minicnn.ops import caller
with CompileClock() as clock:
    y = np.zeros(4)
    caller.twice(np.arange(4.0), y)
print(y.sum(), len(clock.kernels), cache_folder())
"""
HELPER = "from minicnn.backends.jit import kernel\n@kernel(parallel=False)\ndef helper(x):\n    return {factor} * x\n"
CALLER = """
import numba
from minicnn.backends.jit import kernel
from minicnn.ops.helper import helper
@kernel
def twice(x, y):
    for i in numba.prange(x.size):
        y[i] = helper(x[i])
"""


@pytest.fixture
def small(tmp_path):
    """A copy of what compiles kernels, and two files of kernels; call it to run them with an environment."""
    root = tmp_path / "code" / "minicnn"
    (root / "ops").mkdir(parents=True)
    (root / "backends").mkdir()
    for name in ("__init__.py", "ops/__init__.py", "backends/__init__.py"):
        (root / name).touch()
    for name in ("jit.py", "clocks.py", "threads.py"):
        shutil.copy(PACKAGE / "backends" / name, root / "backends")
    (root / "ops" / "helper.py").write_text(HELPER.format(factor=2))
    (root / "ops" / "caller.py").write_text(CALLER)

    def run(**settings: str) -> tuple[float, int, Path]:
        env = {k: v for k, v in os.environ.items() if k not in ("MINICNN_CACHE", "XDG_CACHE_HOME")}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM],
            env={**env, "PYTHONPATH": str(root.parent), **settings},
            cwd=root.parent,  # which comes first where Python looks for packages
            capture_output=True,
            text=True,
            check=True,
        )
        total, kernels, folder = done.stdout.split()
        return float(total), int(kernels), Path(folder)

    run.root = root
    return run


def test_an_edit_in_a_called_file_changes_the_folder(small, tmp_path):
    cache = str(tmp_path / "cache")
    total, kernels, folder = small(MINICNN_CACHE=cache)
    assert (total, kernels > 0) == (12, True)
    assert folder.parent == tmp_path / "cache" / "kernels"
    assert small(MINICNN_CACHE=cache) == (12, 0, folder)
    helper = small.root / "ops" / "helper.py"
    helper.write_text(HELPER.format(factor=3))
    total, kernels, other = small(MINICNN_CACHE=cache)
    assert (total, kernels > 0) == (18, True)
    assert other != folder
    helper.write_text(HELPER.format(factor=2))
    assert small(MINICNN_CACHE=cache) == (12, 0, folder)


def test_the_cache_lies_in_home_unless_said_otherwise(small, tmp_path):
    assert small(HOME=str(tmp_path / "home"))[2].parent == tmp_path / "home" / ".cache" / "minicnn" / "kernels"
    settings = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "other")}
    assert small(**settings)[2].parent == tmp_path / "other" / "minicnn" / "kernels"


def test_a_home_that_cannot_be_written_falls_back(small, tmp_path):
    """A file lies where the folder should be; each process then has a temporary folder of its own."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    (home / ".cache").write_text("no folder")
    settings = {"HOME": str(home), "TMPDIR": str(temporary)}
    total, kernels, folder = small(**settings)
    assert (total, kernels > 0, folder.parent) == (12, True, temporary)
    assert small(**settings)[2] != folder


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home_falls_back(small, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        total, _, folder = small(HOME=str(home), TMPDIR=str(tmp_path))
        assert (total, folder.parent) == (12, tmp_path)
    finally:
        home.chmod(stat.S_IRWXU)


def test_two_copies_of_the_package_share_a_home(small, tmp_path):
    """Other sources, another folder: neither serves nor removes what the other keeps."""
    home = {"HOME": str(tmp_path / "home")}
    first = small(**home)
    (small.root / "ops" / "helper.py").write_text(HELPER.format(factor=5))
    second = small(**home)
    assert (first[0], second[0]) == (12, 30)
    assert first[2].parent == second[2].parent
    assert small(**home) == (30, 0, second[2])
    assert list(first[2].rglob("*.nbi"))


def test_folders_of_long_ago_are_removed(tmp_path):
    current, old, recent = (tmp_path / name for name in ("current", "old", "recent"))
    for folder, days in ((current, 99), (old, jit.KEEP_DAYS + 1), (recent, jit.KEEP_DAYS - 1)):
        folder.mkdir()
        (folder / "kernel.nbi").touch()
        then = time.time() - days * 86400
        os.utime(folder, (then, then))
    jit._remove_old(current)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "recent"]


@pytest.fixture
def interruptible():
    """Ctrl-C as a terminal's process has it: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_the_compiler(tmp_path, monkeypatch):
    """Raised inside the compiler's callbacks it would be lost, and leave a kernel half made."""
    monkeypatch.setattr(jit, "cache_folder", lambda: tmp_path)  # where an earlier run has left nothing
    made = jit.kernel(_twice, parallel=False)
    with pytest.raises(KeyboardInterrupt), jit.CompileClock(lambda _: signal.raise_signal(signal.SIGINT)):
        made(3)
    assert len(made.signatures) == 1
    assert made(3) == 6


def _twice(number):
    return 2 * number


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_elsewhere_is_left_alone():
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def nested():
        with jit.interrupts_wait():
            with jit.interrupts_wait():
                signal.raise_signal(signal.SIGINT)
            steps.append("outer block")
        steps.append("after it")

    with pytest.raises(KeyboardInterrupt):
        nested()
    assert steps == ["outer block"]
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with jit.interrupts_wait():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_importing_the_package_loads_no_compiler():
    code = "import sys, minicnn; print([name for name in ('numba', 'llvmlite', 'h5py') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
