"""The first epoch of fine-tuning a PyTorch checkpoint, in minicnn and in PyTorch: the same losses, step for step.

    pip install -e ".[parity]"
    python benchmarks/first_epoch.py ../shared/data/hymenoptera_160/train     # two minutes; writes the README's table

A `.pth` is saved by torch, imported as `minicnn weights import` does, and fine-tuned on a folder of photographs: same
images, order and initial head, no augmentation, Adam. PyTorch does the same with the `.pth` itself. The losses differ
by what float32 rounds: Adam's first steps divide each gradient by its own size, so that the rounding of a gradient near
zero decides about the sign of a whole step; a third column, PyTorch against PyTorch in another layout of memory, shows
how far two right answers go apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, ImageFolder
from minicnn.files import write_atomically
from minicnn.models import import_weights, resnet18

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "parity"), str(ROOT / "benchmarks")]
import torch_resnet  # noqa: E402
from transfer import into  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "first_epoch.json"
MARKERS = "<!-- first epoch: made by benchmarks/first_epoch.py -->", "<!-- end of first epoch -->"
SIZE, BATCH, LR, SEED = 64, 32, 1e-4, 0


def batches(folder: Path, transform: Any) -> DataLoader:
    """The photographs, in the order of the seed."""
    return DataLoader(ImageFolder(folder, transform), BATCH, shuffle=True, seed=SEED, drop_last=True)


def in_minicnn(model: Any, loader: DataLoader) -> list[float]:
    """Losses of the epoch's steps."""
    optimizer, loss_function, losses = optim.Adam(model.parameters(), lr=LR), nn.CrossEntropyLoss(), []
    loader.set_epoch(0)
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def in_torch(model: Any, loader: DataLoader, memory_format: Any) -> list[float]:
    """The same in PyTorch."""
    model = model.to(memory_format=memory_format)
    optimizer, loss_function = torch.optim.Adam(model.parameters(), lr=LR), torch.nn.CrossEntropyLoss()
    losses = []
    loader.set_epoch(0)
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        x = torch.from_numpy(images.numpy()).to(memory_format=memory_format)
        loss = loss_function(model(x), torch.from_numpy(labels.numpy()))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def measure(folder: Path) -> dict[str, Any]:
    """Losses of each engine."""
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint, imported = Path(temporary) / "mine.pth", Path(temporary) / "mine.h5"
        torch.save(torch_resnet.resnet18(num_classes=1000).state_dict(), checkpoint)
        print(import_weights(checkpoint, imported, arch="resnet18"))
        transform = replace(minicnn.weights.describe(imported), input_size=SIZE, resize=None).transforms()
        loader = batches(folder, transform)
        minicnn.manual_seed(SEED)
        ours = resnet18(weights=imported, num_classes=len(loader.dataset.classes))
        head = {name: torch.from_numpy(p.numpy().copy()) for name, p in ours.fc.named_parameters()}
        results = {"minicnn": in_minicnn(ours, loader)}
        for name, layout in (("PyTorch", torch.contiguous_format), ("PyTorch, channels last", torch.channels_last)):
            theirs = torch_resnet.resnet18(num_classes=1000)
            theirs.load_state_dict(torch.load(checkpoint, weights_only=True))
            theirs.fc = torch.nn.Linear(512, len(loader.dataset.classes))
            theirs.fc.load_state_dict(head)
            results[name] = in_torch(theirs, loader, layout)
    return {"torch": torch.__version__, "images": len(loader) * BATCH, "size": SIZE, "batch": BATCH, "losses": results}


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    losses = result["losses"]
    ours, theirs, other = losses["minicnn"], losses["PyTorch"], losses["PyTorch, channels last"]
    rows = [
        f"| {step} | {a:.6f} | {b:.6f} | {abs(a - b):.1e} | {abs(c - b):.1e} |"
        for step, (a, b, c) in enumerate(zip(ours, theirs, other, strict=True), 1)
    ]
    head = "| step | minicnn | PyTorch | apart | PyTorch from itself, in another layout |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    args = parser.parse_args()
    result = measure(args.folder)
    print(table(result))
    if not args.dry_run:
        write_atomically(RESULT, json.dumps(result, indent=1) + "\n")
        into(ROOT / "README.md", table(result), MARKERS)


if __name__ == "__main__":
    main()
