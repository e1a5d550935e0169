"""Parallel kernels in several Python threads and in forked processes, under each of Numba's threading layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest

from minicnn.backends import threads
from minicnn.backends.jit import cache_folder, kernel

LAYERS = ("omp", "workqueue", "tbb")
PROGRAM = Path(__file__).parent / "thread_work.py"
can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@kernel
def double(x, y):
    for i in numba.prange(x.size):
        y[i] = 2 * x[i]


def run(layer: str, first: str) -> subprocess.CompletedProcess:
    settings = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAM), first]  # of fork, from Python 3.12 on
    return subprocess.run(
        words, env={**os.environ, **settings}, capture_output=True, text=True, timeout=600, check=False
    )


@can_fork
@pytest.mark.parametrize("first", ["call", "threads", "processes"])
@pytest.mark.parametrize("layer", LAYERS)
def test_threads_and_forked_processes(layer, first):
    done = run(layer, first)
    if layer != "workqueue" and "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"Numba has no layer {layer} here")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["layer"] == layer
    assert {"parent", "threads", "processes"} <= set(result["found"])
    assert len({digest for digests in result["found"].values() for digest in digests}) == 1, result["found"]


@pytest.fixture
def fresh(monkeypatch):
    """The state of a process that has called no kernel yet."""
    monkeypatch.setattr(threads, "_ready", False)
    monkeypatch.setattr(threads, "_forked", False)


def test_a_thread_safe_layer_needs_no_lock(fresh, monkeypatch):
    monkeypatch.setattr(threads, "started", lambda: "omp")
    x, y = np.arange(5.0), np.zeros(5)
    double(x, y)
    assert threads._ready
    assert np.array_equal(y, 2 * x)


def test_another_layer_runs_one_call_at_a_time(fresh, monkeypatch):
    monkeypatch.setattr(threads, "started", lambda: "workqueue")
    inside, most = [], []

    def slow() -> None:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()

    slow.py_func = slow
    call = threads.parallel(slow, lambda: slow)
    workers = [threading.Thread(target=lambda: [call() for _ in range(5)]) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1] * 15
    assert not threads._ready


def test_after_a_fork_a_kernel_runs_without_threads(fresh, monkeypatch):
    x, y = np.arange(7.0), np.zeros(7)
    double(x, y)
    monkeypatch.setattr(threads, "_forked", True)
    monkeypatch.setattr(threads, "_ready", False)
    z = np.zeros(7)
    double(x, z)
    assert np.array_equal(y, z)
    assert double.alone() is double.alone()
    assert not double.alone().targetoptions["parallel"]
    assert double.alone().signatures
    assert double.alone()._cache.cache_path.startswith(str(cache_folder() / "alone"))
    assert not double.dispatcher._cache.cache_path.startswith(str(cache_folder() / "alone"))


def test_a_kernel_keeps_its_name_and_its_source():
    assert double.__name__ == "double"
    assert double.py_func.__code__.co_varnames[:2] == ("x", "y")
    assert double.dispatcher.targetoptions["parallel"]


def test_an_error_lets_the_lock_go(fresh, monkeypatch):
    monkeypatch.setattr(threads, "started", lambda: "workqueue")
    for _ in range(2):
        with pytest.raises(TypeError):
            double(np.zeros(3))
    done = threading.Thread(target=double, args=(np.zeros(3), np.zeros(3)), daemon=True)
    done.start()
    done.join(60)
    assert not done.is_alive()
