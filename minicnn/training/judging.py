"""A network judged on images that it has not seen: all numbers, and one page to read. `minicnn evaluate`.

Images are read in batches and forgotten; what stays is one probability a class of each, so that the memory does not
depend on their size. The page is `judging_report.py`'s.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.autograd import Tensor, no_grad
from minicnn.backends.arrays import check_device
from minicnn.data import DataLoader, open_part, part_names
from minicnn.data.opening import TRAIN, VALIDATION, skipped
from minicnn.data.samples import name_of
from minicnn.errors import ArgumentError, DataError, DivergedError, WeightsError, printable
from minicnn.nn import functional as F  # noqa: N812
from minicnn.training.calibration import Calibration, calibrate
from minicnn.training.evaluation import evaluating
from minicnn.training.metrics import Metrics, measure
from minicnn.training.mistakes import ConfusedPair, Mistake, confused_pairs, worst_mistakes
from minicnn.training.pretrained import Pretrained
from minicnn.training.progress import Bar
from minicnn.training.report import environment, shown_path
from minicnn.training.score_curves import ScoreCurves, score_curves
from minicnn.training.sources import READERS

BATCH = 64  # images that go through the network at once
MOST_PROBABILITIES = 2**28  # of all images together: 1 GiB


@dataclass(frozen=True)
class Judgement:
    """What a network does with a part of a data set.

    Attributes
    ----------
    model, architecture, data, part : str
        The weights file, its network, the images and which part of them.
    metrics : Metrics
    curves : ScoreCurves
    calibration : Calibration
    mistakes : list of Mistake
        The worst ones; `Mistake.index` is the image's number in `dataset`.
    pairs : list of ConfusedPair
    names : dict
        Of the images in `mistakes` and `pairs`: {number: name}.
    skipped : list of (name, reason)
        Images that were left out because they cannot be read.
    seconds : float
    targets : int array (N,)
    probabilities : float32 array (N, classes)
    dataset, pretrained, network
        Whose they are, for pictures.
    """

    model: str
    architecture: str
    data: str
    part: str
    metrics: Metrics
    curves: ScoreCurves
    calibration: Calibration
    mistakes: list[Mistake]
    pairs: list[ConfusedPair]
    names: dict[int, str]
    skipped: list[tuple[str, str]]
    seconds: float
    targets: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    dataset: Any = field(repr=False)
    pretrained: Pretrained = field(repr=False)
    network: nn.Module = field(repr=False)

    @property
    def images(self) -> int:
        """How many were judged."""
        return len(self.targets)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy on very many such images would be, with 95%: Wilson's interval."""
        return wilson(self.metrics.accuracy, self.images)

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, text, lists and dicts, ready for JSON."""
        classes = self.metrics.classes
        mistakes = [
            {
                "name": self.names[m.index],
                "true": classes[m.target],
                "predicted": classes[m.prediction],
                "probability": m.probability,
                "true_probability": m.target_probability,
            }
            for m in self.mistakes
        ]
        pairs = [
            {
                "true": classes[pair.target],
                "predicted": classes[pair.prediction],
                "images": pair.count,
                "share": pair.share,
                "examples": [self.names[i] for i in pair.examples],
            }
            for pair in self.pairs
        ]
        return {
            "model": self.model,
            "architecture": self.architecture,
            "data": self.data,
            "part": self.part,
            "images": self.images,
            "skipped": len(self.skipped),
            "seconds": self.seconds,
            **self.metrics.as_dict(),
            "accuracy_95": list(self.interval),
            "curves": self.curves.as_dict(),
            "calibration": self.calibration.as_dict(),
            "confused_pairs": pairs,
            "worst_mistakes": mistakes,
            **environment(),
        }

    def __str__(self) -> str:
        low, high = self.interval
        lines = [str(self.metrics) + f" (95%: {low:.1%} .. {high:.1%})"]
        if self.curves.macro is not None:
            macro = self.curves.macro
            lines += [f"macro AUC {macro.auc:.3f}, macro average precision {macro.average_precision:.3f}"]
        lines += [f"calibration: {self.calibration.suggestion}"]
        if self.pairs:
            pair, classes = self.pairs[0], self.metrics.classes
            called = f"{classes[pair.target]} called {classes[pair.prediction]}"
            lines += [f"most often confused: {called}, {pair.count} images ({pair.share:.1%})"]
        if self.skipped:
            lines += [f"{len(self.skipped):,} images cannot be read and are left out; the first: {self.skipped[0][1]}"]
        return "\n".join(printable(line) for line in lines)


def judge(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    part: str | None = None,
    device: str = "cpu",
    skip_bad: bool = False,
    mistakes: int = 24,
    progress: bool | None = None,
) -> Judgement:
    """Judge a network on images.

    Parameters
    ----------
    model : path or name
        A weights file: it says which network, which classes, and how images are prepared.
    data : path
        A folder, an HDF5 image set or a CSV file, as in `minicnn.data.open_part`. Its classes are found among the
        network's by their names; classes of the network without images are allowed.
    part : str, optional
        Without: the first of val, valid, validation, test that is there; else all images, or train.
    device : str
        "cpu" or "cuda".
    skip_bad : bool
        Leave out images that cannot be read; without it, the first one is an error.
    mistakes : int
        How many of the worst are kept.
    progress : bool or None
        Whether a bar is shown; None: only on a terminal.
    """
    began = time.perf_counter()
    check_device(device)
    pretrained = Pretrained(model)
    classes = named_classes(pretrained)
    part = choose_part(data, part)
    dataset = open_part(data, part, pretrained.transform(), skip_bad=skip_bad, progress=progress)
    numbers = class_numbers(dataset.classes, classes, data)
    if len(dataset) * len(classes) > MOST_PROBABILITIES:
        raise DataError(
            "too many images at once",
            called="judge",
            seen=f"{len(dataset):,} images, {len(classes):,} classes",
            rule=f"{MOST_PROBABILITIES:,} probabilities at most",
            hint="judge it in parts",
        )
    network = pretrained.build(classes).eval().to(device)
    targets, probabilities = _run(network, dataset, numbers, len(classes), device, progress)
    worst, pairs = worst_mistakes(targets, probabilities, mistakes), confused_pairs(targets, probabilities)
    shown = {m.index for m in worst} | {i for pair in pairs for i in pair.examples}
    return Judgement(
        model=shown_path(pretrained.path),
        architecture=pretrained.info.architecture,
        data=shown_path(data),
        part=part,
        metrics=measure(targets, probabilities, classes),
        curves=score_curves(targets, probabilities, classes),
        calibration=calibrate(targets, probabilities),
        mistakes=worst,
        pairs=pairs,
        names={i: _short(name_of(dataset, i), data) for i in sorted(shown)},
        skipped=[(_short(name, data), _short(reason, data)) for name, reason in skipped(dataset)],
        seconds=time.perf_counter() - began,
        targets=targets,
        probabilities=probabilities,
        dataset=dataset,
        pretrained=pretrained,
        network=network,
    )


def named_classes(pretrained: Pretrained) -> list[str]:
    """The classes that a weights file names."""
    classes = list(pretrained.info.classes)
    if not classes:
        raise WeightsError(
            "the file names no classes",
            called=os.fspath(pretrained.path),
            hint="give a model.h5 of a run, or name them: minicnn weights import ... --classes names.txt",
        )
    return classes


def choose_part(data: str | os.PathLike[str], part: str | None) -> str:
    """The part to judge on."""
    names = part_names(data)
    if part is not None:
        if part not in names:
            raise DataError(
                f"there is no part {part!r}", called=os.fspath(data), seen=f"parts {', '.join(names) or 'none'}"
            )
        return part
    known = [name for name in (*VALIDATION, "", TRAIN) if name in names]
    if not known and len(names) > 1:
        raise ArgumentError("which part?", called=os.fspath(data), seen=", ".join(names)[:200], hint="name one: part=")
    return (known or names)[0]


def class_numbers(there: list[str], classes: list[str], data: Any) -> np.ndarray:
    """For each class of the data its number among the network's; int64."""
    unknown = [name for name in there if name not in classes]
    if unknown:
        raise DataError(
            "the labels do not match the network's head",
            called=os.fspath(data),
            seen=f"{', '.join(unknown[:4])}{' ...' if len(unknown) > 4 else ''}",
            rule=f"the network's classes: {', '.join(classes[:8])}{' ...' if len(classes) > 8 else ''}",
            hint="rename the classes, or give the network that was trained on them",
        )
    return np.array([classes.index(name) for name in there], np.int64)


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval that holds the true share with 95%, if the n images were drawn at random (Wilson 1927)."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _run(
    network: nn.Module, dataset: Any, numbers: np.ndarray, classes: int, device: str, progress: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities of all images, batch by batch."""
    targets = np.empty(len(dataset), np.int64)
    probabilities = np.empty((len(dataset), classes), np.float32)
    loader = DataLoader(dataset, BATCH, seed=0, num_workers=READERS)
    bar, done, right, nll = Bar(len(loader), progress), 0, 0, 0.0
    began = time.perf_counter()
    try:
        bar.start("images")
        with evaluating(network), no_grad(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for x, labels in loader:
                scores = network(x.to(device))
                values = F.softmax(scores, 1).cpu().numpy()
                part = slice(done, done + len(x))
                targets[part], probabilities[part] = numbers[labels.numpy()], values
                if not np.isfinite(values).all():
                    bad = done + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
                    raise DivergedError(
                        "the scores are not finite", called=name_of(dataset, bad), hint="is the weights file whole?"
                    )
                done += len(x)
                right += int((values.argmax(axis=1) == targets[part]).sum())
                own = values[np.arange(len(x)), targets[part]]
                nll -= float(np.log(np.maximum(own, np.finfo(np.float32).tiny)).sum())
                bar.step(nll / done, right / done, done / (time.perf_counter() - began))
    finally:
        bar.close()
    return targets, probabilities


def prepared(judgement: Judgement, indices: list[int]) -> Tensor:
    """Images as the network takes them, (N, C, H, W)."""
    return Tensor(np.stack([np.asarray(judgement.dataset[i][0]) for i in indices]))


def _short(name: str, data: str | os.PathLike[str]) -> str:
    """A name from the folder or file of the images on: no user and no machine is named."""
    root = os.path.expanduser(os.fspath(data))
    return name.replace(os.path.join(root, ""), "").replace(root, Path(root).name)
