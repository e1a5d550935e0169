"""What pretraining is worth: the main job over several seeds.

    python benchmarks/transfer.py            # a few minutes; prints a table, writes benchmarks/results/ and the
                                             # README's table

For each seed: another choice of 20 digits a class to train on, other initial values, another order. Each seed goes the
three ways of `minicnn finetune`; the table gives mean and standard deviation of the accuracy on the digits that were
not trained on.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numba
import numpy as np

import minicnn
from minicnn.files import write_atomically
from minicnn.training.finetune import Settings, finetune

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "transfer.json"
READMES = ROOT / "README.md", ROOT / "README.zh.md"
MARKERS = "<!-- transfer: made by benchmarks/transfer.py -->", "<!-- end -->"


def measure(seeds: int, epochs: int | None, pictures: Path | None) -> dict[str, Any]:
    """Run the main job once a seed; keep the pictures of the first."""
    ways: dict[str, dict[str, list[float]]] = {}
    settings: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            result = finetune(Settings(seed=seed, out=run, **settings), announce=None)
            if seed == 0 and pictures is not None:
                for name in ("curves.png", "confusion.png"):
                    write_atomically(pictures / name, (run / name).read_bytes())
        for row in result.rows:
            way = ways.setdefault(row.way, {"accuracy": [], "macro_f1": [], "seconds": []})
            for name, values in way.items():
                values.append(getattr(row, name))
        print(f"seed {seed}: " + ", ".join(f"{row.way} {row.accuracy:.4f}" for row in result.rows), flush=True)
    return {
        "date": date.today().isoformat(),
        "versions": versions(),
        "train_images": result.train_images,
        "test_images": result.validation_images,
        "epochs": Settings(**settings).epochs,
        "seeds": seeds,
        "ways": ways,
    }


def versions() -> dict[str, str]:
    """Of what has a part in the numbers."""
    return {
        "minicnn": minicnn.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
    }


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = [
        f"{result['train_images']} digits to train on, {result['test_images']} to test, {result['epochs']} epochs; "
        f"mean and standard deviation over {result['seeds']} seeds",
        "",
        "| | accuracy | macro F1 | seconds |",
        "|---|---|---|---|",
    ]
    for name, way in result["ways"].items():
        mean, deviation = statistics.mean(way["accuracy"]), statistics.stdev(way["accuracy"])
        f1, seconds = statistics.mean(way["macro_f1"]), statistics.median(way["seconds"])
        lines.append(f"| {name} | {mean:.1%} ± {deviation:.1%} | {f1:.3f} | {seconds:.1f} |")
    return "\n".join(lines)


def into(page: Path, text: str, markers: tuple[str, str] = MARKERS) -> None:
    """Put `text` between the markers of a page."""
    start, end = markers
    before, rest = page.read_text().split(start)
    after = rest.split(end, 1)[1]
    write_atomically(page, f"{before}{start}\n{text}\n{end}{after}")


def into_readmes(text: str, markers: tuple[str, str] = MARKERS) -> None:
    """Put `text` between the markers of the README, in both its languages."""
    for page in READMES:
        into(page, text, markers)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    args = parser.parse_args()
    RESULT.parent.mkdir(exist_ok=True)
    result = measure(args.seeds, args.epochs, None if args.dry_run else RESULT.parent)
    print(table(result))
    if not args.dry_run:
        write_atomically(RESULT, json.dumps(result, indent=2) + "\n")
        into_readmes(table(result))


if __name__ == "__main__":
    main()
