"""The command line as a process: light help, signals, pipes, the compiling of kernels."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("numba", "sklearn", "matplotlib", "h5py", "PIL", "scipy", "tqdm")


def test_help_is_light():
    code = f"""
import sys
from minicnn.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    print([name for name in {HEAVY!r} if name in sys.modules], stop.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "minicnn", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("minicnn ")


def test_ctrl_c_is_one_line_and_status_130(photos, narrow, tmp_path):
    words = ["finetune", photos, "--weights", narrow, "--epochs", 100_000, "--out", tmp_path / "run"]
    command = [sys.executable, "-m", "minicnn", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # as a terminal starts it: the background jobs of a shell ignore Ctrl-C, and so do their children
    with subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes) as process:
        try:
            assert process.stderr is not None
            process.stderr.readline()  # it has begun
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    # Python ends by the signal itself if it came while generated code was being defined: a shell says 130 of both
    assert process.returncode in (130, -signal.SIGINT), err
    assert err.splitlines()[-1] == "minicnn: interrupted"
    if (tmp_path / "run").exists():  # it came to its first step
        assert f"to go on: minicnn finetune --resume {tmp_path / 'run'}" in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away(unbuffered):
    command = f"{sys.executable} -m minicnn algorithms | true"
    words, env = ["bash", "-o", "pipefail", "-c", command], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written(unbuffered):
    words, env = [sys.executable, "-m", "minicnn", "algorithms"], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=env)
    assert (done.returncode, done.stderr) == (2, "minicnn: error: No space left on device\n")


def test_compiling_is_announced_and_timed(tmp_path):
    words = [sys.executable, "-m", "minicnn", "gradcheck", "--operation", "tanh", "--json"]
    env = {**os.environ, "MINICNN_CACHE": str(tmp_path)}
    first = subprocess.run(words, capture_output=True, text=True, env=env, check=True)
    assert [row["ok"] for row in json.loads(first.stdout)] == [True, True]
    before, after = first.stderr.splitlines()
    assert before == "compiling kernels for this machine; later runs find them compiled ..."
    assert re.fullmatch(r"compiled \d+ kernels? in \d+\.\d s", after)
    again = subprocess.run(words, capture_output=True, text=True, env=env, check=True)
    assert again.stderr == ""
    assert again.stdout == first.stdout


def test_doctor_says_that_compiled_kernels_are_not_kept(tmp_path):
    env = {**os.environ, "MINICNN_CACHE": os.devnull, "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "minicnn", "doctor", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=True)
    kernels = json.loads(done.stdout)["kernels"]
    assert kernels["cache is kept"] is False
    assert kernels["cache"].startswith(str(tmp_path))
