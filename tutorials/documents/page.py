"""Runs the systems of the documents, and writes what came of them into the page beside this file.

    python tutorials/documents/page.py               # runs all that are there; some minutes
    python tutorials/documents/page.py S3 S4         # only these; the others keep their results
    python tutorials/documents/page.py --no-run      # writes the page from results.json

Each command runs in an empty folder, with warnings as errors. Its result is the line that the row names, else the last
one it prints; its picture is the one that it draws there, or that a second command draws.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.files import write_atomically

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE, RESULTS, PICTURES = HERE / "README.md", HERE / "results.json", HERE / "pictures"
MARKERS = "<!-- systems: made by page.py -->", "<!-- end of systems -->"
LIMIT = 1200  # seconds


@dataclass(frozen=True)
class System:
    """A row of the page: what it is, and the command that shows it.

    `command` is a program of this folder, or words after `minicnn`; `result` finds the line to show; `drawing` is what
    to write after `minicnn` for the picture, where the command itself draws none.
    """

    name: str
    what: str
    command: str
    result: str = ""
    drawing: str = ""

    @property
    def program(self) -> Path | None:
        """The program, for a command that is one."""
        return HERE / self.command if self.command.endswith(".py") else None

    @property
    def shown(self) -> str:
        """What to type in the repository's root."""
        return f"python tutorials/documents/{self.command}" if self.program else f"minicnn {self.command}"

    @property
    def key(self) -> str:
        """Its name among the results; a system may have several rows."""
        return f"{self.name} {self.command}"


SYSTEMS = (
    System("S1", "ResNet-18, pretrained, with a new head", "resnet18_transfer.py", "^accuracy"),
    System("S2", "VGG-16, its classifier replaced", "vgg16_transfer.py", "^accuracy"),
    System("S3", "compile, fit, predict", "sequential_keras_style.py", "^accuracy"),
    System("S4", "a CNN on 32 x 32 images, SGD", "cnn.py", "^accuracy"),
    System("S5", "a recurrent network", "recurrent.py", "accuracy"),
    System("S6", "a variational autoencoder", "autoencoder.py", "^clothes, convolutions"),
    System("S7", "features of a frozen network", "feature_extraction.py", "^accuracy"),
    System("S8", "AlexNet", "summary alexnet", "parameters,", "graph alexnet --out alexnet.svg"),
    System("S8", "VGG-11", "summary vgg11", "parameters,", "graph vgg11 --out vgg11.svg"),
    System("S8", "VGG-16", "summary vgg16", "parameters,", "graph vgg16 --out vgg16.svg"),
    System("S8", "ResNet-50", "summary resnet50", "parameters,", "graph resnet50 --out resnet50.svg"),
    System("S8", "Inception-v3", "summary inception_v3", "parameters,", "graph inception_v3 --out inception_v3.svg"),
    System("S9", "optimizers on a valley", "optimizers.py", "^loss above"),
    System("S10", "against overfitting", "overfitting.py", "^accuracy on others"),
    System("S10", "cross-validation", "crossval --folds 5 --freeze backbone --per-class 20", "^mean|^deviation"),
    System("S11", "how good it is, and where it fails", "judging.py", "accuracy"),
    System("S12", "cleaning, fusion, normalisation", "preparation.py", "after cleaning"),
    System("S12", "what is in a folder of images", "data check ../shared/data/hymenoptera_160", "^mean"),
)


def run(system: System) -> dict[str, Any]:
    """Run one; raises if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        program = [str(system.program)] if system.program else minicnn(system.command)
        lines = [line.strip() for line in output(program, folder, system.key).splitlines() if line.strip()]
        seconds = time.perf_counter() - start
        if system.drawing:
            output(minicnn(system.drawing), folder, system.key)
        found = [line for line in lines if system.result and re.search(system.result, line)] or lines[-1:]
        drawn = [sorted(Path(folder).glob(kind)) for kind in ("*.png", "*.svg", "**/*.png")]
        picture = next((paths[0] for paths in drawn if paths), None)
        name = f"{system.name}-{re.sub('[^a-z0-9]+', '-', Path(system.command).stem.lower()).strip('-')}"
        if picture is not None:
            PICTURES.mkdir(exist_ok=True)
            write_atomically(PICTURES / f"{name}{picture.suffix}", picture.read_bytes())
    text = "; ".join(re.sub(r" {2,}", " ", line) for line in (found if "|" in system.result else found[-1:]))
    return {
        "result": text,
        "seconds": round(seconds, 1),
        "picture": f"{name}{picture.suffix}" if picture is not None else None,
    }


def minicnn(command: str) -> list[str]:
    """What to run for words after `minicnn`."""
    words = shlex.split(command)
    return ["-m", "minicnn", *(str(ROOT / word) if word.startswith("../shared") else word for word in words)]


def output(words: list[str], folder: str, key: str) -> str:
    """What a Python program prints that runs in a folder."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-W", "error", *words]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise SystemExit(f"{key}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def table(results: dict[str, Any]) -> str:
    """The rows of the page."""
    lines = ["| | system | command | result | picture | status |", "|---|---|---|---|---|---|"]
    for system in SYSTEMS:
        found = results.get(system.key)
        status = "not run yet" if not found else "runs in CI" if system.program else "works"
        result = found["result"].replace("|", "\\|") if found else ""
        picture = f"[picture](pictures/{found['picture']})" if found and found["picture"] else ""
        lines.append(f"| {system.name} | {system.what} | `{system.shown}` | {result} | {picture} | {status} |")
    return "\n".join(lines)


def main() -> None:
    """Run, note, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", help="S1, S2, ...; all without")
    parser.add_argument("--no-run", action="store_true", help="write the page from the results that are there")
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for system in () if args.no_run else SYSTEMS:
        is_there = system.program is None or system.program.exists()
        is_asked = not args.systems or system.name in args.systems or system.command in args.systems
        if is_there and is_asked:
            results[system.key] = run(system)
            print(f"{system.key}: {results[system.key]['result']}", flush=True)
            write_atomically(RESULTS, json.dumps(results, indent=1) + "\n")
    start, end = MARKERS
    before, rest = PAGE.read_text().split(start)
    write_atomically(PAGE, f"{before}{start}\n{table(results)}\n{end}{rest.split(end, 1)[1]}")


if __name__ == "__main__":
    main()
