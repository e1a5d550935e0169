"""Writing image sets that `HDF5Images` reads: `write_image_set`."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from minicnn.data.bad_images import in_threads
from minicnn.data.checks import integer
from minicnn.data.hdf5_images import BYTES, CHECKSUMS, CLASSES, IMAGES, LABELS, OFFSETS
from minicnn.data.images import check_image
from minicnn.data.samples import file_of, name_of, pixels_of
from minicnn.errors import ArgumentError, DataError, MissingPackageError
from minicnn.files import cannot_write, replacing

FORMAT, VERSION = "minicnn-images", 1
LAYOUTS = ("files", "pixels")
_PART = re.compile(r"[A-Za-z0-9_-]{1,50}")


def write_image_set(
    path: str | os.PathLike[str],
    parts: Any,
    *,
    size: int | None = None,
    quality: int = 95,
    layout: str = "files",
    progress: bool | None = None,
) -> None:
    """Put the images of data sets into one HDF5 file. Nothing of it is compressed, so that it is read in place.

    Parameters
    ----------
    path : path
        The new file; one that is there is replaced when the new one is whole.
    parts : data set, or dict of data sets
        {"train": dataset, "val": dataset}: one group each, with the same classes; one data set goes to the root.
        Transforms of the data sets are not applied.
    size : int, optional
        Length of the short side; larger images are shrunk to it and saved as JPEG, all others stay as they are.
    quality : int
        1 to 100, of the JPEG files that this makes.
    layout : str
        "files": image files stay what they are, byte for byte; images without a file become PNG files. "pixels": one
        array of uint8; all images must be of one size.
    progress : bool, optional
        None: a bar only if stderr is a terminal, and after two seconds.

    Raises
    ------
    DataError
        For an image that cannot be read: no file is written then. `ImageFolder(..., skip_bad=True)` leaves it out.
    """
    try:
        import h5py
    except ImportError:
        raise MissingPackageError("h5py is not installed", called="write_image_set", hint="pip install h5py") from None
    parts = dict(parts) if isinstance(parts, Mapping) else {"": parts}
    classes = _check(parts, layout)
    shrink = _Shrink(None if size is None else integer("write_image_set", "size", size, 1), quality)
    try:
        with replacing(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
            file.attrs["format"], file.attrs["version"] = np.bytes_(FORMAT), VERSION
            file.attrs[CLASSES] = _texts(classes)
            checksums = []
            for name, dataset in parts.items():
                group = file.create_group(name) if name else file
                group.create_dataset(LABELS, data=np.asarray(dataset.targets, np.int64))
                write = _write_files if layout == "files" else _write_pixels
                with tempfile.TemporaryFile(dir=os.path.dirname(temporary) or ".") as spool:
                    stored, checksum = write(group, dataset, shrink, spool, progress)
                checksums.append(f"{name}/{stored} {checksum}")
            file.attrs[CHECKSUMS] = _texts(checksums)
    except (OSError, RuntimeError) as error:  # HDF5 on a full disk
        raise cannot_write(path, error if isinstance(error, OSError) else OSError(str(error))) from None


def _texts(texts: list[str]) -> np.ndarray:
    """UTF-8, all of the length of the longest: they stand in the attribute itself, and need no heap."""
    return np.array([text.encode() for text in texts], np.bytes_)


class _Shrink:
    """Makes large images smaller, where that is wanted."""

    def __init__(self, size: int | None, quality: int) -> None:
        self.size, self.quality = size, integer("write_image_set", "quality", quality, 1)
        if self.quality > 100:
            raise ArgumentError("quality out of range", called="write_image_set", seen=str(quality), rule="1 .. 100")

    def pixels(self, dataset: Any, index: int) -> Any:
        """The image, and whether it is smaller than before."""
        from minicnn.data.transforms import Resize
        from minicnn.data.transforms.compose import as_image

        image = as_image("write_image_set", pixels_of(dataset, index))
        if self.size is not None and min(image.size) > self.size:
            return Resize(self.size)(image), True
        return image, False

    def file(self, dataset: Any, index: int) -> bytes:
        """The bytes of an image file."""
        data = file_of(dataset, index)
        if self.size is None and data is not None:
            check_image(data, name_of(dataset, index))
            return data
        image, is_smaller = self.pixels(dataset, index)
        if data is not None and not is_smaller:
            return data
        buffer = io.BytesIO()
        if is_smaller:
            image.save(buffer, "JPEG", quality=self.quality, subsampling=0)
        else:
            image.save(buffer, "PNG")
        return buffer.getvalue()


def _write_files(group: Any, dataset: Any, shrink: _Shrink, spool: IO[bytes], progress: bool | None) -> tuple[str, str]:
    """By way of a temporary file: the length of an array that lies in one piece must be known before it is made."""
    offsets = [0]
    for data in in_threads(lambda i: shrink.file(dataset, i), range(len(dataset)), "reading the images", progress):
        spool.write(data)
        offsets.append(offsets[-1] + len(data))
    group.create_dataset(OFFSETS, data=np.array(offsets, np.int64))
    return BYTES, _copy(spool, group.create_dataset(BYTES, (offsets[-1],), np.uint8))


def _write_pixels(
    group: Any, dataset: Any, shrink: _Shrink, spool: IO[bytes], progress: bool | None
) -> tuple[str, str]:
    shape: tuple[int, ...] = ()

    def pixels(i: int) -> np.ndarray:
        return np.asarray(shrink.pixels(dataset, i)[0])

    for i, image in enumerate(in_threads(pixels, range(len(dataset)), "reading the images", progress)):
        shape = shape or image.shape
        if image.shape != shape:
            raise DataError(
                "images of different sizes",
                called=f"write_image_set: {name_of(dataset, i)}",
                seen=f"{image.shape}, the first one {shape}",
                rule="with layout='pixels' all images are of one size",
                hint="layout='files'",
            )
        spool.write(image.tobytes())
    return IMAGES, _copy(spool, group.create_dataset(IMAGES, (len(dataset), *shape), np.uint8))


def _copy(spool: IO[bytes], target: Any) -> str:
    """From the temporary file into the array; the SHA-256 of the values."""
    row = int(np.prod(target.shape[1:]))
    rows = max(2**24 // row, 1)
    digest = hashlib.sha256()
    spool.seek(0)
    for start in range(0, target.shape[0], rows):
        data = spool.read(rows * row)
        digest.update(data)
        values = np.frombuffer(data, np.uint8).reshape(-1, *target.shape[1:])
        target[start : start + len(values)] = values
    return digest.hexdigest()


def _check(parts: dict[str, Any], layout: str) -> list[str]:
    """Raise unless the parts can stand in one file; their classes."""
    called = "write_image_set"
    if layout not in LAYOUTS:
        raise ArgumentError("unknown layout", called=called, seen=repr(layout), rule=f"one of {', '.join(LAYOUTS)}")
    if not parts or not all(len(dataset) for dataset in parts.values()):
        raise DataError("no images", called=called, rule="at least one image in each part")
    for name in parts:
        if (name or len(parts) > 1) and not _PART.fullmatch(name):
            raise ArgumentError(
                "not a name of a part",
                called=called,
                seen=repr(name),
                rule="letters, digits, - and _; for instance train",
            )
    classes = [list(dataset.classes) for dataset in parts.values()]
    if any(names != classes[0] for names in classes):
        raise DataError("parts with different classes", called=called, seen=f"{classes}"[:200])
    return classes[0]
