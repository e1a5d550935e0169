"""What the weights for photographs bring: ants against bees, with few and with all images, for few and for more epochs.

    python benchmarks/transfer_photographs.py ../shared/data/hymenoptera_160      # about half an hour on two cores

The folder has `train/` and `val/` with a sub-folder a class (the data of PyTorch's tutorial on transfer learning). Each
cell goes the three ways of `minicnn finetune --compare`: from scratch, a linear probe on frozen features, fine-tuned;
five seeds, of which each chooses the images, the initial values and the order. The images of `val/` are looked at
after the last epoch; nothing was chosen by them but the ways' learning rates, the same in all cells.
"""

from __future__ import annotations

import argparse
import json
import statistics
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transfer import into_readmes, versions
from without_files import finetune

from minicnn.files import write_atomically
from minicnn.training.finetune import Settings

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "transfer_photographs.json"
MARKERS = "<!-- photographs: made by benchmarks/transfer_photographs.py -->", "<!-- end of photographs -->"
WEIGHTS = "resnet18-tinyimagenet-64"
SIZES, EPOCHS, AMOUNTS = (64, 160), (4, 12), (10, 30, None)
BATCH = 16


def measure(folder: Path, seeds: int, weights: str, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """All cells: accuracies and macro F1 of each way, a list over the seeds."""
    cells = []
    runs = [(size, epochs, amount) for size in sizes for epochs in EPOCHS for amount in AMOUNTS]
    bar = tqdm(total=len(runs) * seeds, disable=None, leave=False)
    for size, epochs, amount in runs:
        ways: dict[str, dict[str, list[float]]] = {}
        for seed in range(seeds):
            settings = {"data": folder, "weights": weights, "input_size": size, "epochs": epochs, "per_class": amount}
            result = finetune(Settings(**settings, batch_size=BATCH, seed=seed, compare=True))
            for outcome in result.outcomes:
                way = ways.setdefault(outcome.way.name, {"accuracy": [], "macro_f1": []})
                way["accuracy"].append(outcome.evaluation.metrics.accuracy)
                way["macro_f1"].append(outcome.evaluation.metrics.macro_f1)
            bar.update()
        cells.append({"size": size, "epochs": epochs, "per_class": amount, "images": result.train_images, "ways": ways})
        print(line(cells[-1]), flush=True)
    bar.close()
    return {
        "date": date.today().isoformat(),
        "versions": versions(),
        "weights": weights,
        "test_images": result.validation_images,
        "batch_size": BATCH,
        "seeds": seeds,
        "cells": cells,
    }


def line(cell: dict[str, Any]) -> str:
    """A row of the table; the best way is bold."""
    texts, means = [], []
    for way in cell["ways"].values():
        means.append(statistics.mean(way["accuracy"]))
        deviation = statistics.stdev(way["accuracy"]) if len(way["accuracy"]) > 1 else 0.0
        texts.append(f"{means[-1]:.1%} ± {deviation:.1%}")
    best = max(means)
    texts = [f"**{text}**" if mean == best else text for text, mean in zip(texts, means, strict=True)]
    amount = cell["per_class"] or f"all ({cell['images']})"
    return f"| {cell['size']} | {amount} | {cell['epochs']} | {' | '.join(texts)} |"


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    ways = " | ".join(result["cells"][0]["ways"])
    return "\n".join(
        [
            f"Ants against bees, {result['test_images']} photographs to test on; accuracy, mean and standard deviation "
            f"over {result['seeds']} seeds",
            "",
            f"| pixels | images a class | epochs | {ways} |",
            "|---|---|---|---|---|---|",
            *map(line, result["cells"]),
        ]
    )


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--weights", default=WEIGHTS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    args = parser.parse_args()
    result = measure(args.folder, args.seeds, args.weights, tuple(args.sizes))
    print(table(result))
    if not args.dry_run:
        write_atomically(RESULT, json.dumps(result, indent=1) + "\n")
        into_readmes(table(result), MARKERS)


if __name__ == "__main__":
    main()
