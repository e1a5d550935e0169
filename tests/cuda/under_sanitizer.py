"""Runs kernels on the emulated GPU in a process that a sanitizer of g++ watches (`test_sanitizers.py` starts it).

::

    python under_sanitizer.py thread cases relu:cuda conv2d:cuda_tiled  # all cases of these algorithms, in float32
    python under_sanitizer.py address files one.cu two.cu               # kernel `f(float *y, float *x)`, 2 blocks of 64

With the environment variable PLANT, a JSON list [file, old, new], one text in one `.cu` file is replaced: a bug.
A sanitizer that finds something prints it and ends the process; the last line before it names the case. Files are run
in a process each, which prints into `one.cu.log` and notes its exit status there.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends import cuda_kernels
from minicnn.errors import AlgorithmError
from minicnn.study.emulator import emulated, stand_in
from minicnn.study.emulator.build import Module

LAUNCHES = {"thread": 2, "address": 10**9}  # of each kernel with the same macros
MOST_THREADS = 2600  # of a launch that ThreadSanitizer watches


def plant(file: str, old: str, new: str) -> None:
    """Replace the first such text of that file whenever it is read."""
    real = cuda_kernels._lines

    def lines(path: Path, seen: set[Path]) -> list[str]:
        found = real(path, seen)
        if path.name != file:
            return found
        text = "".join(found)
        assert old in text, f"{file} does not hold {old!r}"
        return [text.replace(old, new, 1)]

    cuda_kernels._lines = lines


def watch_some_launches(sanitizer: str) -> None:
    """Watch the first launches of each kernel; ThreadSanitizer takes a millisecond for each thread of a GPU."""
    real, launches = stand_in.RawKernel.__call__, Counter()

    def launch(self: stand_in.RawKernel, grid: Any, block: Any, *arguments: Any, **options: Any) -> None:
        key = self._name, self._module._code, self._module._options
        threads = math.prod(grid) * math.prod(block)
        watch = launches[key] < LAUNCHES[sanitizer] and (sanitizer != "thread" or threads <= MOST_THREADS)
        launches[key] += watch
        token = stand_in.sanitizer.set(sanitizer if watch else "")
        try:
            real(self, grid, block, *arguments, **options)
        finally:
            stand_in.sanitizer.reset(token)
        if not watch and not launches[key]:
            never.add(self._name)
        elif watch:
            never.discard(self._name)

    never: set[str] = set()
    stand_in.RawKernel.__call__ = launch
    atexit.register(lambda: never and print(f"too many threads in every launch of {', '.join(sorted(never))}"))


def run_cases(sanitizer: str, algorithms: list[str]) -> None:
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    import gpu_cases

    watch_some_launches(sanitizer)
    for entry in algorithms:
        operation, algorithm = entry.split(":")
        for case in reversed(gpu_cases.cases(operation)):  # the larger ones first, which have several blocks
            print(f"{operation} {algorithm}: {case.label}", flush=True)
            try:
                with emulated():
                    case.run(algorithm, np.float32)
            except AlgorithmError as error:
                if "does not support this problem" not in str(error):
                    raise


def run_files(sanitizer: str, paths: list[str]) -> None:
    for path in paths:
        child = os.fork()
        if not child:
            with open(f"{path}.log", "w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            y, x = np.zeros(64, np.float32), np.arange(64, dtype=np.float32)
            Module(Path(path).read_text(), sanitize=sanitizer).function("f")((2,), (64,), [y, x])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        with open(f"{path}.log", "a") as log:
            log.write(f"\nexit status {os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    if "PLANT" in os.environ:
        plant(*json.loads(os.environ["PLANT"]))
    run = {"cases": run_cases, "files": run_files}[sys.argv[2]]
    run(sys.argv[1], sys.argv[3:])
    print("done")
