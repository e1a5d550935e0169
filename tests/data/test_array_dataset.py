"""ArrayDataset, Subset and the light import."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from minicnn.data import ArrayDataset, Subset
from minicnn.data.transforms import ToTensor
from minicnn.errors import DataError, DTypeError, ShapeError

IMAGES = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
LABELS = [1, 0, 1, 2]
CLASSES = ["a", "b", "c"]


def test_items():
    dataset = ArrayDataset(IMAGES, LABELS, CLASSES)
    image, label = dataset[2]
    assert np.array_equal(image, IMAGES[2])
    assert label == 1
    assert type(label) is int
    assert len(dataset) == 4
    assert dataset.classes == CLASSES
    assert dataset.targets.dtype == np.int64
    assert [label for _, label in dataset] == LABELS
    assert repr(dataset) == "ArrayDataset(4 images (2, 3) uint8, 3 classes)"


def test_transform():
    image, _ = ArrayDataset(IMAGES, LABELS, CLASSES, ToTensor())[3]
    assert image.shape == (1, 2, 3)
    assert image[0, 1, 2] == np.float32(23 / 255)


def test_floats_are_given_as_they_are():
    x = np.random.default_rng(0).normal(size=(3, 1, 2, 2))
    image, _ = ArrayDataset(x, [0, 1, 0], ["a", "b"])[1]
    assert image.dtype == np.float64
    assert np.array_equal(image, x[1])


def test_a_transform_cannot_spoil_the_data():
    images = IMAGES.copy()

    def spoil(image):
        image[:] = 0
        return image

    with pytest.raises(ValueError, match="read-only"):
        ArrayDataset(images, LABELS, CLASSES, spoil)[0]
    assert np.array_equal(images, IMAGES)
    assert images.flags.writeable  # the caller's own array stays the caller's


@pytest.mark.parametrize(
    ("images", "labels", "error", "text"),
    [
        (IMAGES, [0, 1], ShapeError, "ArrayDataset: images and labels do not fit; seen images (4, 2, 3), labels (2,)"),
        (IMAGES, [[0]] * 4, ShapeError, "seen images (4, 2, 3), labels (4, 1); rule: images (N, ...), labels (N,)"),
        (IMAGES.astype(int), LABELS, DTypeError, "images have a dtype that is not known; seen images int64"),
        (np.array([None] * 4), LABELS, DTypeError, "seen images object"),
        (IMAGES[:0], [], DataError, "ArrayDataset: no images; seen images (0, 2, 3)"),
        (IMAGES, [0.0, 1, 1, 2], DTypeError, "ArrayDataset: labels are not integers; seen labels float64"),
        (IMAGES, [0, 1, 1, 3], DataError, "a label without a class; seen labels 0 .. 3, 3 classes"),
        (IMAGES, [0, -1, 1, 2], DataError, "a label without a class; seen labels -1 .. 2, 3 classes"),
    ],
)
def test_wrong_arrays(images, labels, error, text):
    with pytest.raises(error, match=re.escape(text)):
        ArrayDataset(images, labels, CLASSES)


def test_subset():
    dataset = ArrayDataset(IMAGES, LABELS, CLASSES)
    part = Subset(dataset, [3, 0])
    assert len(part) == 2
    assert [label for _, label in part] == [2, 1]
    assert np.array_equal(part[0][0], IMAGES[3])
    assert part.classes == CLASSES
    assert part.targets.tolist() == [2, 1]
    assert Subset(part, np.array([1])).targets.tolist() == [1]
    assert repr(part) == f"Subset(2 of {dataset!r})"


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([], "Subset: indices that select nothing; seen shape (0,)"),
        ([0, 4], "Subset: an index out of range; seen indices 0 .. 4, 4 samples"),
        ([-1], "seen indices -1 .. -1, 4 samples; rule: 0 <= index < number of samples"),
        ([True, False, True, True], "Subset: not a list of indices; seen shape (4,), bool"),
        ([0.5], "Subset: not a list of indices; seen shape (1,), float64"),
        ([[1, 2]], "Subset: not a list of indices; seen shape (1, 2)"),
    ],
)
def test_wrong_indices(indices, text):
    with pytest.raises(DataError, match=re.escape(text)):
        Subset(ArrayDataset(IMAGES, LABELS, CLASSES), indices)


def test_the_import_is_light():
    heavy = ("PIL", "sklearn", "matplotlib", "pooch", "scipy", "h5py")
    code = f"import sys, minicnn.data; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
