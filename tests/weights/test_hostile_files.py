"""The hostile weights files of `tests/hostile/`, by name, and a short run of its random ones; each in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from minicnn.errors import WeightsError
from minicnn.weights.importers import hdf5_tree, read_foreign, zip_container

HOSTILE = Path(__file__).resolve().parents[1] / "hostile"


@pytest.mark.parametrize("program", [["measure.py"], ["fuzz.py", "--mutations", "100"]], ids=lambda words: words[0])
def test_hostile_weights_files(program):
    """`python tests/hostile/measure.py` prints the table; a longer run is `fuzz.py --mutations 5000`."""
    command = [sys.executable, "-W", "error", str(HOSTILE / program[0]), *program[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1_800)
    assert done.returncode == 0, done.stdout.rpartition("\n\n")[2] + done.stderr[-3_000:]


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["w"] = np.zeros(10_000)


@pytest.mark.parametrize(
    ("write", "module", "name", "reason"),
    [
        (hdf5, hdf5_tree, "_walk", "the file changed while it was read"),
        (lambda path: np.savez(path, w=np.zeros(10_000)), zip_container, "check_sizes", "do not match their CRC-32"),
    ],
    ids=["hdf5", "npz"],
)
def test_a_file_that_shrinks_after_it_was_checked(write, module, name, reason, tmp_path, monkeypatch):
    path = tmp_path / "file.npz"
    write(path)
    check = getattr(module, name)

    def check_and_shrink(*arguments):
        check(*arguments)
        os.truncate(path, 5_000)

    monkeypatch.setattr(module, name, check_and_shrink)
    with pytest.raises(WeightsError, match=reason):
        read_foreign(path)
