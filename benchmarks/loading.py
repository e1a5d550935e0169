"""Does loading keep up with training? Images a second of `DataLoader`, next to a training step of ResNet-18.

    python benchmarks/loading.py             # two minutes; prints a table, writes benchmarks/results/loading.json
    python benchmarks/loading.py --seconds 0.5 --sizes 64 --dry-run

Photographs of short side 160, cut from the two of scikit-learn, are read from a folder of JPEG files, or from one HDF5
file with JPEG bytes of short side 64: decoded, a random part scaled (RandomResizedCrop), mirrored, normalised. For
each size: the loader alone, with 0 to 2 workers of both kinds; the training step alone, on one batch in memory; and the
same training fed by the loader, which also shows what workers take from training on the same cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, HDF5Images, ImageFolder, write_image_set
from minicnn.data.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor
from minicnn.files import write_atomically
from minicnn.models import resnet18
from minicnn.study.machine import describe

RESULT = Path(__file__).resolve().parent / "results" / "loading.json"
PHOTOGRAPHS, SHORT, LONG, SMALL = 256, 160, 213, 64
BATCH = {64: 32, 128: 16, 224: 8}
ROUNDS = 3
WORKERS = ((0, "threads"), (1, "threads"), (2, "threads"), (1, "processes"), (2, "processes"))
IMAGENET = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def make_photographs(folder: Path) -> None:
    """Random parts of two photographs (640 x 427), one class each, as JPEG files."""
    rng = np.random.default_rng(0)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(PHOTOGRAPHS // 2):
            top, left = (
                rng.integers(0, length - part) for length, part in zip(pixels.shape, (SHORT, LONG), strict=False)
            )
            part = Image.fromarray(pixels[top : top + SHORT, left : left + LONG])
            part.save(folder / name / f"{number:03}.jpg", quality=90)


def augment(size: int) -> Compose:
    """The transform of a training."""
    return Compose([RandomResizedCrop(size), RandomHorizontalFlip(), ToTensor(), IMAGENET])


def rate(batches: Iterator[tuple[Any, Any]], use: Callable[[Any, Any], Any], seconds: float) -> float:
    """Images a second, the best of a few rounds; what comes first (compiling, batches read ahead) does not count."""
    rates = []
    for images, labels in itertools.islice(batches, 5 if use is nothing else 2):
        use(images, labels)
    for _ in range(ROUNDS):
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() < start + seconds / ROUNDS:
            images, labels = next(batches)
            use(images, labels)
            count += len(images)
        rates.append(count / (time.perf_counter() - start))
    return max(rates)


def nothing(images: Any, labels: Any) -> None:
    """A loop that only loads."""


def endless(loader: DataLoader) -> Iterator[tuple[Any, Any]]:
    """Epoch after epoch."""
    while True:
        yield from loader


def training_step() -> Callable[[Any, Any], float]:
    """A step of ResNet-18 at full width, SGD with momentum."""
    minicnn.manual_seed(0)
    model = resnet18(num_classes=2)
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(images: Any, labels: Any) -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measure(source: str, dataset: Any, size: int, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    dataset.transform = augment(size)
    row: dict[str, Any] = {"source": source, "size": size, "batch": BATCH[size], "alone": {}, "fed": {}}
    step = training_step()
    in_memory = next(iter(DataLoader(dataset, BATCH[size], shuffle=True, seed=0)))
    row["step"] = rate(itertools.repeat(in_memory), step, seconds)
    for number, kind in WORKERS:
        name = f"{number} {kind}" if number else "0"
        loader = DataLoader(
            dataset, BATCH[size], shuffle=True, seed=0, drop_last=True, num_workers=number, workers=kind
        )
        for part, use in (("alone", nothing), ("fed", step)):
            with closing(endless(loader)) as batches:
                row[part][name] = rate(batches, use, seconds)
        print(
            f"{source}, {size} x {size}, {name:11} workers: loader alone {row['alone'][name]:6.0f} images/s, "
            f"training fed by it {row['fed'][name]:6.1f}, training alone {row['step']:6.1f}",
            flush=True,
        )
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    names = [f"{number} {kind}" if number else "0" for number, kind in WORKERS]
    lines = [
        "images a second | " + " | ".join(f"loader, {name}" for name in names) + " | step alone | best fed |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in rows:
        best = max(row["fed"], key=row["fed"].get)
        rates = " | ".join(f"{row['alone'][name]:,.0f}" for name in names)
        lines.append(
            f"{row['source']}, {row['size']} x {row['size']} | {rates} | {row['step']:,.0f} | "
            f"{row['fed'][best]:,.0f} ({row['fed'][best] / row['step']:.0%}; {best}) |"
        )
    return "\n".join("| " + line if not line.startswith("|") else line for line in lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(BATCH), choices=list(BATCH))
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_photographs(Path(folder) / "photographs")
        photographs = ImageFolder(Path(folder) / "photographs")
        write_image_set(Path(folder) / "small.h5", photographs, size=SMALL, progress=False)
        rows = [measure("folder of JPEG", photographs, size, args.seconds) for size in args.sizes]
        if SMALL in args.sizes:
            rows.append(measure("HDF5 of JPEG", HDF5Images(Path(folder) / "small.h5"), SMALL, args.seconds))
    print(table(rows))
    if not args.dry_run:
        result = {"date": date.today().isoformat(), "machine": describe(), "rows": rows}
        write_atomically(RESULT, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
