r"""Cross-validation of a whole fine-tuning: every image is validated once, by a network that has not learned from it.

The images are divided into k folds; k times a network starts from the pretrained weights, learns from k - 1 folds, and
is measured on the one that is left.

.. math:: \bar a = \frac{1}{k} \sum_{i=1}^{k} a_i, \qquad s = \sqrt{\frac{1}{k - 1} \sum_{i=1}^{k} (a_i - \bar a)^2}

The deviation s tells how much the choice of images matters. It is not the error of the mean: any two trainings share
images, so that s / sqrt(k) would flatter (Bengio, Grandvalet: No Unbiased Estimator of the Variance of K-Fold
Cross-Validation, 2004).

OUT/crossval.toml, OUT/fold-1/ (a run, see `report.py`), ..., and at the end OUT/crossval.json, OUT/crossval.png
"""

from __future__ import annotations

import json
import os
import statistics
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import __version__
from minicnn.data.checks import integer
from minicnn.errors import ArgumentError
from minicnn.files import cannot_write, write_atomically
from minicnn.training import resuming, sources, toml
from minicnn.training.finetune import sha256
from minicnn.training.fingerprint import fingerprint
from minicnn.training.fold_picture import picture
from minicnn.training.fold_processes import run_all
from minicnn.training.folds import Fold
from minicnn.training.pretrained import default_weights
from minicnn.training.report import environment, next_free, shown_path
from minicnn.training.settings import Settings
from minicnn.weights import find

Announce = Callable[[str], Any]
SETTINGS, RESULT, PICTURE = "crossval.toml", "crossval.json", "crossval.png"


