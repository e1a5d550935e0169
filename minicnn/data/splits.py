"""Parts of a data set, every class in each, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.data.checks import integer, real
from minicnn.errors import ArgumentError, DataError

CALLED = "stratified_split"


def stratified_split(
    targets: Any,
    fraction: float | None = None,
    *,
    per_class: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Split a data set so that every class stands in both parts.

    Parameters
    ----------
    targets : sequence of int
        Label of each sample (`dataset.targets`).
    fraction : float
        The first part gets this share of every class; or
    per_class : int
        the first part gets so many samples of every class.
    seed : int
        The same seed gives the same split.
    classes : sequence of str, optional
        Names of the classes, for errors (`dataset.classes`).

    Returns
    -------
    first, second : int64 arrays
        Indices, sorted. Together they are all samples.

    Examples
    --------
    20 digits of each class to train on, the other 1,597 to test::

        train, test = stratified_split(digits().targets, per_class=20, seed=0)
    """
    targets, labels, counts, names = _counted(CALLED, targets, classes)
    if (fraction is None) == (per_class is None):
        raise ArgumentError(
            "how large is the first part?",
            called=CALLED,
            seen=f"fraction={fraction}, per_class={per_class}",
            rule="one of the two",
        )
    integer(CALLED, "seed", seed, 0)
    if fraction is None:
        first = _some_of_each(targets, labels, counts, names, integer(CALLED, "per_class", per_class, 1), seed)
    else:
        first = _share_of_each(targets, labels, counts, names, real(CALLED, "fraction", fraction), seed)
    return np.sort(first), np.setdiff1d(np.arange(len(targets)), first)


def _some_of_each(
    targets: np.ndarray, labels: np.ndarray, counts: np.ndarray, names: dict, per_class: int, seed: int
) -> np.ndarray:
    _require(counts.min() > per_class, labels, counts, names, f"more than {per_class} a class, so that some are left")
    generator = np.random.Generator(np.random.PCG64(seed))
    return np.concatenate([generator.permutation(np.flatnonzero(targets == label))[:per_class] for label in labels])


def _share_of_each(
    targets: np.ndarray, labels: np.ndarray, counts: np.ndarray, names: dict, fraction: float, seed: int
) -> np.ndarray:
    from sklearn.model_selection import StratifiedShuffleSplit

    if not 0 < fraction < 1:
        raise ArgumentError("fraction out of range", called=CALLED, seen=str(fraction), rule="0 < fraction < 1")
    needed = 1 / min(fraction, 1 - fraction)  # so many images, and the rounded shares are one or more
    _require(counts.min() >= 2, labels, counts, names, "two a class, one for each part")
    rule = f"about {np.ceil(round(needed, 6)):.0f} a class for a fraction of {fraction}, so that both parts have some"
    size = round(fraction * len(targets))
    _require(len(labels) <= size <= len(targets) - len(labels), labels, counts, names, rule)
    splitter = StratifiedShuffleSplit(n_splits=1, train_size=size, random_state=_random_state(seed))
    first, second = next(splitter.split(np.zeros(len(targets)), targets))
    _require(all(len(np.unique(targets[part])) == len(labels) for part in (first, second)), labels, counts, names, rule)
    return first.astype(np.int64)


def _counted(
    called: str, targets: Any, classes: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, str]]:
    """The targets, checked; the labels that occur, how often, and their names."""
    targets = np.asarray(targets)
    if targets.ndim != 1 or not targets.size or targets.dtype.kind not in "iu":
        raise DataError(
            "targets are not labels",
            called=called,
            seen=f"shape {targets.shape}, {targets.dtype}",
            rule="integers (N,)",
        )
    labels, counts = np.unique(targets, return_counts=True)
    names = {label: str(label) for label in labels.tolist()} | dict(enumerate(() if classes is None else classes))
    return targets, labels, counts, names


