"""What each way of fine-tuning brings: ants against bees, five seeds.

    python benchmarks/finetuning_well.py ../shared/data/hymenoptera_160     # weights for photographs; some ten minutes
    python benchmarks/finetuning_well.py FOLDER --weights FILE --seeds 2 --epochs 2 --per-class 10 --dry-run

Each row adds one setting of `minicnn finetune` to the plain one (all layers at once, at one rate, from a new head), and
the last row has all of them. A seed chooses the images, the initial values of the head and the order; all rows have the
same seeds, so that they can be compared pair by pair: the last columns say in how many seeds a row was better than the
plain one, and by how much. The images of `val/` are looked at after the last epoch only, and no setting was chosen by
them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from datetime import date
from pathlib import Path
from typing import Any

import numba
import numpy as np
from tqdm import tqdm
from transfer import into
from without_files import finetune

import minicnn
from minicnn.files import write_atomically
from minicnn.training.finetune import Settings

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "finetuning_well.json"
PAGE = ROOT / "tutorials" / "documents" / "README.md"
MARKERS = "<!-- fine-tuning well: made by benchmarks/finetuning_well.py -->", "<!-- end of fine-tuning well -->"
WEIGHTS = "resnet18-tinyimagenet-64"
BATCH = 16
PLAIN = "plain"
ONE: dict[str, Any] = {"head_first": False, "rates_by_depth": 1, "freeze_bn": "none"}
RECIPES: dict[str, dict[str, Any]] = {
    PLAIN: ONE,
    "head first": {**ONE, "head_first": True},
    "rates by depth 0.3": {**ONE, "rates_by_depth": 0.3},
    "unfreezing gradually": {**ONE, "unfreeze": "gradually"},
    "statistics of batch norm frozen": {**ONE, "freeze_bn": "statistics"},
    "batch norm frozen": {**ONE, "freeze_bn": "all"},
    "the default: head first, 0.3, statistics frozen": {},
    "all of these": {"head_first": True, "rates_by_depth": 0.3, "unfreeze": "gradually", "freeze_bn": "all"},
    "only the head": {"freeze": "backbone"},
}


def measure(
    folder: Path, seeds: int, weights: str, epochs: int, per_class: int | None, size: int | None
) -> dict[str, Any]:
    """Accuracies and macro F1 of each recipe, a list over the seeds."""
    rows: dict[str, dict[str, list[float]]] = {}
    bar = tqdm(total=len(RECIPES) * seeds, disable=None, leave=False)
    for name, recipe in RECIPES.items():
        row: dict[str, list[float]] = {"accuracy": [], "macro_f1": []}
        for seed in range(seeds):
            result = finetune(
                Settings(
                    data=folder,
                    weights=weights,
                    epochs=epochs,
                    per_class=per_class,
                    input_size=size,
                    batch_size=BATCH,
                    seed=seed,
                    **recipe,
                )
            )
            outcome = result.outcomes[-1]
            row["accuracy"].append(outcome.evaluation.metrics.accuracy)
            row["macro_f1"].append(outcome.evaluation.metrics.macro_f1)
            bar.update()
        rows[name] = row
        print(line(name, row, rows[PLAIN]), flush=True)
    bar.close()
    return {
        "date": date.today().isoformat(),
        "versions": {
            "minicnn": minicnn.__version__,
            "numpy": np.__version__,
            "numba": numba.__version__,
            "python": platform.python_version(),
        },
        "weights": Path(weights).stem,
        "train_images": result.train_images,
        "test_images": result.validation_images,
        "classes": result.classes,
        "epochs": epochs,
        "batch_size": BATCH,
        "input_size": size,
        "seeds": seeds,
        "rows": rows,
    }


def line(name: str, row: dict[str, list[float]], plain: dict[str, list[float]]) -> str:
    """A row of the table."""
    accuracy = row["accuracy"]
    deviation = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
    gains = [a - b for a, b in zip(accuracy, plain["accuracy"], strict=True)]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    against = "" if name == PLAIN else f"{100 * statistics.mean(gains):+.1f} points; better {better}, worse {worse}"
    f1 = statistics.mean(row["macro_f1"])
    return f"| {name} | {statistics.mean(accuracy):.1%} ± {deviation:.1%} | {f1:.3f} | {against} |"


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    return "\n".join(
        [
            f"{' against '.join(result['classes'])}, {result['train_images']} photographs to train on, "
            f"{result['test_images']} to test on, from `{result['weights']}`, {result['epochs']} epochs; mean and "
            f"standard deviation over {result['seeds']} seeds",
            "",
            "| | accuracy | macro F1 | against plain, seed by seed |",
            "|---|---|---|---|",
            *(line(name, row, result["rows"][PLAIN]) for name, row in result["rows"].items()),
        ]
    )


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--weights", default=WEIGHTS)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--per-class", type=int, help="images of each class to train on; all without")
    parser.add_argument("--size", type=int, help="height and width of the images; those of the weights without")
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    args = parser.parse_args()
    result = measure(args.folder, args.seeds, args.weights, args.epochs, args.per_class, args.size)
    print(table(result))
    if not args.dry_run:
        write_atomically(RESULT, json.dumps(result, indent=1) + "\n")
        into(PAGE, table(result), MARKERS)


if __name__ == "__main__":
    main()
