"""A network of a few hundred parameters, weights for it, and images that it can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_network import Tiny

import minicnn
from minicnn import models, weights
from minicnn.data import ArrayDataset
from minicnn.weights import WeightsInfo


@pytest.fixture
def tiny() -> Callable[..., Tiny]:
    """`tiny(classes=3, seed=0)` builds the network."""

    def build(classes: int = 3, seed: int = 0) -> Tiny:
        minicnn.manual_seed(seed)
        return Tiny(classes)

    return build


@pytest.fixture
def tiny_weights(tmp_path: Path, tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights file for the network, which is an architecture of `minicnn.models` during the test."""
    monkeypatch.setitem(models.MODELS, "tiny", Tiny)
    info = WeightsInfo(
        architecture="tiny",
        arguments={"num_classes": 3, "width": 4},
        classes=["circle", "square", "star"],
        input_size=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        trained_on="shapes",
        accuracy=0.5,
        licence="MIT",
    )
    path = tmp_path / "tiny-shapes.h5"
    weights.save(path, tiny(3, seed=7).state_dict(), info)
    return path


@pytest.fixture
def stripes() -> Callable[..., ArrayDataset]:
    """`stripes(count, classes=3, seed=0)`: noise with one bright channel, which is the class; easy to learn."""

    def build(count: int, classes: int = 3, seed: int = 0) -> ArrayDataset:
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % classes
        images = rng.normal(0, 0.5, (count, 3, 8, 8)).astype(np.float32)
        images[np.arange(count), labels % 3] += 1
        return ArrayDataset(images, labels, ["red", "green", "blue"][:classes])

    return build


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """`photos({"train/ants": 5, ...})`: a folder of PNG pictures; a class has its colour."""
    from PIL import Image

    def build(counts: dict[str, int], name: str = "photos") -> Path:
        root = tmp_path / name
        root.mkdir()
        rng = np.random.default_rng(0)
        colours = {key: i for i, key in enumerate(sorted({Path(key).name for key in counts}))}
        for key, count in counts.items():
            folder = root / key
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 100, (12, 10, 3), dtype=np.uint8)
                pixels[:, :, colours[folder.name] % 3] += 150
                Image.fromarray(pixels).save(folder / f"{i}.png")
        return root

    return build


@pytest.fixture
def narrow_weights(tmp_path: Path) -> Path:
    """A weights file for a ResNet-18 of width 4, which other processes know too."""
    minicnn.manual_seed(0)
    arguments = {"num_classes": 3, "width": 4, "stem": "small"}
    info = WeightsInfo("resnet18", arguments, ["a", "b", "c"], 16, (0.5,) * 3, (0.25,) * 3)
    path = tmp_path / "narrow.h5"
    weights.save(path, models.resnet18(**arguments).state_dict(), info)
    return path
