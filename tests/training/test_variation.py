"""Photographs are varied while a network learns from them, and a new head learns first."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import weights
from minicnn.data import ArrayDataset, drawing_from
from minicnn.training import Settings, finetune
from minicnn.training.augmentation import augmentation, variation
from minicnn.weights import WeightsInfo


def test_varied_images_are_as_the_weights_know_images():
    info = WeightsInfo("x", input_size=8, mean=(0.5, 0.25, 0.5), std=(0.5, 0.5, 0.25), channels="BGR", resize=10)
    image = np.full((20, 30, 3), (255, 0, 51), np.uint8)
    varied = augmentation(info)(image)
    plain = info.transforms()(image)
    assert varied.shape == plain.shape == (3, 8, 8)
    assert np.allclose(varied, plain, atol=1e-6)  # of one colour: only channels, scale, mean and deviation count


def test_each_reading_shows_another_part():
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    varied = variation(WeightsInfo("x", input_size=8))(ArrayDataset(images, [0, 1], ["a", "b"]))
    assert varied.short_side == 12
    with drawing_from(np.random.default_rng(0)):
        assert not np.array_equal(varied[0][0], varied[0][0])


@pytest.mark.parametrize("head_first", [False, True])
def test_the_head_learns_first_and_then_what_is_not_frozen(tmp_path, tiny_weights, photos, head_first):
    """With a rate of nearly 0 for the network, what has learned is what learned before."""
    data = photos({"train/ants": 9, "train/bees": 9, "val/ants": 4, "val/bees": 4})
    options = {"data": data, "weights": tiny_weights, "epochs": 6, "lr": 1e-12, "freeze": "until=bn"}
    result = finetune(Settings(**options, head_first=head_first, out=tmp_path / "run"), announce=None)
    state, before = weights.read(result.folder / "model.h5")[0], weights.read(tiny_weights)[0]
    rest = [name for name in state if not name.startswith("top.")]
    assert all(np.allclose(state[name], before[name], atol=1e-6) for name in rest)
    assert all(np.array_equal(state[name], before[name]) for name in rest if name.startswith(("conv.", "bn.")))
    other = finetune(Settings(**options, head_first=False, out=tmp_path / "other"), announce=None)
    head = weights.read(other.folder / "model.h5")[0]["top.weight"]
    assert np.allclose(state["top.weight"], head, atol=1e-6) is not head_first


def test_a_run_says_what_it_did(tmp_path, tiny_weights, photos):
    import tomllib

    data = photos({"ants": 5, "bees": 5})
    options = {"data": data, "weights": tiny_weights, "epochs": 1}
    for name, chosen in {"a": {}, "b": {"augment": False, "head_first": False}}.items():
        result = finetune(Settings(**options, **chosen, out=tmp_path / name), announce=None)
        said = tomllib.loads((result.folder / "run.toml").read_text())
        expected = not chosen
        assert (said["settings"]["augment"], said["settings"]["head_first"]) == (expected, expected)
        assert said["ways"]["fine-tuned"]["head_first"] is expected