@dataclass(frozen=True)
class FoldRow:
    """What one fold came to.

    Attributes
    ----------
    fold : int
    train_images, validation_images : int
    accuracy, macro_f1 : float
        On the fold's validation images, after the last epoch.
    seconds : float
        Of training.
    """

    fold: int
    train_images: int
    validation_images: int
    accuracy: float
    macro_f1: float
    seconds: float


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation came to; printed, a table.

    Attributes
    ----------
    rows : list of FoldRow
    stratified : bool
    classes : list of str
    confusion : int64 array (classes, classes)
        Of all folds together: `confusion[true, predicted]`.
    histories : list of list of float
        Validation accuracy after each epoch, of each fold.
    folder : Path
    seconds : float
        Of everything.
    """

    rows: list[FoldRow]
    stratified: bool
    classes: list[str]
    confusion: np.ndarray
    histories: list[list[float]]
    folder: Path
    seconds: float

    def mean(self, name: str = "accuracy") -> float:
        """Mean over folds of "accuracy" or "macro_f1"."""
        return statistics.mean(getattr(row, name) for row in self.rows)

    def deviation(self, name: str = "accuracy") -> float:
        """Standard deviation over folds (k - 1 below the line)."""
        return statistics.stdev(getattr(row, name) for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "folds": [asdict(row) for row in self.rows],
            **{f"{name}_mean": self.mean(name) for name in ("accuracy", "macro_f1")},
            **{f"{name}_deviation": self.deviation(name) for name in ("accuracy", "macro_f1")},
            "stratified": self.stratified,
            "classes": self.classes,
            "confusion": self.confusion.tolist(),
            "histories": self.histories,
            "folder": self.folder.as_posix(),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        head = "fold    images  accuracy  macro F1  seconds"
        rule = "-" * len(head)
        rows = [
            f"{row.fold:4}  {row.validation_images:8,}  {row.accuracy:8.1%}  {row.macro_f1:8.3f}  {row.seconds:7.1f}"
            for row in self.rows
        ]
        means = f"mean            {self.mean():8.1%}  {self.mean('macro_f1'):8.3f}"
        deviations = f"deviation       {self.deviation():8.1%}  {self.deviation('macro_f1'):8.3f}"
        kind = "stratified" if self.stratified else "plain"
        total = int(self.confusion.sum())
        text = f"{len(self.rows)} {kind} folds of {total:,} images, {len(self.classes)} classes; {self.seconds:.1f} s"
        return "\n".join([head, rule, *rows, rule, means, deviations, text, f"results: {self.folder}"])


def cross_validate(
    settings: Settings,
    folds: int = 5,
    *,
    stratified: bool = True,
    processes: int = 1,
    announce: Announce | None = print,
) -> CrossValidation:
    """Fine-tune once for each fold, and report mean and deviation.

    Parameters
    ----------
    settings : Settings
        As for `finetune`; `out` is the folder of everything, `compare` and `fold` are passed over. Of a data set with
        parts only `train` is divided: the others stay unseen, for a last test.
    folds : int
        At least 2; with `stratified`, at most the number of images of the smallest class.
    stratified : bool
        Whether each fold has its share of each class.
    processes : int
        Folds that run at a time, each in a process of its own with its share of the threads; 1: one after the other,
        in this process. The results are the same bits.
    announce : callable, optional
        Gets lines of text; None: quiet.

    Returns
    -------
    CrossValidation

    Raises
    ------
    MinicnnError
        For settings, images or folds that cannot be used, before any work; or the first fold's error.
    """
    _check(folds, stratified, processes)
    settings = replace(settings, compare=False, fold=f"1/{folds}", stratified=stratified)
    settings.check()
    dataset, name = sources.whole(settings.data)
    settings = _with_weights(settings, announce)
    Fold(1, folds, stratified).divide(dataset.targets, settings.seed, dataset.classes)
    try:
        out = next_free(f"{name}-crossval") if settings.out is None else Path(settings.out).expanduser()
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(settings.out or "runs", error) from None
    if any(out.iterdir()):
        raise ArgumentError(
            "the folder is not empty",
            called=str(out),
            rule="a cross-validation has its own",
            hint=f"choose another, or go on: minicnn crossval --resume {out}"
            if (out / SETTINGS).exists()
            else "choose another",
        )
    asked: dict[str, Any] = {item.name: getattr(settings, item.name) for item in fields(settings)}
    for key in ("data", "weights"):
        asked[key] = None if asked[key] is None else shown_path(asked[key])
    del asked["out"], asked["fold"]
    about = {"folds": folds, "images": fingerprint(dataset), "weights": sha256(Path(str(settings.weights)))}
    write_atomically(out / SETTINGS, toml.dumps({"settings": asked, "crossval": about, **environment()}))
    return _run(settings, folds, out, name, processes, announce)


def resume_cross_validation(
    out: str | os.PathLike[str], *, processes: int = 1, announce: Announce | None = print
) -> CrossValidation:
    """Go on with a cross-validation that was interrupted, to the same bits.

    Folds that are finished are not trained again, one that was interrupted goes on from its last checkpoint.

    Parameters
    ----------
    out : path
        Its folder.
    processes, announce
        As for `cross_validate`.
    """
    out = Path(out).expanduser()
    called = str(out / SETTINGS)
    try:
        table = tomllib.loads((out / SETTINGS).read_text(encoding="utf-8"))
        version, about = table["versions"]["minicnn"], table["crossval"]
        folds, images, weights = about["folds"], about["images"], about["weights"]
        settings = resuming.settings_in(table, out / SETTINGS)
    except OSError:
        raise ArgumentError(
            "there is no such cross-validation", called=str(out), rule=f"a folder with {SETTINGS}"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError("not the settings of a cross-validation", called=called) from None
    _check(folds, settings.stratified, processes)
    if version != __version__:
        raise ArgumentError(
            "a cross-validation of another version of minicnn", called=called, seen=str(version)[:64], rule=__version__
        )
    resuming.find(settings)
    settings = replace(settings, fold=f"1/{folds}")
    settings.check()
    dataset, name = sources.whole(settings.data)
    if fingerprint(dataset) != images:
        raise ArgumentError("a cross-validation with other images", called=called, hint="start another")
    settings = _with_weights(settings, announce)
    if sha256(Path(str(settings.weights))) != weights:
        raise ArgumentError("a cross-validation with other weights", called=called, hint="start another")
    return _run(settings, folds, out, name, processes, announce)


def _with_weights(settings: Settings, announce: Announce | None) -> Settings:
    """The same, with the path of the weights: all folds begin with one file."""
    say = announce or (lambda line: None)
    return replace(settings, weights=find(settings.weights or default_weights(settings.data is not None, say)))


def _run(
    settings: Settings, folds: int, out: Path, name: str, processes: int, announce: Announce | None
) -> CrossValidation:
    start = time.perf_counter()
    run_all(settings, folds, out, processes, announce)
    found = [_read(out / f"fold-{number}") for number in range(1, folds + 1)]
    rows = [
        FoldRow(number, m["train_images"], m["validation_images"], way["accuracy"], way["macro_f1"], way["seconds"])
        for number, (m, way) in enumerate(found, 1)
    ]
    result = CrossValidation(
        rows,
        settings.stratified,
        found[0][0]["classes"],
        np.array([way["confusion"] for _, way in found], np.int64).sum(axis=0),
        [way["history"]["validation_accuracy"] for _, way in found],
        out,
        time.perf_counter() - start,
    )
    write_atomically(out / PICTURE, picture(result.histories, [row.accuracy for row in rows], name))
    write_atomically(out / RESULT, json.dumps(result.as_dict(), indent=1, allow_nan=False) + "\n")
    return result


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the run of a fold says."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        way = metrics["ways"][-1]
        _ = [way[key] for key in ("accuracy", "macro_f1", "seconds", "confusion")], way["history"], metrics["classes"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise ArgumentError(
            "the results of a fold cannot be read",
            called=str(folder / "metrics.json"),
            seen=type(error).__name__,
            hint="remove the folder, and go on with --resume: the fold is trained again",
        ) from None
    return metrics, way


def _check(folds: Any, stratified: Any, processes: Any) -> None:
    integer("cross_validate", "folds", folds, 2)
    integer("cross_validate", "processes", processes, 1)
    if not isinstance(stratified, bool):
        raise ArgumentError("stratified is not valid", called="cross_validate", seen=repr(stratified), rule="a bool")
