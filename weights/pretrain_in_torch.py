"""The first epochs of a recipe in PyTorch: the yardstick for `pretrain.py`.

    pip install -e ".[parity,pretrain]"
    python weights/pretrain_in_torch.py weights/resnet18-tinyimagenet-64.toml IMAGES.h5 --epochs 3 --out curve.json

The same initial values, images, parts, order, rates and test as in `pretrain.py`; only the network, its gradients and
the optimizer's steps are PyTorch's (channels_last, its faster layout here).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from recipe import Decoded, Recipe
from torch import nn
from tqdm import tqdm

import minicnn
from minicnn.files import write_atomically
from minicnn.models import MODELS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "parity"))
import torch_resnet


def as_torch(images: Any) -> torch.Tensor:
    """A batch of minicnn's loader, channels last."""
    return torch.from_numpy(images.numpy()).contiguous(memory_format=torch.channels_last)


def train(model: nn.Module, optimizer: torch.optim.SGD, recipe: Recipe, images: Decoded, epoch: int) -> dict[str, Any]:
    """One epoch; its row of the log."""
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe["training"]["label_smoothing"])
    loader = recipe.loader(images, epoch)
    start, total, right = time.perf_counter(), 0.0, 0
    model.train()
    for step, (x, labels) in enumerate(tqdm(loader, f"epoch {epoch}", disable=None, leave=False)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(epoch, step, len(loader))
        optimizer.zero_grad()
        targets = torch.from_numpy(labels.numpy())
        scores = model(as_torch(x))
        loss = loss_function(scores, targets)
        loss.backward()
        optimizer.step()
        total += loss.item()
        right += int((scores.argmax(1) == targets).sum())
    return recipe.row(epoch, len(loader), total, right, time.perf_counter() - start)


def test(model: nn.Module, recipe: Recipe, images: Decoded) -> float:
    """Share of the test images whose class has the highest score."""
    model.eval()
    with torch.inference_mode():
        right = [
            int((model(as_torch(x)).argmax(1) == torch.from_numpy(labels.numpy())).sum())
            for x, labels in recipe.test_loader(images)
        ]
    return sum(right) / len(images.labels)


def main() -> None:
    """Train and write the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    recipe = Recipe.read(args.recipe)
    training, network = recipe["training"], recipe["network"]

    minicnn.manual_seed(training["seed"])
    state = MODELS[network["architecture"]](**network["arguments"]).state_dict()
    model = getattr(torch_resnet, network["architecture"])(**network["arguments"])
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()})
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        recipe.groups(model.named_parameters()), lr=0.1, momentum=training["momentum"], nesterov=True
    )
    train_images, test_images = Decoded(args.images, "train"), Decoded(args.images, "test")
    log = []
    for epoch in range(1, args.epochs + 1):
        row = train(model, optimizer, recipe, train_images, epoch)
        row["test_accuracy"] = round(test(model, recipe, test_images), 4)
        log.append(row)
        print(json.dumps(row), flush=True)
        write_atomically(args.out, json.dumps({"torch": torch.__version__, "log": log}, indent=1) + "\n")


if __name__ == "__main__":
    main()