def _random_state(seed: int) -> np.random.RandomState:
    """A generator for scikit-learn, from a seed of any size."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))


def _require(
    enough: bool, labels: np.ndarray, counts: np.ndarray, names: dict, rule: str, called: str = CALLED
) -> None:
    if not enough:
        smallest = int(counts.argmin())
        raise DataError(
            f"class {names[labels[smallest].item()]} has too few images to be split",
            called=called,
            seen=f"{counts[smallest]} of {counts.sum()} images",
            rule=rule,
            hint="add images to the class, or leave the class out",
        )


def stratified_parts(
    targets: Any, shares: Sequence[float], *, seed: int = 0, classes: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Split a data set into several parts, every class in each.

    Parameters
    ----------
    targets : sequence of int
        Label of each sample (`dataset.targets`).
    shares : sequence of float
        Share of each part; together 1.
    seed : int
        The same seed gives the same parts.
    classes : sequence of str, optional
        Names of the classes, for errors.

    Returns
    -------
    list of int64 arrays
        Indices of each part, sorted. Together they are all samples.

    Examples
    --------
    ::

        train, validation, test = stratified_parts(dataset.targets, (0.7, 0.15, 0.15), seed=0)
    """
    shares = [real("stratified_parts", f"shares[{i}]", share) for i, share in enumerate(shares)]
    if len(shares) < 2 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ArgumentError(
            "shares that are no parts of a whole",
            called="stratified_parts",
            seen=str(shares),
            rule="two or more, each > 0, together 1",
        )
    targets = np.asarray(targets)
    rest, parts, left = np.arange(len(targets)), [], 1.0
    for number, share in enumerate(shares[:-1]):
        # Each cut has a stream of its own: the same seed twice would cut two equal sets alike.
        first, second = stratified_split(targets[rest], share / left, seed=seed + (number << 64), classes=classes)
        parts.append(rest[first])
        rest, left = rest[second], left - share
    return [*parts, rest]


def stratified_folds(
    targets: Any, folds: int, *, seed: int = 0, classes: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cross-validation: `folds` ways to divide a data set, each sample once in the second part, by scikit-learn.

    Parameters
    ----------
    targets : sequence of int
        Label of each sample (`dataset.targets`).
    folds : int
        At least 2, at most the number of images of the smallest class.
    seed : int
        The same seed gives the same folds.
    classes : sequence of str, optional
        Names of the classes, for errors.

    Returns
    -------
    list of (train, validation)
        int64 arrays of indices, sorted.
    """
    from sklearn.model_selection import StratifiedKFold

    targets, labels, counts, names = _counted("stratified_folds", targets, classes)
    folds = integer("stratified_folds", "folds", folds, 2)
    integer("stratified_folds", "seed", seed, 0)
    rule = f"at least {folds} a class, one for each fold"
    _require(counts.min() >= folds, labels, counts, names, rule, "stratified_folds")
    splitter = StratifiedKFold(folds, shuffle=True, random_state=_random_state(seed))
    return [(train, test) for train, test in splitter.split(np.zeros(len(targets)), targets)]


def plain_folds(
    targets: Any, folds: int, *, seed: int = 0, classes: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cross-validation without regard to classes: as `stratified_folds`, but a fold gets of each class what comes.

    Parameters
    ----------
    targets, folds, seed, classes
        As in `stratified_folds`; a class may be smaller than the number of folds, as long as each training part has
        some of it.

    Returns
    -------
    list of (train, validation)
        int64 arrays of indices, sorted.
    """
    from sklearn.model_selection import KFold

    targets, labels, counts, names = _counted("plain_folds", targets, classes)
    folds = integer("plain_folds", "folds", folds, 2)
    integer("plain_folds", "seed", seed, 0)
    if folds > len(targets):
        raise DataError("more folds than images", called="plain_folds", seen=f"{folds} folds, {len(targets)} images")
    splitter = KFold(folds, shuffle=True, random_state=_random_state(seed))
    parts = [(train, test) for train, test in splitter.split(targets)]
    rule = "some images of each class to train on, in every fold"
    for train, _ in parts:
        _require(len(np.unique(targets[train])) == len(labels), labels, counts, names, rule, "plain_folds")
    return parts
