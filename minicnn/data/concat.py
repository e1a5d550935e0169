"""Several sources as one data set: `Concat`, for the fusion of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, DataError, MinicnnError

Rename = Mapping[str, str | None]


class Concat:
    """The samples of several data sets, one after the other, with common classes.

    Classes with the same name are one class. A mapping renames classes before that, joins several into one, or leaves
    their images out::

        both = Concat([photos, drawings], mapping={"Ant": "ants", "wasp": None})
        both = Concat([photos, drawings], mapping=[{}, {"Ant": "ants"}])        # another mapping for each source

    Parameters
    ----------
    datasets : sequence of data sets
        Each with `classes` and `targets`.
    mapping : dict, or sequence of dicts, optional
        {name of a class: its name here, or None to leave its images out}. Classes that are not in it keep their name.
    transform : callable, optional
        Applied to the images after the transforms of the sources.
    classes : sequence of str, optional
        The classes in the order of their labels; by default all names, sorted.

    Attributes
    ----------
    classes : list of str
    targets : array (N,) of int64
    source : array (N,) of int64
        Which data set each sample is from.
    index : array (N,) of int64
        Its number there.
    datasets : list
    """

    def __init__(
        self,
        datasets: Sequence[Any],
        mapping: Rename | Sequence[Rename] | None = None,
        transform: Callable[[Any], Any] | None = None,
        *,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.datasets = list(datasets)
        self.transform = transform
        if not self.datasets:
            raise ArgumentError("nothing to put together", called="Concat", rule="at least one data set")
        renames = self._renames(mapping)
        names = [
            [rename.get(name, name) for name in dataset.classes]
            for dataset, rename in zip(self.datasets, renames, strict=True)
        ]
        kept = {name for source in names for name in source if name is not None}
        self.classes = sorted(kept) if classes is None else [str(name) for name in classes]
        if len(set(self.classes)) < len(self.classes) or not kept <= set(self.classes):
            raise ArgumentError(
                "classes do not fit the sources",
                called="Concat",
                seen=f"not in classes, or twice: {', '.join(sorted(kept - set(self.classes)))[:200] or self.classes}",
                rule="each name once",
            )
        numbers = {name: number for number, name in enumerate(self.classes)}
        parts = [
            np.array([-1 if name is None else numbers[name] for name in source], np.int64)[np.asarray(dataset.targets)]
            for source, dataset in zip(names, self.datasets, strict=True)
        ]
        self.source = np.concatenate([np.full(np.sum(part >= 0), i, np.int64) for i, part in enumerate(parts)])
        self.index = np.concatenate([np.flatnonzero(part >= 0) for part in parts])
        self.targets = np.concatenate([part[part >= 0] for part in parts])
        if not len(self.targets):
            raise DataError("no image is left", called="Concat", seen=f"mapping={mapping!r}"[:200])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        number = range(len(self))[index]  # also from the end; IndexError beyond it
        image, _ = self.datasets[self.source[number]][int(self.index[number])]
        if self.transform is None:
            return image, int(self.targets[number])
        try:
            return self.transform(image), int(self.targets[number])
        except MinicnnError as error:
            error.called = f"Concat[{number}]: {error.called}"
            raise

    def __repr__(self) -> str:
        return f"Concat({len(self)} images of {len(self.datasets)} sources, {len(self.classes)} classes)"

    def encoded(self, index: int) -> bytes:
        """The bytes of an image file, where its source has files."""
        return self.datasets[self.source[index]].encoded(int(self.index[index]))

    def _renames(self, mapping: Rename | Sequence[Rename] | None) -> list[Rename]:
        """One mapping a source."""
        if mapping is None or isinstance(mapping, Mapping):
            renames: list[Rename] = [mapping or {}] * len(self.datasets)
            known = [{name for dataset in self.datasets for name in dataset.classes}] * len(self.datasets)
        else:
            renames, known = list(mapping), [set(dataset.classes) for dataset in self.datasets]
        if len(renames) != len(self.datasets):
            raise ArgumentError(
                "mappings and sources do not fit",
                called="Concat",
                seen=f"{len(renames)} mappings, {len(self.datasets)} data sets",
                rule="one mapping for all, or one for each",
            )
        for rename, names in zip(renames, known, strict=True):
            unknown = [name for name in rename if name not in names]
            if unknown:
                raise ArgumentError(
                    "the mapping names a class that is not there",
                    called="Concat",
                    seen=repr(unknown[0]),
                    rule=f"one of {', '.join(map(str, sorted(names)))[:200]}",
                )
        return renames
