"""Where the images of a fine-tuning come from: the digits of scikit-learn, or a folder, HDF5 image set or CSV file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data import ArrayDataset, DataLoader, Subset, digits, open_part, part_names, stratified_split
from minicnn.data.opening import TRAIN, VALIDATION, skipped
from minicnn.errors import DataError, MinicnnError
from minicnn.training.folds import Fold

TRAIN_SHARE = 0.8  # of images without parts
DIGITS = 20  # of each class to train on
IN_MEMORY = 2**30  # bytes: images are decoded once and kept, if all of them fit into this
READERS = 2  # threads that decode images

Transform = Callable[[Any], Any]


@dataclass(frozen=True)
class Source:
    """Images to train on, and others to measure with.

    Attributes
    ----------
    name : str
        "digits", or the name of the folder or file.
    parts : str
        How the two parts came about, in words.
    classes : list of str
    train, validation : Dataset
        Transformed images.
    varied : Dataset or None
        The images to train on, varied at random each time they are read.
    skipped : list of (name, reason)
        Images that were left out because they cannot be read.
    """

    name: str
    parts: str
    classes: list[str]
    train: Any
    validation: Any
    varied: Any = None
    skipped: list[tuple[str, str]] = field(default_factory=list)


def load(
    folder: str | os.PathLike[str] | None,
    transform: Transform,
    per_class: int | None,
    seed: int,
    skip_bad: bool = False,
    vary: Callable[[Any], Any] | None = None,
    fold: Fold | None = None,
) -> Source:
    """The images of `folder`, or the digits for None; read, transformed, split.

    Parameters
    ----------
    folder : path or None
        One sub-folder a class; or `train/` and `val/` (also `valid`, `validation`, `test`) with these in each. Or an
        HDF5 image set (`data.HDF5Images`) or a CSV file (`data.CSVImages`), with such parts or without.
    transform : callable
        From an image to a float array (C, H, W); not random.
    per_class : int or None
        Images of each class to train on, chosen by the seed; None: all (of the digits, 20).
    seed : int
        Of the split.
    skip_bad : bool
        Leave out images that cannot be read; without it, the first one is an error.
    vary : callable, optional
        From the images to train on, as they were found, to the same ones varied at random: `Source.varied`.
    fold : Fold, optional
        Of a cross-validation, which divides all images, or those of `train`; others are not looked at.
    """
    if fold is not None:
        source = _fold(folder, transform, fold, seed, skip_bad)
    elif folder is None:
        source = _digits(transform, DIGITS if per_class is None else per_class, seed)
        per_class = None
    else:
        root = Path(folder).expanduser()
        source = _parts(root, part_names(root), transform, seed, skip_bad)
    if folder is not None and len(source.classes) < 2:
        root = Path(folder).expanduser()
        raise DataError(
            "only one class",
            called=os.fspath(root),
            seen=source.classes[0],
            rule="at least two sub-folders, one a class" if root.is_dir() else "at least two",
            hint="give the folder above it" if root.name != TRAIN else "",
        )
    if per_class is not None:
        source = _fewer(source, per_class, seed)
    varied = vary(source.train) if vary else None
    return replace(source, train=in_memory(source.train), validation=in_memory(source.validation), varied=varied)


def whole(
    folder: str | os.PathLike[str] | None, transform: Transform | None = None, skip_bad: bool = False
) -> tuple[Any, str]:
    """All images that a cross-validation divides, and the name of where they are from."""
    if folder is None:
        return digits(transform), "digits"
    root = Path(folder).expanduser()
    names = part_names(root)
    return open_part(root, _the_part(root, names), transform, skip_bad=skip_bad), _name(root)


def _fold(folder: str | os.PathLike[str] | None, transform: Transform, fold: Fold, seed: int, skip_bad: bool) -> Source:
    dataset, name = whole(folder, transform, skip_bad)
    train, validation = fold.divide(dataset.targets, seed, dataset.classes)
    subsets = Subset(dataset, train), Subset(dataset, validation)
    return Source(name, str(fold), dataset.classes, *subsets, skipped=skipped(dataset))


def _fewer(source: Source, per_class: int, seed: int) -> Source:
    """The same with so many images of each class to train on; what is not chosen is left out."""
    targets = np.asarray(source.train.targets)
    counts = np.bincount(targets, minlength=len(source.classes))
    if per_class > counts.min():
        raise DataError(
            f"the class {source.classes[counts.argmin()]} has not so many images to train on",
            called=source.name,
            seen=f"{counts.min()} images, per_class={per_class}",
            rule="per_class images in each class",
        )
    generator = np.random.default_rng(seed)
    chosen = [generator.permutation(np.flatnonzero(targets == label))[:per_class] for label in range(len(counts))]
    parts = f"{source.parts}; {per_class} of each class to train on"
    return replace(source, train=Subset(source.train, np.sort(np.concatenate(chosen))), parts=parts)


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
        Subset(dataset, train),
        Subset(dataset, test),
    )


def _parts(root: Path, names: list[str], transform: Transform, seed: int, skip_bad: bool) -> Source:
    name = next((name for name in VALIDATION if name in names), None)
    if TRAIN not in names or name is None:
        return _split(root, names, transform, seed, skip_bad)
    train, validation = (open_part(root, part, transform, skip_bad=skip_bad) for part in (TRAIN, name))
    if train.classes != validation.classes:
        raise DataError(
            f"{TRAIN}/ and {name}/ have different classes",
            called=os.fspath(root),
            seen=f"only in one of them: {', '.join(sorted(set(train.classes) ^ set(validation.classes)))}",
            rule="the same sub-folders in both",
        )
    parts = f"the folders {TRAIN} and {name}" if root.is_dir() else f"the parts {TRAIN} and {name}"
    return Source(_name(root), parts, train.classes, train, validation, skipped=skipped(train) + skipped(validation))


def _split(root: Path, names: list[str], transform: Transform, seed: int, skip_bad: bool) -> Source:
    dataset = open_part(root, _the_part(root, names), transform, skip_bad=skip_bad)
    try:
        train, validation = stratified_split(dataset.targets, TRAIN_SHARE, seed=seed, classes=dataset.classes)
    except MinicnnError as error:
        error.called = f"{root}: {error.called}"
        raise
    parts = f"a split by seed: {TRAIN_SHARE:.0%} of each class to train on, the others to validate"
    subsets = Subset(dataset, train), Subset(dataset, validation)
    return Source(_name(root), parts, dataset.classes, *subsets, skipped=skipped(dataset))


def _the_part(root: Path, names: list[str]) -> str:
    """Of several parts, the one to train on."""
    if TRAIN not in names and names != [""] and len(names) > 1:
        raise DataError(
            "which part is there to train on?",
            called=os.fspath(root),
            seen=f"parts {', '.join(names)[:200]}",
            rule=f"{TRAIN}, and perhaps one of {', '.join(VALIDATION)}",
        )
    return TRAIN if TRAIN in names else names[0]


def _name(root: Path) -> str:
    """The folder's name, or the file's without its suffix."""
    return root.resolve().name if root.is_dir() else root.stem
