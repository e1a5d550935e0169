"""The same bits with one thread and with two, in each run, in each process, under each threading layer.

Under Numba's default layer a race can pass unseen, so the layers are forced, two threads are seen to run, and a race
that is planted among the work must be found.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import determinism_work as work
import numba
import numpy as np
import pytest

from minicnn.ops.registry import OPERATIONS

LAYERS = ("workqueue", "omp")
WORK = dict(work.operations())
two_threads = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")


@functools.cache
def one_thread() -> dict[str, str]:
    """Digests of all work in this process, on one thread."""
    with work.threads(1):
        return work.everything()


@functools.cache
def process(layer: str) -> dict:
    """What the program prints under a threading layer with two threads; nothing if Numba lacks that layer here."""
    settings = {
        "NUMBA_THREADING_LAYER": layer,
        "NUMBA_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", work.__file__],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if "No threading layer could be loaded" in done.stderr:
        return {}
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=LAYERS)
def other_process(request):
    found = process(request.param)
    if not found and request.param != "workqueue":  # which every Numba has
        pytest.skip(f"Numba has no layer {request.param} here")
    assert found["layer"] == request.param
    return found


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    assert set(one) == set(other)
    return [name for name in one if one[name] != other[name]]


def test_every_operation_algorithm_and_pass_is_at_work():
    with work.passes_that_run() as seen:
        for run in WORK.values():
            assert all(a.size and np.isfinite(a).all() for a in run())
    wanted = {
        (op.name, name, pass_name) for op in OPERATIONS.values() for name in op.algorithms for pass_name in op.passes
    }
    assert wanted == seen
    assert "training step" in one_thread()


@two_threads
@pytest.mark.parametrize("name", WORK)
def test_an_operation_on_two_threads(name):
    for _ in range(2):
        with work.threads(2):
            assert work.digest(WORK[name]()) == one_thread()[name]


@two_threads
def test_a_training_step_on_two_threads_and_again():
    for count in (2, 1, 2):
        with work.threads(count):
            assert work.digest(work.training_step()) == one_thread()["training step"]


def test_two_threads_really_run(other_process):
    assert other_process["1 threads"]["running"] == 1
    assert other_process["2 threads"]["running"] == 2


@pytest.mark.parametrize("count", ["1 threads", "2 threads"])
def test_another_process_and_layer(other_process, count):
    digests = dict(other_process[count]["digests"])
    del digests["planted race"]
    assert differing(digests, one_thread()) == []


def test_a_planted_race_is_found(other_process):
    one, two = (other_process[count]["digests"] for count in ("1 threads", "2 threads"))
    assert differing(one, two) == ["planted race"]
    with work.threads(1):
        assert work.digest(work.planted_race()) == one["planted race"]


def test_a_digest_sees_one_bit_and_the_form():
    a = np.ones((2, 3), np.float32)
    b = a.copy()
    b[1, 2] = np.nextafter(b[1, 2], np.float32(2))
    forms = [[a], [b], [a.astype(np.float64)], [a.reshape(3, 2)], [a, a], [-0.0 * a], [0.0 * a]]
    assert len({work.digest(form) for form in forms}) == len(forms)
