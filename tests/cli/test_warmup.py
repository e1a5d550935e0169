"""`minicnn warmup`: compiles once, then finds everything compiled; a training after it compiles nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from minicnn.cli import warmup

# the same work in small, in a process of its own, whose cache is empty
SMALL = """
from minicnn.cli import main, warmup
warmup.NETWORKS = (("cnn", {"num_classes": 3, "image_size": 8}, 8, 3),)
main(["warmup"] + %r)
"""


def process(folder, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", SMALL % list(words)],
        env={**os.environ, "MINICNN_CACHE": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_the_second_run_finds_all_kernels(tmp_path):
    first = process(tmp_path)
    form = r"compiled (\d+) kernels in (\d+\.\d) s; (\d+\.\d) s in all; cache: (.*)\n"
    many, compiling, seconds, folder = re.fullmatch(form, first.stdout).groups()
    assert int(many) > 10
    assert 0 < float(compiling) <= float(seconds)
    assert folder.startswith(str(tmp_path))
    assert first.stderr == ""
    again = process(tmp_path)
    assert re.fullmatch(r"all kernels were cached; \d+\.\d s in all; cache: .*\n", again.stdout)
    found = json.loads(process(tmp_path, "--json").stdout)
    assert found["kernels"] == found["compiling"] == 0
    assert found["cache"] == folder
    assert found["seconds"] > 0


def test_each_network_is_trained_and_run(monkeypatch, run):
    done = []
    monkeypatch.setattr(warmup, "_train", lambda model, images: done.append((type(model).__name__, images.shape)))
    monkeypatch.setattr(warmup, "_run", lambda model, batches: done.append([images.shape for images in batches]))
    code, out, err = run("warmup")
    assert (code, err) == (0, "")
    assert "all kernels were cached" in out
    assert done == [
        ("CNN", (32, 3, 32, 32)),
        [(1, 3, 32, 32), (32, 3, 32, 32)],
        ("ResNet", (32, 3, 32, 32)),
        [(1, 3, 32, 32), (32, 3, 32, 32)],
        ("ResNet", (20, 3, 32, 32)),
        [(1, 3, 32, 32), (20, 3, 32, 32)],
        ("ResNet", (8, 3, 224, 224)),
        [(1, 3, 224, 224), (8, 3, 224, 224)],
    ]
