"""What is behind a sample of any data set: its name, and the bytes of its file."""

from __future__ import annotations

from typing import Any

from minicnn.data.arrays import Subset
from minicnn.data.concat import Concat
from minicnn.data.hdf5_images import HDF5Images
from minicnn.data.image_files import ImageFiles


def origin(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set that a sample is from, through `Subset` and `Concat`, and its number there."""
    while isinstance(dataset, (Subset, Concat)):
        if isinstance(dataset, Subset):
            dataset, index = dataset.dataset, int(dataset.indices[index])
        else:
            dataset, index = dataset.datasets[dataset.source[index]], int(dataset.index[index])
    return dataset, index


def name_of(dataset: Any, index: int) -> str:
    """A name for people: the file's path, or the number in the data set."""
    dataset, index = origin(dataset, index)
    if isinstance(dataset, ImageFiles):
        return dataset.samples[index][0]
    if isinstance(dataset, HDF5Images):
        return f"{dataset.path}: {dataset.split}[{index}]"
    return f"{type(dataset).__name__}[{index}]"


def file_of(dataset: Any, index: int) -> bytes | None:
    """The bytes of a sample's image file, not decoded; None where there are only pixels."""
    dataset, index = origin(dataset, index)
    if isinstance(dataset, ImageFiles) or (isinstance(dataset, HDF5Images) and dataset.is_encoded):
        return dataset.encoded(index)
    return None


def turns(dataset: Any, index: int) -> bool:
    """Whether a sample's data set turns photographs upright."""
    return bool(getattr(origin(dataset, index)[0], "exif", True))


def pixels_of(dataset: Any, index: int) -> Any:
    """The image before any transform: an RGB `PIL.Image`, or an array of an `ArrayDataset`."""
    from minicnn.data.images import decode_image

    data = file_of(dataset, index)
    if data is not None:
        return decode_image(data, name_of(dataset, index), turns(dataset, index))
    dataset, index = origin(dataset, index)
    if isinstance(dataset, HDF5Images):
        return dataset.image(index)
    return dataset.images[index] if hasattr(dataset, "images") else dataset[index][0]
