"""Concat: classes by name, mappings, where each sample is from."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minicnn.data import ArrayDataset, Concat, DataLoader, Subset, stratified_split
from minicnn.data.transforms import ToTensor
from minicnn.errors import ArgumentError, DataError


def source(labels: list[int], classes: list[str], first: int, transform=None) -> ArrayDataset:
    """Image i is grey, of the value first + i."""
    images = np.arange(first, first + len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    return ArrayDataset(images, np.array(labels), classes, transform)


PHOTOS = source([0, 1, 2, 1], ["ants", "bees", "wasps"], 10)
DRAWINGS = source([1, 0, 2], ["Bee", "ants", "fly"], 50)


def content(dataset: Concat) -> list[tuple[int, str]]:
    return [(int(np.asarray(image)[0, 0]), dataset.classes[label]) for image, label in dataset]


def test_classes_are_one_by_name():
    both = Concat([PHOTOS, DRAWINGS])
    assert both.classes == ["Bee", "ants", "bees", "fly", "wasps"]
    assert content(both) == [
        (10, "ants"), (11, "bees"), (12, "wasps"), (13, "bees"), (50, "ants"), (51, "Bee"), (52, "fly"),
    ]  # fmt: skip
    assert both.source.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert both.index.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert both[-1][1] == 3
    assert repr(both) == "Concat(7 images of 2 sources, 5 classes)"
    with pytest.raises(IndexError):
        both[7]


@pytest.mark.parametrize("mapping", [{"Bee": "bees", "fly": None, "wasps": "bees"}, [{"wasps": "bees"}, {"Bee": "bees", "fly": None}]])  # fmt: skip  # noqa: E501
def test_a_mapping_renames_joins_and_leaves_out(mapping):
    both = Concat([PHOTOS, DRAWINGS], mapping)
    assert both.classes == ["ants", "bees"]
    assert content(both) == [(10, "ants"), (11, "bees"), (12, "bees"), (13, "bees"), (50, "ants"), (51, "bees")]
    assert both.targets.tolist() == [0, 1, 1, 1, 0, 1]
    assert both.source.tolist() == [0] * 4 + [1] * 2


def test_a_name_may_change_its_meaning_in_one_source():
    swapped = Concat([PHOTOS, DRAWINGS], [{}, {"ants": "bees", "Bee": "ants", "fly": None}])
    assert content(swapped)[4:] == [(50, "bees"), (51, "ants")]


def test_the_order_of_classes_can_be_given():
    both = Concat([PHOTOS, DRAWINGS], {"Bee": "bees", "fly": None}, classes=["wasps", "bees", "ants", "moths"])
    assert both.classes[-1] == "moths"
    assert both.targets.tolist() == [2, 1, 0, 1, 2, 1]


def test_splits_and_loaders_take_it():
    both = Concat([PHOTOS, PHOTOS, Concat([DRAWINGS], {"Bee": "bees"})], {"fly": None}, ToTensor())
    first, second = stratified_split(both.targets, 0.5, seed=0)
    loader = DataLoader(Subset(both, first), batch_size=3, num_workers=2)
    assert sum(len(labels) for _, labels in loader) == len(first)
    assert len(first) + len(second) == 10


@pytest.mark.parametrize(
    ("datasets", "mapping", "options", "message"),
    [
        ([], None, {}, "nothing to put together"),
        (
            [PHOTOS, DRAWINGS],
            {"Wasps": None},
            {},
            "names a class that is not there; seen 'Wasps'; rule: one of Bee, ants",
        ),
        ([PHOTOS, DRAWINGS], [{"Bee": "bees"}, {}], {}, "names a class that is not there; seen 'Bee'"),
        ([PHOTOS, DRAWINGS], [{}], {}, "seen 1 mappings, 2 data sets"),
        ([PHOTOS], {"ants": None, "bees": None, "wasps": None}, {}, "no image is left"),
        ([PHOTOS], None, {"classes": ["ants", "bees"]}, "not in classes, or twice: wasps"),
        ([PHOTOS], None, {"classes": ["ants", "bees", "wasps", "ants"]}, "classes do not fit"),
    ],
)
def test_what_is_refused(datasets, mapping, options, message):
    with pytest.raises((ArgumentError, DataError), match=re.escape(message)):
        Concat(datasets, mapping, **options)
