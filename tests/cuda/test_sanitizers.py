"""Races, and indices out of their arrays: every kernel of every operation under the sanitizers of g++.

On a GPU such a bug may show once in a thousand runs, or never in the tests. ThreadSanitizer needs no luck: it knows
what barriers order, within a block and between blocks. AddressSanitizer and UndefinedBehaviorSanitizer know each
array's bounds and each vector's alignment. Bugs that are planted show that they would be found.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gpu_cases
import pytest

from minicnn.study.emulator.build import sanitizer_library

SCRIPT = Path(__file__).with_name("under_sanitizer.py")
OPTIONS = {
    "TSAN_OPTIONS": "halt_on_error=1 exitcode=66",
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:exitcode=66",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "OPENBLAS_NUM_THREADS": "1",  # no threads but those of the kernels
    "NUMBA_NUM_THREADS": "1",
    "PYTHONMALLOC": "malloc",
}
ALGORITHMS = [f"{operation}:{algorithm}" for operation, algorithm in gpu_cases.algorithms()]
LARGE = [entry for entry in ALGORITHMS if entry.startswith("conv2d")]
SMALL = [entry for entry in ALGORITHMS if entry not in LARGE]
GROUPS = [[entry] for entry in LARGE] + [SMALL[i::4] for i in range(4)]


def start(sanitizer, *arguments, plant=None):
    """(exit status, what was printed) of the script under the sanitizer."""
    environment = {**os.environ, **OPTIONS, "LD_PRELOAD": sanitizer_library(sanitizer)}
    if plant:
        environment["PLANT"] = json.dumps(plant)
    command = [sys.executable, str(SCRIPT), sanitizer, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
@pytest.mark.parametrize("group", [g for g in GROUPS if g], ids=lambda group: f"{group[0]} and {len(group) - 1} more")
def test_every_kernel(sanitizer, group):
    status, printed = start(sanitizer, "cases", *group)
    assert status == 0, printed[-6000:]
    assert "done" in printed.splitlines()


# ---- planted bugs ---------------------------------------------------------------------------------------------------

RIGHT = """
#line 1 "planted.cu"
extern "C" __global__ void f(float *y, float *x) {
  __shared__ float s[64];
  __shared__ __align__(16) float t[64];
  const int i = threadIdx.x;
  s[i] = x[i];
  __syncthreads();
  t[i] = s[63 - i];
  __syncwarp();
  const float last = t[i ^ 1];
  atomicAdd(&y[i], last);
  if (i < 16) {
    const float4 v = *(const float4 *)(x + 4 * i);
    atomicAdd(&y[i], v.x);
  }
  __syncthreads();  // s is free
  copy_async_4(&s[i], x + i, true);
  copy_commit();
  copy_wait<0>();
  __syncthreads();  // s is there
  atomicAdd(&y[i], s[i ^ 5]);
}
"""
WRITE, LINE_WRITE = "s[i] = x[i];", "heap-buffer-overflow .*planted.cu:5"
PLANTED = {  # (sanitizer, what is replaced, by what, what must be found)
    "no bug": ("thread", WRITE, WRITE, ""),
    "no wrong address": ("address", WRITE, WRITE, ""),
    "a missing __syncthreads": ("thread", "__syncthreads();\n  t", "t", r"data race .*planted\.cu:6"),
    "a missing __syncwarp": ("thread", "  __syncwarp();\n", "", r"data race .*planted\.cu:[78]"),
    "a buffer filled too early": ("thread", "__syncthreads();  // s is free", "", r"data race"),
    "no barrier after a copy": ("thread", "__syncthreads();  // s is there", "", r"data race .*planted\.cu:20"),
    "a barrier of a warp for one of the block": ("thread", "__syncthreads", "__syncwarp", r"data race .*planted\.cu:7"),
    "a missing atomic": ("thread", "atomicAdd(&y[i], last)", "y[i] += last", r"data race .*planted\.cu:10"),
    "past a global array": ("address", WRITE, "s[i] = x[i + 1];", LINE_WRITE),
    "before a global array": ("address", WRITE, "s[i] = x[i - 1];", LINE_WRITE),
    "past a shared array": ("address", "s[63 - i]", "s[64 - i]", r"planted\.cu:7:\d+: .*index 64 out of bounds"),
    "past it, by a pointer": ("address", "s[63 - i]", "*(s + 64 - i)", r"heap-buffer-overflow .*planted\.cu:7"),
    "a misaligned float4": ("address", "(x + 4 * i)", "(x + 4 * i - (i > 3))", r"planted\.cu:12:.*misaligned"),
    "a shift by too much": ("address", "last = t", "last = (1 << i + 1) + t", r"planted\.cu:9:.*shift exponent 32"),
}


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_planted_bugs_are_found(sanitizer, tmp_path):
    paths = {}
    for i, (name, (kind, old, new, _)) in enumerate(PLANTED.items()):
        if kind == sanitizer:
            assert old in RIGHT, name
            paths[name] = tmp_path / f"{i}.cu"
            paths[name].write_text(RIGHT.replace(old, new, 1))
    status, printed = start(sanitizer, "files", *paths.values())
    assert (status, printed) == (0, "done\n")
    for name, path in paths.items():
        log, message = Path(f"{path}.log").read_text(), PLANTED[name][-1]
        if message:
            assert re.search(message, log, re.DOTALL), f"{name}: {log}"
            assert "exit status 0" not in log, name
        else:
            assert "ERROR" not in log, f"{name}: {log}"
            assert log.endswith("\nexit status 0\n"), f"{name}: {log}"


REAL = {
    "the first barrier of the tiled convolution": ("thread", "conv2d:cuda_tiled", "tiled.cu", "__syncthreads();", ""),
    "the edge of ReLU": ("address", "relu:cuda", "relu.cu", "i < count", "i <= count"),
}


@pytest.mark.parametrize("name", list(REAL))
def test_bugs_planted_into_real_kernels_are_found(name):
    sanitizer, algorithm, *plant = REAL[name]
    status, printed = start(sanitizer, "cases", algorithm, plant=plant)
    assert status == 66, printed[-4000:]
    assert plant[0] in printed
