"""stratified_split: sizes, every class in both parts, the same for a seed; what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.data import digits, stratified_folds, stratified_parts, stratified_split
from minicnn.errors import ArgumentError, DataError


def test_twenty_digits_of_each_class():
    targets = digits().targets
    few, rest = stratified_split(targets, per_class=20, seed=3)
    assert (len(few), len(rest)) == (200, 1597)
    assert np.bincount(targets[few]).tolist() == [20] * 10
    assert np.array_equal(np.sort(np.concatenate([few, rest])), np.arange(1797))
    assert np.array_equal(few, np.sort(few))
    assert few.dtype == rest.dtype == np.int64


def test_a_fraction_of_each_class():
    targets = [0] * 50 + [2] * 30 + [7] * 20
    first, second = stratified_split(targets, 0.8, seed=0)
    assert np.bincount(np.array(targets)[first]).tolist() == [40, 0, 24, 0, 0, 0, 0, 16]
    assert np.array_equal(np.sort(np.concatenate([first, second])), np.arange(100))


@pytest.mark.parametrize("how", [{"per_class": 5}, {"fraction": 0.5}])
def test_the_seed_decides(how):
    targets = np.arange(60) % 3
    first = stratified_split(targets, **how, seed=1)[0]
    assert np.array_equal(first, stratified_split(targets, **how, seed=1)[0])
    assert not np.array_equal(first, stratified_split(targets, **how, seed=2)[0])
    assert not np.array_equal(first, stratified_split(targets, **how, seed=1 + 2**32)[0])


@given(
    counts=st.lists(st.integers(5, 40), min_size=1, max_size=6),
    fraction=st.sampled_from([0.2, 0.5, 0.75, 0.8]),
    seed=st.integers(0, 2**70),
)
@settings(max_examples=40, deadline=None)
def test_every_class_in_both_parts(counts, fraction, seed):
    targets = np.repeat(np.arange(len(counts)), counts)
    first, second = stratified_split(targets, fraction, seed=seed)
    assert not set(first) & set(second)
    assert len(first) + len(second) == len(targets)
    for label, count in enumerate(counts):
        share = (targets[first] == label).sum()
        assert 1 <= share <= count - 1
        assert abs(share - fraction * count) < 2


def refusal(error: type, *args: object, **options: object) -> str:
    with pytest.raises(error) as caught:
        stratified_split(*args, **options)
    return str(caught.value)


def test_a_class_with_one_image():
    text = refusal(DataError, [0, 0, 0, 1], 0.5, classes=["ants", "bees"])
    assert text == (
        "stratified_split: class bees has too few images to be split; seen 1 of 4 images; "
        "rule: two a class, one for each part; hint: add images to the class, or leave the class out"
    )
    assert "class bees has too few images" in refusal(DataError, [0, 0, 1], per_class=1, classes=["ants", "bees"])
    assert "class 1 has too few images" in refusal(DataError, [0, 0, 1], per_class=1)


def test_nothing_left_for_the_second_part():
    text = refusal(DataError, [0] * 20 + [1] * 30, per_class=20)
    assert "class 0 has too few images to be split; seen 20 of 50 images; rule: more than 20 a class" in text


def test_a_class_too_small_for_the_fraction():
    text = refusal(DataError, [0] * 96 + [1] * 2, 0.9)
    assert "class 1 has too few images to be split; seen 2 of 98 images; rule: about 10 a class" in text
    assert "class 0 has too few" in refusal(DataError, [0, 0, 1, 1], 0.01)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "how large is the first part?; seen fraction=None, per_class=None; rule: one of the two"),
        ({"fraction": 0.5, "per_class": 2}, "seen fraction=0.5, per_class=2; rule: one of the two"),
        ({"fraction": 1.0}, "fraction out of range; seen 1.0; rule: 0 < fraction < 1"),
        ({"fraction": "half"}, "fraction is not a finite number; seen fraction='half' (str)"),
        ({"per_class": 0}, "per_class is too small; seen per_class=0 (int)"),
        ({"per_class": 2.5}, "per_class is not an integer; seen per_class=2.5 (float)"),
        ({"fraction": 0.5, "seed": -1}, "seed is too small; seen seed=-1 (int)"),
    ],
)
def test_wrong_arguments(options, text):
    assert text in refusal(ArgumentError, [0, 0, 1, 1], **options)


@pytest.mark.parametrize("targets", [[], [0.5, 1.5], [[0, 1]], ["a", "b"]])
def test_wrong_targets(targets):
    assert re.match(r"stratified_split: targets are not labels; seen shape \(", refusal(DataError, targets, 0.5))


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.6, 0.2, 0.1, 0.1), (0.8, 0.2)])
def test_several_parts(shares):
    targets = np.random.default_rng(0).permutation(np.repeat([0, 1, 4], [100, 60, 40]))
    parts = stratified_parts(targets, shares, seed=5)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(200))
    for part, share in zip(parts, shares, strict=True):
        assert part.dtype == np.int64
        assert np.array_equal(part, np.sort(part))
        assert np.abs(np.bincount(targets[part]) - share * np.array([100, 60, 0, 0, 40])).max() <= 1
    again, other = (stratified_parts(targets, shares, seed=seed) for seed in (5, 6))
    assert all(np.array_equal(x, y) for x, y in zip(parts, again, strict=True))
    assert not np.array_equal(parts[0], other[0])


def test_folds():
    targets = np.random.default_rng(0).permutation(np.repeat([0, 1], [31, 12]))
    folds = stratified_folds(targets, 4, seed=1)
    assert np.array_equal(np.sort(np.concatenate([second for _, second in folds])), np.arange(43))
    for first, second in folds:
        assert np.array_equal(np.sort(np.concatenate([first, second])), np.arange(43))
        assert np.bincount(targets[second])[1] == 3
    assert all(np.array_equal(x[1], y[1]) for x, y in zip(folds, stratified_folds(targets, 4, seed=1), strict=True))
    assert not np.array_equal(folds[0][1], stratified_folds(targets, 4, seed=2)[0][1])


def test_wrong_parts_and_folds():
    for shares in ((1.0,), (0.5, 0.4), (0.5, 0.6, -0.1), ()):
        with pytest.raises(ArgumentError, match="shares that are no parts of a whole"):
            stratified_parts([0, 1], shares)
    with pytest.raises(DataError, match=r"^stratified_folds: class bees has too few .*; rule: at least 3 a class"):
        stratified_folds([0] * 7 + [1] * 2, 3, classes=["ants", "bees"])
    with pytest.raises(ArgumentError, match="folds is too small"):
        stratified_folds([0, 1], 1)
