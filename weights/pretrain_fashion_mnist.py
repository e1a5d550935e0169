"""Pretrain the embedded weights: ResNet-18 of width 16 on Fashion-MNIST, with minicnn itself.

    pip install -e ".[pretrain]"
    python weights/pretrain_fashion_mnist.py            # half an hour on two cores

The data come from Debian's package `dataset-fashion-mnist` if it is installed, else they are downloaded and checked.
The test images are looked at once, after the last epoch: no choice was made on them.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, fashion_mnist, transforms
from minicnn.models import resnet18

MEAN, STD = (0.2860,) * 3, (0.3530,) * 3  # of the 60,000 training images, the same for each channel
SIZE = 32


def loaders(batch_size: int, seed: int) -> tuple[DataLoader, DataLoader, list[str]]:
    """Training images, padded to 32x32, shifted and mirrored at random; test images as they are."""
    end = [transforms.Grayscale(3), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    moved = [transforms.Pad(2), transforms.RandomCrop(SIZE, padding=3), transforms.RandomHorizontalFlip()]
    train = fashion_mnist(train=True, transform=transforms.Compose([*moved, *end]))
    test = fashion_mnist(train=False, transform=transforms.Compose([transforms.Pad(2), *end]))
    many = DataLoader(train, batch_size, shuffle=True, seed=seed, drop_last=True, num_workers=1)
    return many, DataLoader(test, 250), list(train.classes)


def evaluate(model: nn.Module, loader: DataLoader) -> float:
    """Share of images whose largest logit is the right one."""
    model.eval()
    with minicnn.no_grad():
        right = [model(images).argmax(1).numpy() == labels.numpy() for images, labels in loader]
    model.train()
    return float(np.concatenate(right).mean())


def main() -> None:
    """Train, test, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "resnet18-fashion-mnist-32.h5")
    args = parser.parse_args()

    minicnn.manual_seed(args.seed)
    train, test, classes = loaders(args.batch_size, args.seed)
    arguments = {"num_classes": len(classes), "width": 16, "stem": "small"}
    model = resnet18(**arguments)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]  # batch norm and bias are not decayed
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": plain}]
    optimizer = optim.SGD(groups, lr=args.lr, momentum=0.9, nesterov=True)
    loss_function = nn.CrossEntropyLoss()

    log: list[dict[str, float]] = []
    steps, warm_up, step = args.epochs * len(train), len(train), 0
    for epoch in range(1, args.epochs + 1):
        start, losses, right = time.perf_counter(), [], 0
        for images, labels in train:
            factor = min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimizer.param_groups:
                group["lr"] = args.lr * factor
            optimizer.zero_grad()
            logits = model(images)
            loss = loss_function(logits, labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right += int((logits.argmax(1).numpy() == labels.numpy()).sum())
            step += 1
        row = {"epoch": epoch, "loss": float(np.mean(losses)), "accuracy": right / (len(train) * args.batch_size)}
        row["seconds"] = round(time.perf_counter() - start, 1)
        log.append(row)
        print(row, flush=True)

    accuracy = evaluate(model, test)
    print(f"test accuracy {accuracy:.4f}")
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    info = minicnn.weights.WeightsInfo(
        architecture="resnet18",
        arguments=arguments,
        classes=classes,
        input_size=SIZE,
        mean=MEAN,
        std=STD,
        trained_on="Fashion-MNIST, 60,000 training images (Xiao, Rasul, Vollgraf 2017)",
        accuracy=accuracy,
        licence="MIT",
        log=log,
        notes=f"made by weights/pretrain_fashion_mnist.py with {settings}; accuracy on the 10,000 test images",
    )
    minicnn.weights.save(args.out, model.state_dict(), info, storage="float32")
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
