"""Settings for all tests, made before Numba is loaded."""

from __future__ import annotations

import os
import signal

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
