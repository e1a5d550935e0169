"""inspect: counts, sizes, mean and deviation, duplicates, leaks, broken files; what is a near-duplicate."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from compare import assert_close
from PIL import Image, ImageEnhance

from minicnn.data import ArrayDataset, ImageFolder
from minicnn.data.duplicates import Fingerprint, near_pairs
from minicnn.data.inspection import inspect

HYMENOPTERA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hymenoptera_160"
needs_photographs = pytest.mark.skipif(not HYMENOPTERA.is_dir(), reason="../shared/data/hymenoptera_160 is not here")


def scene(seed: int, size: tuple[int, int] = (60, 48)) -> Image.Image:
    """Smooth blobs: a picture with something in it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def parts(tmp_path):
    """Ten images in two parts, with one of each thing that can be wrong."""
    files = {
        "train/a/0.png": scene(0),
        "train/a/1.jpg": scene(1),
        "train/a/copy.bmp": scene(0),  # the same pixels in another format
        "train/b/0.png": scene(2),
        "train/b/1.png": scene(3, (20, 31)),
        "train/b/same.png": scene(0),  # of another class
        "val/a/0.png": scene(4),
        "val/a/leak.jpg": scene(2).resize((90, 70)),  # looks like one to train on
        "val/b/0.png": scene(5).convert("L"),
    }
    for name, image in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / name, quality=60)
    (tmp_path / "val" / "b" / "torn.png").write_bytes((tmp_path / "val" / "b" / "0.png").read_bytes()[:90])
    return {part: ImageFolder(tmp_path / part) for part in ("train", "val")}


def short(names: object, root: Path) -> object:
    return json.loads(json.dumps(names).replace(f"{root}/", ""))


def test_everything_is_found(parts, tmp_path):
    found = inspect(parts)
    assert found.images == {"train": {"a": 3, "b": 3}, "val": {"a": 2, "b": 2}}
    assert short([name for name, _ in found.broken], tmp_path) == ["val/b/torn.png"]
    assert found.sizes == {"width": [20, 60, 90], "height": [31, 48, 70]}
    assert found.kinds == {"PNG RGB": 5, "JPEG RGB": 2, "BMP RGB": 1, "PNG L": 1}
    assert short(found.tiny, tmp_path) == ["train/b/1.png"]
    assert short(found.duplicates, tmp_path) == [["train/a/0.png", "train/a/copy.bmp", "train/b/same.png"]]
    assert short(found.near_duplicates, tmp_path)[0][:2] == ["train/b/0.png", "val/a/leak.jpg"]
    assert len(found.near_duplicates) == 1
    assert short(found.leaks, tmp_path) == [["train/b/0.png", "val/a/leak.jpg"]]
    assert short(found.conflicts, tmp_path) == [
        ["train/a/0.png", "train/b/same.png"],
        ["train/b/0.png", "val/a/leak.jpg"],
    ]
    assert not found.is_sound
    assert json.loads(json.dumps(found.as_dict()))["is_sound"] is False
    text = str(found)
    for part in (
        "train: 6 images, 2 classes, 3 to 3 a class",
        "LEAKS: 1",
        "broken files: 1",
        "groups of duplicates: 1",
    ):
        assert part in text
    assert inspect(parts, near=False).near_duplicates == []


def test_mean_and_deviation():
    images = np.random.default_rng(0).integers(0, 200, (7, 9, 11, 3), dtype=np.uint8)
    found = inspect(ArrayDataset(images, np.arange(7) % 2, ["a", "b"]))
    assert_close(np.array(found.mean), images.mean(axis=(0, 1, 2)) / 255)
    assert_close(np.array(found.std), images.std(axis=(0, 1, 2)) / 255)
    assert found.is_sound
    assert found.kinds == {"pixels": 7}


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


CHANGES = {
    "compressed": lambda image: as_jpeg(image, 30),
    "smaller": lambda image: image.resize((64, 64)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


@needs_photographs
def test_copies_of_photographs_are_near_and_photographs_are_not():
    photographs = [image for image, _ in ImageFolder(HYMENOPTERA / "val")]
    prints = [Fingerprint.of(image, bytes([i, 0])) for i, image in enumerate(photographs)]
    assert near_pairs(prints) == []
    for name, change in CHANGES.items():
        some = range(0, len(prints), 5)
        copies = [Fingerprint.of(change(photographs[i]), bytes([i, 1])) for i in some]
        pairs = near_pairs(prints + copies)
        right = {(i, len(prints) + j) for j, i in enumerate(some)}
        assert {(a, b) for a, b, _ in pairs} <= right, name
        assert len(pairs) >= 0.9 * len(right), name


def test_images_with_nothing_in_them_are_not_near():
    flat = [Image.new("RGB", (40, 40), (i, i, i)) for i in range(0, 250, 25)]
    assert near_pairs([Fingerprint.of(image, bytes([i])) for i, image in enumerate(flat)]) == []
    assert near_pairs([]) == []
