"""A table of image files and labels: `CSVImages`.

::

    path,label,split            the first line may name the columns, in any order; other columns are not looked at
    ants/0013035.jpg,ants,train
    "bees/10, left.jpg",bees,val

Without such a line the first column is the path and the second the label. Labels are names, or numbers. The file is
UTF-8, with or without a byte-order mark, with any line ends; a `.tsv` has tabs for commas.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from minicnn.data.csv_table import LABELS, PATHS, Line, read_table, splits_in
from minicnn.data.image_files import ImageFiles
from minicnn.data.images import shown
from minicnn.errors import ArgumentError, DataError


class CSVImages(ImageFiles):
    """A data set of image files that a CSV file lists; `dataset[i]` is (transformed image, label).

    Parameters
    ----------
    path : str or path
        The CSV file.
    transform : callable, optional
        From an RGB `PIL.Image` to what the network wants; see `minicnn.data.transforms`.
    root : str or path, optional
        Folder of the images; by default the folder of the CSV file. No path may lead out of it.
    split : str, optional
        Only the lines with this word in the column `split`.
    path_column, label_column : str, optional
        Names of the columns, where they are not among the usual ones (`csv_table.py`).
    classes : sequence of str, optional
        Names of the classes, in order: a label is then one of them, or its number. By default the labels of the whole
        table, sorted (numbers by value).
    exif, skip_bad, progress
        As in `ImageFolder`; `skip_bad` also leaves out files that are not there.

    Attributes
    ----------
    classes, samples, targets, skipped
        As in `ImageFolder`; the order is that of the lines.
    splits : list of str
        The words in the column `split`, sorted; empty where there is no such column.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        split: str | None = None,
        path_column: str | None = None,
        label_column: str | None = None,
        classes: Sequence[str] | None = None,
        exif: bool = True,
        skip_bad: bool = False,
        progress: bool | None = None,
    ) -> None:
        self.path = os.path.expanduser(os.fspath(path))
        self.root = os.path.expanduser(os.fspath(root)) if root is not None else os.path.dirname(self.path) or "."
        self._called = f"CSVImages {shown(self.path)}"
        lines = read_table(self.path, path_column, label_column)
        self.splits = splits_in(lines)
        numbers = self._numbers(lines, classes)
        if split is not None and split not in self.splits:
            raise ArgumentError(
                "no such part in the table",
                called=self._called,
                seen=f"split={split!r}",
                rule=f"one of {', '.join(map(shown, self.splits[:10]))}" if self.splits else "a column named split",
            )
        wanted = [line for line in lines if split is None or line.split == split]
        found, missing = self._files(wanted)
        if missing and not skip_bad:
            self._refuse(wanted, missing)
        samples = [(file, numbers[line.label]) for line, file in found]
        super().__init__(samples, self.classes, transform, exif=exif, skip_bad=skip_bad, progress=progress)
        self.skipped = missing + self.skipped
        if not self.samples:
            raise DataError(
                "no image that can be read",
                called=self._called,
                seen=f"{len(self.skipped)} skipped: {self.skipped[0][1]}",
            )

    def __repr__(self) -> str:
        return f"CSVImages({self.path!r}, {self._counts()})"

    def _numbers(self, lines: list[Line], classes: Sequence[str] | None) -> dict[str, int]:
        """The number of each label; sets `classes`."""
        labels = {line.label for line in lines}
        if classes is None:
            by_value = all(label.isascii() and label.isdigit() and len(label) < 10 for label in labels)
            self.classes = sorted(labels, key=int) if by_value else sorted(labels)
            return {name: number for number, name in enumerate(self.classes)}
        self.classes = [str(name) for name in classes]
        numbers = {str(number): number for number in range(len(self.classes))}
        numbers |= {name: number for number, name in enumerate(self.classes)}  # a name goes before a number
        for line in lines:
            if line.label not in numbers:
                raise DataError(
                    "a label that is no class",
                    called=f"{self._called}, line {line.number}",
                    seen=repr(line.label)[:100],
                    rule=f"one of {len(self.classes)} classes, or its number: {', '.join(self.classes)[:100]}",
                )
        return numbers

    # ---- the files --------------------------------------------------------------------------------------------------

    def _files(self, lines: list[Line]) -> tuple[list[tuple[Line, str]], list[tuple[str, str]]]:
        """The lines whose file is there, with its path; and (path, reason) of the others."""
        root = os.path.realpath(self.root)
        found: list[tuple[Line, str]] = []
        missing: list[tuple[str, str]] = []
        for line in lines:
            called = f"{self._called}, line {line.number}"
            if "\0" in line.path:
                raise DataError("a path with a null byte", called=called)
            path = os.path.join(self.root, line.path)
            if "\\" in line.path and not os.path.exists(path):  # as Windows writes it
                path = os.path.join(self.root, line.path.replace("\\", "/"))
            real = os.path.realpath(path)
            if os.path.commonpath([root, real]) != root:
                raise DataError(
                    "a path that leads out of the folder of the images",
                    called=called,
                    seen=shown(line.path)[:200],
                    rule=f"below {shown(self.root)}",
                    hint="pass the folder as root",
                )
            if os.path.isfile(real):
                found.append((line, path))
            else:
                missing.append((path, f"{called}: no such file: {shown(path)[:300]}"))
        return found, missing

    def _refuse(self, lines: list[Line], missing: list[tuple[str, str]]) -> None:
        called, _, path = missing[0][1].partition(": no such file: ")
        first = len(missing) == 1 and missing[0][0].endswith(lines[0].path)
        raise DataError(
            "no such file",
            called=called,
            seen=f"{path}; {len(missing)} of {len(lines)} files are missing",
            rule=f"paths are relative to {shown(self.root)}",
            hint=f"if it names the columns, call them {PATHS[0]} and {LABELS[0]}"
            if first
            else "pass the folder as root",
        )
