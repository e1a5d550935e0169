"""Where the images of a fine-tuning come from: the digits of scikit-learn, or a folder with one sub-folder a class."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data import ArrayDataset, DataLoader, ImageFolder, Subset, digits, stratified_split
from minicnn.errors import DataError, MinicnnError

TRAIN = "train"
VALIDATION = ("val", "valid", "validation", "test")  # names of the folder to validate on; the first that is there
TRAIN_SHARE = 0.8  # of a folder without such parts
IN_MEMORY = 2**30  # bytes: images are decoded once and kept, if all of them fit into this
READERS = 2  # threads that decode images

Transform = Callable[[Any], Any]


@dataclass(frozen=True)
class Source:
    """Images to train on, and others to measure with.

    Attributes
    ----------
    name : str
        "digits", or the folder's name.
    parts : str
        How the two parts came about, in words.
    classes : list of str
    train, validation : Dataset
        Transformed images.
    """

    name: str
    parts: str
    classes: list[str]
    train: Any
    validation: Any


def load(folder: str | os.PathLike[str] | None, transform: Transform, per_class: int, seed: int) -> Source:
    """The images of `folder`, or the digits for None; read, transformed, split.

    Parameters
    ----------
    folder : path or None
        One sub-folder a class; or `train/` and `val/` (also `valid`, `validation`, `test`) with these in each.
    transform : callable
        From an image to a float array (C, H, W); not random.
    per_class : int
        Digits of each class to train on.
    seed : int
        Of the split.
    """
    if folder is None:
        return _digits(transform, per_class, seed)
    root = Path(folder).expanduser()
    source = _parts(root, transform, seed) if _has_parts(root) else _split(root, transform, seed)
    if len(source.classes) < 2:
        raise DataError(
            "only one class",
            called=os.fspath(root),
            seen=source.classes[0],
            rule="at least two sub-folders, one a class",
            hint="give the folder above it" if root.name != TRAIN else "",
        )
    return replace(source, train=in_memory(source.train), validation=in_memory(source.validation))


def in_memory(dataset: Any) -> Any:
    """The same samples, transformed already, if they fit into `IN_MEMORY`; otherwise the data set itself.

    Reading everything before the training starts also finds the image that cannot be read.
    """
    shape = dataset[0][0].shape
    if 4 * len(dataset) * math.prod(shape) > IN_MEMORY:
        return dataset
    images = np.empty((len(dataset), *shape), np.float32)
    labels = np.empty(len(dataset), np.int64)
    start = 0
    for x, y in DataLoader(dataset, batch_size=32, seed=0, num_workers=READERS):
        stop = start + len(x)
        images[start:stop], labels[start:stop] = x.numpy(), y.numpy()
        start = stop
    return ArrayDataset(images, labels, dataset.classes)


def readers(dataset: Any) -> int:
    """Threads that a loader should read a data set with: none for what is in memory."""
    return 0 if isinstance(dataset, ArrayDataset) and dataset.transform is None else READERS


def _digits(transform: Transform, per_class: int, seed: int) -> Source:
    dataset = digits(transform)
    train, test = stratified_split(dataset.targets, per_class=per_class, seed=seed, classes=dataset.classes)
    return Source(
        "digits",
        f"{per_class} of each class to train on, the others to test",
        dataset.classes,
        in_memory(Subset(dataset, train)),
        in_memory(Subset(dataset, test)),
    )


def _has_parts(root: Path) -> bool:
    """Whether `train` is a part with classes in it, and not a class: pictures of trains, say."""
    try:
        return any(entry.is_dir() for entry in (root / TRAIN).iterdir())
    except OSError:
        return False


def _parts(root: Path, transform: Transform, seed: int) -> Source:
    name = next((name for name in VALIDATION if (root / name).is_dir()), None)
    if name is None:
        return _split(root / TRAIN, transform, seed)
    train, validation = ImageFolder(root / TRAIN, transform), ImageFolder(root / name, transform)
    if train.classes != validation.classes:
        raise DataError(
            f"{TRAIN}/ and {name}/ have different classes",
            called=os.fspath(root),
            seen=f"only in one of them: {', '.join(sorted(set(train.classes) ^ set(validation.classes)))}",
            rule="the same sub-folders in both",
        )
    return Source(root.resolve().name, f"the folders {TRAIN} and {name}", train.classes, train, validation)


def _split(root: Path, transform: Transform, seed: int) -> Source:
    dataset = ImageFolder(root, transform)
    try:
        train, validation = stratified_split(dataset.targets, TRAIN_SHARE, seed=seed, classes=dataset.classes)
    except MinicnnError as error:
        error.called = f"{root}: {error.called}"
        raise
    parts = f"a split by seed: {TRAIN_SHARE:.0%} of each class to train on, the others to validate"
    return Source(root.resolve().name, parts, dataset.classes, Subset(dataset, train), Subset(dataset, validation))
