"""Settings for all tests, made before Numba is loaded."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import zlib

import numpy as np
import pytest
from hypothesis import settings

# Threads of OpenMP that wait for work sleep. By default they spin for a while, and where the cores are busy with other
# tests (`pytest -n 2`), thousands of small kernels become ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The same examples at each run, and no limit of time for one that compiles.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")

# A job in the background ignores Ctrl-C, and so would its children; tests that press it want a shell's foreground.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> int:
    """Of a test's random cases: always the same for one test, and what the generators of the test begin with.

    `MINICNN_TEST_SEED=random` draws new ones, `MINICNN_TEST_SEED=12345` repeats one; pytest shows it when a test fails.
    """
    wanted = os.environ.get("MINICNN_TEST_SEED", "")
    if wanted == "random":
        value = secrets.randbits(32)
    else:
        value = int(wanted) if wanted else zlib.crc32(request.node.nodeid.encode())
    print(f"seed {value}")
    for package in ("minicnn.backends.random", "torch"):
        if package in sys.modules:
            sys.modules[package].manual_seed(value)
    return value


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A generator of a test's own, from the test's seed."""
    return np.random.default_rng(seed)
