"""Many images in one HDF5 file: `HDF5Images`. The files of a folder of small images take longer to open than to decode.

Two layouts, in a group for each split or right in the root::

    train/jpeg     (bytes,)    uint8      the bytes of all image files (JPEG, PNG, ...), one after the other
    train/offsets  (N + 1,)    integers   image i is jpeg[offsets[i] : offsets[i + 1]]
    train/labels   (N,)        integers   0 .. number of classes - 1

    train/images   (N, H, W, C) or (N, H, W)   uint8, C = 1, 3 or 4
    train/labels   (N,)

The names of the classes are an attribute `classes` of the root. `minicnn data pack` and `write_image_set` write such
files. Where the bytes lie in one piece (they write them so), an image is read from its place when it is wanted, by any
thread or process, and little memory is used; bytes in compressed chunks are unpacked into memory once.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicnn.data.hdf5_arrays import MOST_CLASSES, ArrayFile, open_arrays
from minicnn.data.hdf5_values import StoredArray, damaged, read_at
from minicnn.data.images import decode_image, refuse_bomb, shown
from minicnn.errors import ArgumentError, DataError, MinicnnError

BYTES, OFFSETS, LABELS, IMAGES = "jpeg", "offsets", "labels", "images"  # names of arrays
CLASSES, CHECKSUMS = "classes", "minicnn_sha256"  # names of attributes


class HDF5Images:
    """A data set in one HDF5 file; `dataset[i]` is (transformed image, label).

    Parameters
    ----------
    path : str or path
        The file.
    split : str, optional
        Name of the group ("train"). May be left out where there is only one, or where the arrays stand in the root.
    transform : callable, optional
        From an RGB `PIL.Image` to what the network wants; see `minicnn.data.transforms`.
    classes : sequence of str, optional
        Names of the classes; by default those of the file, or the labels as numbers.
    exif : bool
        As in `read_image`.

    Attributes
    ----------
    classes : list of str
    targets, labels : array (N,) of int64
        Label of each image; read-only.
    path, split : str
        As found; `split` is "" for the root.
    splits : list of str
        All parts of the file.
    is_encoded : bool
        Whether the file holds image files; otherwise pixels.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        *,
        classes: Sequence[str] | None = None,
        exif: bool = True,
    ) -> None:
        self.path = os.path.expanduser(os.fspath(path))
        self.transform = transform
        self.exif = bool(exif)
        self._descriptor: int | None = None
        with open_arrays(self.path) as file:
            self.split, self.splits = _find_split(file, split)
            names = set(file.names(self.split))
            self.is_encoded = BYTES in names
            if self.is_encoded:
                self._stored = file.array(self.split, BYTES, (1,), "u")
                offsets: StoredArray | None = file.array(self.split, OFFSETS, (1,), "iu")
            else:
                self._stored = file.array(self.split, IMAGES, (3, 4), "u")
                offsets = None
            labels = file.array(self.split, LABELS, (1,), "iu")
            checksums = file.texts(CHECKSUMS) or []
            named = file.texts(CLASSES) if classes is None else [str(name) for name in classes]
        self._checksum = dict(line.split(" ", 1) for line in checksums if " " in line).get(
            f"{self.split}/{BYTES if self.is_encoded else IMAGES}"
        )
        descriptor = self._open()
        self.labels = labels.read(descriptor).astype(np.int64)
        self.labels.flags.writeable = False
        self.classes = self._check_labels(labels, named)
        self._offsets = None if offsets is None else self._check_offsets(offsets, offsets.read(descriptor))
        if offsets is None:
            self._check_images()
        # Chunks would be unpacked again for each image. Forked processes share this memory.
        self._in_memory = None if self._stored.place is not None else self._stored.read(descriptor)

    @property
    def targets(self) -> np.ndarray:
        """The labels, under torchvision's name."""
        return self.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        number = range(len(self.labels))[index]  # also from the end; IndexError beyond it
        image, label = self.image(number), int(self.labels[number])
        if self.transform is None:
            return image, label
        try:
            return self.transform(image), label
        except MinicnnError as error:
            error.called = f"{self.path}: {self.split}[{number}]: {error.called}"
            raise

    def __repr__(self) -> str:
        where = f"{self.path!r}, {self.split!r}" if self.split else repr(self.path)
        return f"HDF5Images({where}, {len(self)} images, {len(self.classes)} classes)"

    def encoded(self, index: int) -> bytes:
        """The bytes of the image file `index`, not decoded.

        Raises
        ------
        DataError
            Where the file holds pixels.
        """
        if self._offsets is None:
            raise DataError("pixels, not image files", called=shown(self.path), hint="dataset[i] gives the image")
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        return self._bytes(start, stop - start)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None, "_in_memory": None}  # a worker process opens the file itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._stored.place is None:
            self._in_memory = self._stored.read(self._open())

    def image(self, index: int) -> Any:
        """The image as an RGB `PIL.Image`, not transformed."""
        if self._offsets is not None:
            return decode_image(self.encoded(index), f"{self.path}: {self.split}[{index}]", self.exif)
        from PIL import Image

        shape = self._stored.shape[1:]
        size = int(np.prod(shape))
        pixels = np.frombuffer(self._bytes(index * size, size), np.uint8).reshape(shape)
        return Image.fromarray(pixels[:, :, 0] if shape[-1] == 1 and len(shape) == 3 else pixels).convert("RGB")

    def verify(self) -> bool:
        """Compare the images with the checksum (SHA-256) that `write_image_set` noted; False where there is none.

        Raises
        ------
        DataError
            Where they differ.
        """
        if self._checksum is None:
            return False
        digest = hashlib.sha256()
        for start in range(0, self._stored.size, 2**24):
            digest.update(self._bytes(start, min(2**24, self._stored.size - start)))
        if digest.hexdigest() != self._checksum:
            raise damaged(self._stored.called, "values that do not match their SHA-256 checksum")
        return True

    # ---- where the bytes are ----------------------------------------------------------------------------------------

    def _bytes(self, start: int, count: int) -> bytes:
        if self._in_memory is not None:
            return self._in_memory.reshape(-1)[start : start + count].tobytes()
        assert self._stored.place is not None
        return read_at(self._open(), self._stored.place + start, count, self._stored.called)

    def _open(self) -> int:
        """The file, opened once a process that unpickled this data set; reading by place needs no lock."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except OSError as error:
                raise DataError("the file cannot be read", called=shown(self.path), seen=str(error.strerror)) from None
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    # ---- what is in the file ----------------------------------------------------------------------------------------

    def _check_labels(self, stored: StoredArray, named: list[str] | None) -> list[str]:
        low, high = int(self.labels.min()), int(self.labels.max())
        classes = [str(i) for i in range(min(high, MOST_CLASSES) + 1)] if named is None else named
        if low < 0 or high >= len(classes):
            raise DataError(
                "a label without a class",
                called=stored.called,
                seen=f"labels {low} .. {high}, {len(classes)} classes",
                rule="0 <= label < number of classes",
            )
        return classes

    def _check_offsets(self, stored: StoredArray, offsets: np.ndarray) -> np.ndarray:
        if len(offsets) != len(self.labels) + 1:
            raise DataError(
                "labels and offsets do not fit",
                called=stored.called,
                seen=f"{len(self.labels):,} labels, {len(offsets):,} offsets",
                rule="N labels, N + 1 offsets",
            )
        rising = bool((offsets[1:] > offsets[:-1]).all())
        if not rising or offsets[0] < 0 or offsets[-1] > self._stored.shape[0]:
            raise DataError(
                "offsets that are no places of images",
                called=stored.called,
                seen=f"{int(offsets[0]):,} .. {int(offsets[-1]):,}, {'' if rising else 'not '}rising",
                rule=f"each larger than the one before, within 0 .. {self._stored.shape[0]:,}",
            )
        return offsets.astype(np.int64)

    def _check_images(self) -> None:
        shape = self._stored.shape
        channels = shape[3] if len(shape) == 4 else 1
        if shape[0] != len(self.labels) or channels not in (1, 3, 4):
            raise DataError(
                "labels and images do not fit, or images of an unknown kind",
                called=self._stored.called,
                seen=f"images {shape}, {len(self.labels):,} labels",
                rule="(N, H, W) or (N, H, W, C) with 1, 3 or 4 channels, N labels",
            )
        refuse_bomb(self._stored.called, (shape[2], shape[1]))


def splits_of(path: str | os.PathLike[str]) -> list[str]:
    """Names of the groups of an HDF5 file that hold images; "" is the root."""
    with open_arrays(os.path.expanduser(os.fspath(path))) as file:
        return _splits(file)


def _splits(file: ArrayFile) -> list[str]:
    in_root = file.names()
    groups = [name for name in in_root if file.is_group(name) and LABELS in file.names(name)]
    groups = ["", *groups] if LABELS in in_root else groups
    if not groups:
        raise DataError(
            "no images",
            called=shown(file.called),
            seen=f"an HDF5 file with {', '.join(map(shown, in_root[:5])) or 'nothing in it'}",
            rule=f"a group with {BYTES}, {OFFSETS}, {LABELS}; or with {IMAGES}, {LABELS}",
            hint="`minicnn data pack` writes such files",
        )
    return groups


def _find_split(file: ArrayFile, split: str | None) -> tuple[str, list[str]]:
    """The group that holds the images, and all such groups; "" is the root."""
    groups = _splits(file)
    if split in groups:
        return split, groups
    if split is None and (groups[:1] == [""] or len(groups) == 1):
        return groups[0], groups
    raise ArgumentError(
        "which part of the file?" if split is None else "no such part in the file",
        called=f"HDF5Images {shown(file.called)}",
        seen=f"split={split!r}",
        rule=f"one of {', '.join(shown(name) for name in groups[:10] if name) or 'none: leave it out'}",
    )
