"""Reading a table of paths and labels, line by line; see `CSVImages`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from typing import NamedTuple

from minicnn.data.images import shown
from minicnn.errors import ArgumentError, DataError

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img")
LABELS = ("label", "class", "class_name", "category", "target")
SPLITS = ("split", "part", "subset", "set")
LARGEST = 2**28  # bytes of the table: some four million lines


class Line(NamedTuple):
    """One image of the table."""

    number: int
    path: str
    label: str
    split: str


def read_table(path: str, path_column: str | None = None, label_column: str | None = None) -> list[Line]:
    """The lines of a CSV file, one or more; nothing is looked up.

    Parameters
    ----------
    path : str
        The file.
    path_column, label_column : str, optional
        Names of the columns, where they are not among `PATHS` and `LABELS`.
    """
    called = f"CSVImages {shown(path)}"
    lines = list(_lines(path, called, path_column, label_column))
    if not lines:
        raise DataError("no image in the table", called=called, rule="one image a line: path, label")
    return lines


def splits_in(lines: list[Line]) -> list[str]:
    """The words in the column `split`, sorted."""
    return sorted({line.split for line in lines if line.split})


def _lines(path: str, called: str, path_column: str | None, label_column: str | None) -> Iterator[Line]:
    columns: tuple[int, int, int | None] = (0, 1, None)
    is_first = True
    for number, row in _rows(path, called):
        if is_first:
            is_first = False
            named = _header(called, row, path_column, label_column)
            if named is not None:
                columns = named
                continue
        at_path, at_label, at_split = columns
        if len(row) <= max(at_path, at_label) or not row[at_path] or not row[at_label].strip():
            raise DataError(
                "a line without a path or without a label",
                called=f"{called}, line {number}",
                seen=repr(",".join(row))[:100],
                rule="path, label",
            )
        split = row[at_split].strip() if at_split is not None and at_split < len(row) else ""
        yield Line(number, row[at_path], row[at_label].strip(), split)


def _rows(path: str, called: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not empty."""
    number = 0
    try:
        if not os.path.isfile(path):
            raise DataError("there is no such file", called=called, hint="check the path")
        if os.path.getsize(path) > LARGEST:
            raise DataError("too large for a table", called=called, rule=f"at most {LARGEST:,} bytes")
        delimiter = "\t" if path.lower().endswith(".tsv") else ","
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                number = reader.line_num
                if any(field.strip() for field in row):
                    yield number, row
    except UnicodeDecodeError as error:
        raise DataError(
            "not text in UTF-8",
            called=f"{called}, after line {number}",
            seen=f"byte {error.object[error.start]:#04x}",
            hint="save the table as CSV in UTF-8",
        ) from None
    except csv.Error as error:
        raise DataError(
            "not a CSV file",
            called=f"{called}, after line {number}",
            seen=str(error),
            rule='fields between commas; a field with a comma in it between "quotes"',
        ) from None
    except OSError as error:
        raise DataError("the file cannot be read", called=called, seen=error.strerror or "") from None


def _header(
    called: str, row: list[str], path_column: str | None, label_column: str | None
) -> tuple[int, int, int | None] | None:
    """Where path, label and split stand, if the first line names the columns."""
    names = [field.strip().lower() for field in row]

    def place(asked: str | None, usual: tuple[str, ...]) -> int | None:
        wanted = usual if asked is None else (asked.strip().lower(),)
        return next((names.index(name) for name in wanted if name in names), None)

    at_path, at_label = place(path_column, PATHS), place(label_column, LABELS)
    if at_path is not None and at_label is not None:
        return at_path, at_label, place(None, SPLITS)
    for asked, at in ((path_column, at_path), (label_column, at_label)):
        if asked is not None and at is None:
            raise ArgumentError(
                "no such column",
                called=called,
                seen=f"{asked!r}; the first line is {', '.join(row)[:100]!r}",
                rule="the first line names the columns",
            )
    if path_column is not None or label_column is not None:
        raise ArgumentError(
            "which column is the other one?",
            called=called,
            seen=f"path_column={path_column!r}, label_column={label_column!r}, columns {', '.join(row)[:100]!r}",
            rule=f"usual names are {', '.join(PATHS)}; {', '.join(LABELS)}",
        )
    return None
