"""Images from wherever they are: a folder, an HDF5 image set, a CSV file; in parts such as train and val, or not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from minicnn.data.arrays import Subset
from minicnn.data.bad_images import in_threads
from minicnn.data.csv_images import CSVImages
from minicnn.data.csv_table import read_table, splits_in
from minicnn.data.hdf5_arrays import MAGIC
from minicnn.data.hdf5_images import HDF5Images, splits_of
from minicnn.data.image_folder import ImageFolder
from minicnn.data.images import check_image, shown
from minicnn.data.samples import file_of, name_of
from minicnn.errors import DataError

TRAIN = "train"
VALIDATION = ("val", "valid", "validation", "test")  # names of the part to validate on; the first that is there
TABLES = (".csv", ".tsv")


def part_names(path: str | os.PathLike[str]) -> list[str]:
    """The parts that images come in, sorted; [""] where they are all in one.

    Parameters
    ----------
    path : path
        A folder with one sub-folder a class, or with `train` and others (`VALIDATION`) that have these; an HDF5 image
        set (`HDF5Images`); or a CSV file (`CSVImages`), perhaps with a column `split`.
    """
    path = os.path.expanduser(os.fspath(path))
    if _is_table(path):
        return splits_in(read_table(path)) or [""]
    if _is_hdf5(path):
        return splits_of(path)
    if os.path.isfile(path):
        raise DataError(
            "not images that can be opened",
            called=shown(path),
            seen="a file",
            rule=f"a folder, an HDF5 image set, or a table ({', '.join(TABLES)})",
        )
    if not _has_folders(os.path.join(path, TRAIN)):  # `train` may be a class: pictures of trains
        return [""]
    return [TRAIN, *(name for name in VALIDATION if os.path.isdir(os.path.join(path, name)))]


def open_part(
    path: str | os.PathLike[str],
    part: str = "",
    transform: Callable[[Any], Any] | None = None,
    *,
    exif: bool = True,
    skip_bad: bool = False,
    progress: bool | None = None,
) -> Any:
    """One part of the images, as a data set.

    Parameters
    ----------
    path : path
        As in `part_names`.
    part : str
        One of `part_names(path)`.
    transform, exif, skip_bad, progress
        As in `ImageFolder`.

    Returns
    -------
    data set
        With `classes`, `targets` and `skipped`.
    """
    path = os.path.expanduser(os.fspath(path))
    options: dict[str, Any] = {"exif": exif, "skip_bad": skip_bad, "progress": progress}
    if _is_table(path):
        return CSVImages(path, transform, split=part or None, **options)
    if _is_hdf5(path):
        images = HDF5Images(path, part or None, transform, exif=exif)
        return _SoundImages(images, progress) if skip_bad else images
    return ImageFolder(os.path.join(path, part) if part else path, transform, **options)


def skipped(dataset: Any) -> list[tuple[str, str]]:
    """(name, reason) of the images that were left out because they cannot be read."""
    return list(getattr(dataset, "skipped", []))


class _SoundImages(Subset):
    """The images of a set that can be decoded."""

    def __init__(self, images: HDF5Images, progress: bool | None) -> None:
        def reason(index: int) -> str:
            data = file_of(images, index)
            try:
                if data is not None:
                    check_image(data, name_of(images, index))
            except DataError as error:
                return str(error)
            return ""

        reasons = list(in_threads(reason, range(len(images)), "checking the images", progress))
        self.skipped = [(name_of(images, i), text) for i, text in enumerate(reasons) if text]
        super().__init__(images, [i for i, text in enumerate(reasons) if not text])


def _is_table(path: str) -> bool:
    return path.lower().endswith(TABLES) and not os.path.isdir(path)


def _is_hdf5(path: str) -> bool:
    if os.path.isdir(path):
        return False
    if path.lower().endswith((".h5", ".hdf5")):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _has_folders(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.is_dir() for entry in entries)
    except OSError:
        return False
