"""The fine-tunings of a cross-validation, one a fold: in this process, or several at a time in processes of their own.

A process is a fresh interpreter, `python -m minicnn.training.fold_processes`, that reads one line of JSON: settings,
fold, folder. What it announces goes to stderr, an error comes back as a line on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from minicnn.errors import MinicnnError
from minicnn.training.finetune import finetune
from minicnn.training.resuming import resume
from minicnn.training.settings import Settings

Announce = Callable[[str], Any]
THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE = 60.0  # seconds that a process has to write its checkpoint when the others end


def run_all(settings: Settings, folds: int, out: Path, processes: int, announce: Announce | None) -> None:
    """Bring every fold to its end that is not there yet; each is a run in `out/fold-N`."""
    left = [number for number in range(1, folds + 1) if not _is_finished(out / f"fold-{number}")]
    if announce is not None and len(left) < folds:
        announce(f"{folds - len(left)} of {folds} folds are finished already")
    if processes == 1:
        for number in left:
            run_one(settings, number, folds, out, announce)
    else:
        _in_processes(settings, left, folds, out, processes, announce)


def run_one(settings: Settings, number: int, folds: int, out: Path, announce: Announce | None) -> None:
    """Train one fold, or go on with it."""

    def say(line: str) -> None:
        if announce is not None and not line.startswith("to go on: "):  # it goes on as a part of the whole
            announce(f"fold {number}: {line}")

    folder = out / f"fold-{number}"
    tell = None if announce is None else say
    begun = folder / "run.toml"
    if begun.is_file() and begun.stat().st_size:
        resume(folder, data=settings.data, weights=settings.weights, announce=tell)
    else:
        finetune(replace(settings, fold=f"{number}/{folds}", out=folder), announce=tell)


def _is_finished(folder: Path) -> bool:
    return (folder / "metrics.json").exists()


def _in_processes(
    settings: Settings, left: list[int], folds: int, out: Path, processes: int, announce: Announce | None
) -> None:
    import numba

    threads = str(max(1, numba.get_num_threads() // processes))
    running: dict[int, subprocess.Popen[str]] = {}
    waiting = list(left)
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number = waiting.pop(0)
                running[number] = _start(settings, number, folds, out, threads, announce is None)
            ended = next((number for number, process in running.items() if process.poll() is not None), None)
            if ended is None:
                time.sleep(0.05)
                continue
            process = running.pop(ended)
            assert process.stdout is not None
            said = process.stdout.read()
            process.stdout.close()
            if process.returncode:
                status = f"exit status {process.returncode}"
                raise MinicnnError(said.strip() or "its process ended", called=f"fold {ended}", seen=status)
    finally:
        for process in running.values():  # each writes its checkpoint
            process.send_signal(signal.SIGINT)
        for process in running.values():
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _start(
    settings: Settings, number: int, folds: int, out: Path, threads: str, is_quiet: bool
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "minicnn.training.fold_processes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if is_quiet else None,
        text=True,
        env={**os.environ, **dict.fromkeys(THREADS, threads), "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        process_group=0,  # Ctrl-C in the terminal is for this process, which tells the others
    )
    asked = {key: os.fspath(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()}
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps([asked, number, folds, os.fspath(out)]))
        process.stdin.close()
    except BrokenPipeError:  # it has ended; its exit status is seen then
        pass
    return process


def main() -> None:
    """What a process does."""
    asked, number, folds, out = json.loads(sys.stdin.read())

    def announce(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        run_one(Settings(**asked), number, folds, Path(out), announce)
    except KeyboardInterrupt:
        sys.exit(130)
    except (MinicnnError, OSError, MemoryError) as error:
        print(" ".join(str(error).split()))
        sys.exit(2)


if __name__ == "__main__":
    main()
