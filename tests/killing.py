"""Kills fine-tunings with SIGKILL, at moments of chance and in the middle of writing, and lets them go on.

    python tests/killing.py FOLDER KILLS SEED

One process imports everything and forks one child after the other, which saves their seconds of starting. Each child
runs `minicnn finetune`, with `--resume` once there is a run. Prints JSON: kills, how many of them within a write, runs,
and for each finished run the files that differ from those of a run without interruption (none may).
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

FILES = ("model.h5", "best.h5", "metrics.json", "curves.png", "confusion.png")
TIMES = ("seconds", "compile_seconds", "images_per_second")


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def content(path: Path) -> object:
    return without_times(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()


def differences(one: Path, other: Path) -> list[str]:
    """Files of two finished runs that are not the same, but for their times; and files that only one has."""
    names = {path.name for folder in (one, other) for path in folder.iterdir()} - {"run.toml"}
    return sorted(
        name
        for name in names | set(FILES)
        if not (one / name).is_file() or not (other / name).is_file() or content(one / name) != content(other / name)
    )


def die_in_write(number: int, moment: str) -> None:
    """This process ends by SIGKILL in its write `number`: half way, before the sync, or before or after renaming."""
    from minicnn import files

    left = [number]

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    class Half(io.FileIO):
        def write(self, data):
            left[0] -= 1
            if left[0] == 0 and moment == "half":
                super().write(bytes(data)[: len(data) // 2])
                die()
            return super().write(data)

    def opened(path, mode="r", *rest, **options):
        return Half(path, "w") if mode == "wb" else builtins.open(path, mode, *rest, **options)

    def replaced(source, target):
        if left[0] == 0 and moment == "before":
            die()
        os.rename(source, target)
        if left[0] == 0:
            die()

    files.open = opened  # type: ignore[attr-defined]
    fake = type("os", (), {**{name: getattr(os, name) for name in dir(os)}, "replace": staticmethod(replaced)})
    files.os = fake  # type: ignore[assignment]


def child(words: list[str], log: Path, write: tuple[int, str] | None) -> int:
    """Fork; the child runs the command line."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if write is not None:
            die_in_write(*write)
        from minicnn.cli import main

        try:
            main(words)
        except SystemExit as stop:
            status = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def ended(pid: int, seconds: float) -> int | None:
    """The exit status of a child after at most so many seconds; None if it still runs."""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def main(folder: Path, kills: int, seed: int) -> dict:
    from tiny_network import Tiny

    from minicnn import cli, models
    from minicnn.training import pictures

    for name in ("minicnn.cli.finetune", "minicnn.training.resuming", "sklearn.metrics", "h5py"):
        importlib.import_module(name)
    models.MODELS["tiny"] = Tiny  # for the children
    pictures.curves = pictures.confusion = lambda *rest: b"a picture"  # half of a child's time, and tested elsewhere
    data = [str(folder / "photos"), "--weights", str(folder / "tiny.h5"), "--epochs", "2", "--batch-size", "4"]
    whole, log = folder / "whole", folder / "log.txt"
    begin = ["finetune", *data, "--compare", "--checkpoint-every", "2", "--out"]
    start = time.monotonic()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main([*begin, str(whole)])  # kernels are compiled and loaded now, for all children
    duration = time.monotonic() - start
    chance, killed, in_writes, results, number = random.Random(seed), 0, 0, [], 0
    while killed < kills or not results:
        run = folder / f"run-{number}"
        number += 1
        status = None
        while status != 0:
            resuming = (run / "run.toml").is_file() and (run / "run.toml").stat().st_size
            words = ["finetune", "--resume", str(run)] if resuming else [*begin, str(run)]
            last = killed >= kills
            write = None
            if not last and chance.random() < 0.5:
                write = (chance.randint(1, 20), chance.choice(["half", "before", "after"]))
            start = time.monotonic()
            pid = child(words, log, write)
            status = ended(pid, 300 if last or write else chance.uniform(0, duration))
            if status is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                killed += 1
            elif status == -signal.SIGKILL:
                killed, in_writes = killed + 1, in_writes + 1
            elif status != 0 and (run / "metrics.json").exists() and "the run is finished" in log.read_text():
                status = 0  # killed between its last result and its end
            elif status != 0:
                raise SystemExit(f"exit status {status}\n{log.read_text()}")
            elif not resuming:
                duration = min(duration, time.monotonic() - start)
        results.append(differences(whole, run))
        shutil.rmtree(run)
    return {"kills": killed, "in writes": in_writes, "runs": len(results), "different": results, "seconds": duration}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
