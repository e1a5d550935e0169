"""Pretrain a network on an HDF5 image set, with minicnn itself, as a recipe file says.

    python weights/pretrain.py weights/resnet18-tinyimagenet-64.toml tinyimagenet199_64px_jpegbytes.h5

An hour and a half on two cores. After each epoch the state is saved beside the result (`--out`, with the suffix
.state); the same command goes on from there, to the same bits. The test images are looked at after each epoch for the
log; no choice is made on them: what the last epoch leaves is saved.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from recipe import Decoded, Recipe
from tqdm import tqdm

import minicnn
from minicnn import nn, optim
from minicnn.files import write_atomically
from minicnn.models import MODELS


def train(model: nn.Module, optimizer: optim.SGD, recipe: Recipe, images: Decoded, epoch: int) -> dict[str, Any]:
    """One epoch; its row of the log."""
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe["training"]["label_smoothing"])
    loader = recipe.loader(images, epoch)
    start, total, right = time.perf_counter(), 0.0, 0
    model.train()
    for step, (x, labels) in enumerate(tqdm(loader, f"epoch {epoch}", disable=None, leave=False)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(epoch, step, len(loader))
        optimizer.zero_grad()
        scores = model(x)
        loss = loss_function(scores, labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        right += int((scores.detach().numpy().argmax(1) == labels.numpy()).sum())
    return recipe.row(epoch, len(loader), total, right, time.perf_counter() - start)


def test(model: nn.Module, recipe: Recipe, images: Decoded) -> tuple[float, float]:
    """Share of the test images whose class has the highest score, or one of the five highest."""
    model.eval()
    first, five = 0, 0
    with minicnn.no_grad():
        for x, labels in recipe.test_loader(images):
            best = np.argsort(model(x).numpy(), axis=1)[:, -5:]
            hits = best == labels.numpy()[:, None]
            first, five = first + int(hits[:, -1].sum()), five + int(hits.sum())
    return first / len(images.labels), five / len(images.labels)


def save_state(path: Path, model: nn.Module, optimizer: optim.SGD, log: list[dict[str, Any]]) -> None:
    """Parameters, running statistics, momenta and the log: what the next epoch needs. The rest is in the recipe."""
    arrays = {f"model/{name}": array for name, array in model.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{number}/{name}": value for name, value in values.items()}
    buffer = io.BytesIO()
    np.savez(buffer, log=np.array(json.dumps(log)), **arrays)
    write_atomically(path, buffer.getvalue())


def load_state(path: Path, model: nn.Module, optimizer: optim.SGD) -> list[dict[str, Any]]:
    """Take over what `save_state` wrote; returns the log."""
    with np.load(path, allow_pickle=False) as stored:
        model.load_state_dict({name[6:]: stored[name] for name in stored.files if name.startswith("model/")})
        state = optimizer.state_dict()
        for name in stored.files:
            if name.startswith("optimizer/"):
                _, number, key = name.split("/")
                value = stored[name]
                state["state"].setdefault(int(number), {})[key] = value if value.ndim else value.item()
        optimizer.load_state_dict(state)
        return json.loads(str(stored["log"]))


def info(recipe: Recipe, classes: list[str], log: list[dict[str, Any]], count: int) -> minicnn.weights.WeightsInfo:
    """What the weights file says about itself."""
    last = log[-1]
    return minicnn.weights.WeightsInfo(
        architecture=recipe["network"]["architecture"],
        arguments=recipe["network"]["arguments"],
        classes=classes,
        input_size=recipe["images"]["input_size"],
        mean=tuple(recipe["images"]["mean"]),
        std=tuple(recipe["images"]["std"]),
        trained_on=recipe["trained_on"],
        accuracy=last["test_accuracy"],
        licence=recipe["licence"],
        log=log,
        notes=f"made by weights/pretrain.py with weights/{recipe.path.name}; accuracy on {count:,} test images: "
        f"{last['test_accuracy']:.2%} top-1, {last['test_top5']:.2%} top-5",
    )


def main() -> None:
    """Train, test, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("images", type=Path, help="HDF5 image set with the splits train and test")
    parser.add_argument("--out", type=Path, help="weights file; by default beside the recipe, with its name")
    parser.add_argument("--stop-after", type=int, help="epoch after which to stop, to go on later")
    args = parser.parse_args()
    recipe = Recipe.read(args.recipe)
    out = args.out or args.recipe.with_name(f"{recipe['name']}.h5")
    state = out.with_suffix(".state")

    training = recipe["training"]
    minicnn.manual_seed(training["seed"])
    model = MODELS[recipe["network"]["architecture"]](**recipe["network"]["arguments"])
    optimizer = optim.SGD(recipe.groups(model.named_parameters()), lr=0.0, momentum=training["momentum"], nesterov=True)
    log = load_state(state, model, optimizer) if state.exists() else []
    train_images, test_images = Decoded(args.images, "train"), Decoded(args.images, "test")
    for epoch in range(len(log) + 1, min(recipe.epochs, args.stop_after or recipe.epochs) + 1):
        row = train(model, optimizer, recipe, train_images, epoch)
        row["test_accuracy"], row["test_top5"] = (round(share, 4) for share in test(model, recipe, test_images))
        log.append(row)
        print(json.dumps(row), flush=True)
        save_state(state, model, optimizer, log)
    if len(log) == recipe.epochs:
        described = info(recipe, train_images.classes, log, len(test_images.labels))
        minicnn.weights.save(out, model.state_dict(), described, storage="float16")
        print(f"saved {out}: {log[-1]['test_accuracy']:.2%} of {len(test_images.labels):,} test images")


if __name__ == "__main__":
    main()
