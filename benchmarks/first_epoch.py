"""The first epoch of fine-tuning a PyTorch checkpoint, in minicnn and in PyTorch: the same losses, step for step.

    pip install -e ".[parity]"
    python benchmarks/first_epoch.py ../shared/data/hymenoptera_160/train     # two minutes; writes the README's table

A `.pth` is saved by torch, imported as `minicnn weights import` does, and fine-tuned on a folder of photographs: same
images, order and initial head, no augmentation; SGD as in PyTorch's tutorial on these photographs, and Adam. PyTorch
does the same with the `.pth` itself. Float32 rounds, and a network of random weights makes ten of one rounding error in
each step: how far two right answers go apart shows PyTorch in another layout of memory, against itself. In float64 both
engines compute the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, ImageFolder
from minicnn.files import write_atomically
from minicnn.models import import_weights, resnet18

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "parity"), str(ROOT / "benchmarks")]
import torch_resnet  # noqa: E402
from transfer import into_readmes  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "first_epoch.json"
MARKERS = "<!-- first epoch: made by benchmarks/first_epoch.py -->", "<!-- end of first epoch -->"
SIZE, BATCH, SEED = 64, 32, 0
OPTIMIZERS: dict[str, dict[str, float]] = {"SGD": {"lr": 1e-3, "momentum": 0.9}, "Adam": {"lr": 1e-4}}


def batches(folder: Path, transform: Any) -> DataLoader:
    """The photographs, in the order of the seed."""
    return DataLoader(ImageFolder(folder, transform), BATCH, shuffle=True, seed=SEED, drop_last=True)


def in_minicnn(model: Any, loader: DataLoader, name: str) -> list[float]:
    """Losses of the epoch's steps."""
    optimizer = getattr(optim, name)(model.parameters(), **OPTIMIZERS[name])
    loss_function, losses = nn.CrossEntropyLoss(), []
    loader.set_epoch(0)
    model.train()
    dtype = next(model.parameters()).dtype
    for images, labels in loader:
        optimizer.zero_grad()
        loss = loss_function(model(minicnn.Tensor(images.numpy().astype(dtype))), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def in_torch(model: Any, loader: DataLoader, name: str, memory_format: Any) -> list[float]:
    """The same in PyTorch."""
    model = model.to(memory_format=memory_format)
    optimizer = getattr(torch.optim, name)(model.parameters(), **OPTIMIZERS[name])
    loss_function, losses = torch.nn.CrossEntropyLoss(), []
    loader.set_epoch(0)
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        x = torch.from_numpy(images.numpy()).to(next(model.parameters()).dtype, memory_format=memory_format)
        loss = loss_function(model(x), torch.from_numpy(labels.numpy()))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def losses_of(name: str, checkpoint: Path, imported: Path, loader: DataLoader) -> dict[str, list[float]]:
    """Losses of each engine with one optimizer."""
    classes = len(loader.dataset.classes)
    minicnn.manual_seed(SEED)
    ours = resnet18(weights=imported, num_classes=classes)
    head = {key: torch.from_numpy(p.detach().numpy().copy()) for key, p in ours.fc.named_parameters()}
    exact = resnet18(weights=imported, num_classes=classes).double()
    exact.fc.load_state_dict({key: value.numpy().astype(np.float64) for key, value in head.items()})
    losses = {"minicnn": in_minicnn(ours, loader, name), "minicnn, float64": in_minicnn(exact, loader, name)}
    for engine, layout, dtype in (
        ("PyTorch", torch.contiguous_format, torch.float32),
        ("PyTorch, channels last", torch.channels_last, torch.float32),
        ("PyTorch, float64", torch.contiguous_format, torch.float64),
    ):
        theirs = torch_resnet.resnet18(num_classes=1000)
        theirs.load_state_dict(torch.load(checkpoint, weights_only=True))
        theirs.fc = torch.nn.Linear(512, classes)
        theirs.fc.load_state_dict(head)
        losses[engine] = in_torch(theirs.to(dtype), loader, name, layout)
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
        losses = {name: losses_of(name, checkpoint, imported, loader) for name in OPTIMIZERS}
    return {"torch": torch.__version__, "images": len(loader) * BATCH, "size": SIZE, "batch": BATCH, "losses": losses}


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    columns = "PyTorch | apart | PyTorch in another layout, apart | float64, apart"
    head = " | ".join(f"{name}: minicnn | {columns}" for name in result["losses"])
    rows = []
    for step in range(result["images"] // result["batch"]):
        cells = [str(step + 1)]
        for losses in result["losses"].values():
            at = {engine: values[step] for engine, values in losses.items()}
            cells += [f"{at['minicnn']:.6f}", f"{at['PyTorch']:.6f}"]
            for one, other in (
                ("minicnn", "PyTorch"),
                ("PyTorch, channels last", "PyTorch"),
                ("minicnn, float64", "PyTorch, float64"),
            ):
                cells.append(f"{abs(at[one] - at[other]):.0e}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"| step | {head} |", "|---" * (1 + 5 * len(result["losses"])) + "|", *rows])


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
        into_readmes(table(result), MARKERS)


if __name__ == "__main__":
    main()
