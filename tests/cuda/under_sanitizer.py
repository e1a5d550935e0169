"""Runs kernels on the emulated GPU in a process that a sanitizer of g++ watches (`test_sanitizers.py` starts it).

::

    python under_sanitizer.py thread cases relu:cuda conv2d:cuda_tiled  # all cases of these algorithms, in float32
    python under_sanitizer.py address files one.cu two.cu               # kernel `f(float *y, float *x)`, 2 blocks of 64

With the environment variable PLANT, a JSON list [file, old, new], one text in one `.cu` file is replaced: a bug.
A sanitizer that finds something prints it and ends the process; the last line before it names the case. Files are run
in a process each, which prints into `one.cu.log` and notes its exit status there.
"""

from __future__ import annotations

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

MOST_THREADS = (2600, 7500)  # of a launch that ThreadSanitizer watches; more only for kernels without smaller launches


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


class Watch:
    """Watches the first launch of each kernel; ThreadSanitizer takes a millisecond for each thread of a GPU."""

    def __init__(self, sanitizer: str) -> None:
        self.sanitizer = sanitizer
        self.most_threads = 0
        self.launches: Counter[Any] = Counter()  # that were watched, by kernel
        self._real = stand_in.RawKernel.__call__
        stand_in.RawKernel.__call__ = lambda kernel, *arguments, **options: self.launch(kernel, *arguments, **options)

    def launch(self, kernel: stand_in.RawKernel, grid: Any, block: Any, *arguments: Any, **options: Any) -> None:
        key = kernel._name, kernel._module._code, kernel._module._options
        few = self.launches[key] < 1 and math.prod(grid) * math.prod(block) <= self.most_threads
        watched = few or self.sanitizer != "thread"
        self.launches[key] += watched
        token = stand_in.sanitizer.set(self.sanitizer if watched else "")
        try:
            self._real(kernel, grid, block, *arguments, **options)
        finally:
            stand_in.sanitizer.reset(token)

    def never(self) -> set[str]:
        """Kernels that no watched launch ran."""
        return {name for (name, *_), count in self.launches.items() if not count}


def run_cases(sanitizer: str, algorithms: list[str]) -> None:
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    import gpu_cases

    watch = Watch(sanitizer)
    for watch.most_threads in MOST_THREADS:
        for operation, algorithm in (entry.split(":") for entry in algorithms):
            for case in reversed(gpu_cases.cases(operation)):  # the larger ones first, which have several blocks
                print(f"{operation} {algorithm}: {case.label}", flush=True)
                try:
                    with emulated():
                        case.run(algorithm, np.float32)
                except AlgorithmError as error:
                    if "does not support this problem" not in str(error):
                        raise
        if not watch.never():
            return
    sys.exit(f"too many threads in every launch of {', '.join(sorted(watch.never()))}")


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
