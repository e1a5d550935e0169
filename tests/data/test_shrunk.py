"""`Shrunk`: each photograph is decoded once, kept no larger than asked, and transformed anew each time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from minicnn.data import ArrayDataset, ImageFolder, Shrunk, Subset, drawing_from, transforms
from minicnn.errors import DataError, MinicnnError


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for name, sizes in {"ants": [(90, 40), (31, 57)], "bees": [(20, 20), (64, 48)]}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, (width, height) in enumerate(sizes):
            pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_no_larger_than_asked_and_never_enlarged(photos):
    folder = ImageFolder(photos, transform=lambda image: 1 / 0)  # its own transform is passed over
    shrunk = Shrunk(Subset(folder, [3, 0, 2, 1]), 24, show=False)
    assert [image.size for image, _ in (shrunk[i] for i in range(4))] == [(32, 24), (54, 24), (20, 20), (24, 44)]
    assert [label for _, label in (shrunk[i] for i in range(4))] == [1, 0, 1, 0] == shrunk.targets.tolist()
    assert shrunk.classes == ["ants", "bees"]
    expected = transforms.Resize(24)(Image.open(photos / "bees" / "1.png"))
    assert np.array_equal(np.asarray(shrunk[0][0]), np.asarray(expected))


def test_decoded_once_or_each_time_with_the_same_result(photos):
    folder = ImageFolder(photos)
    kept, read = Shrunk(folder, 24, show=False), Shrunk(folder, 24, limit=4 * 6 * 24**2 - 1, show=False)
    assert (kept.is_kept, read.is_kept) == (True, False)
    for i in range(4):
        assert np.array_equal(np.asarray(kept[i][0]), np.asarray(read[i][0]))
    (photos / "ants" / "0.png").unlink()
    assert kept[0][0].size == (54, 24)
    with pytest.raises(DataError, match=r"0\.png"):
        read[0]


def test_the_transform_is_random_each_time(photos):
    shrunk = Shrunk(ImageFolder(photos), 24, transforms.RandomResizedCrop(8), show=False)
    with drawing_from(np.random.default_rng(1)):
        first, second = (np.asarray(shrunk[0][0]) for _ in range(2))
    with drawing_from(np.random.default_rng(1)):
        again = np.asarray(shrunk[0][0])
    assert first.shape == (8, 8, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_an_error_names_the_image(photos):
    def fails(image):
        raise MinicnnError("no", called="fails")

    with pytest.raises(MinicnnError, match=r"1\.png: fails: no"):
        Shrunk(ImageFolder(photos), 24, fails, show=False)[1]
    with pytest.raises(MinicnnError, match="short_side"):
        Shrunk(ImageFolder(photos), 0)


def test_pixels_in_memory():
    grey = np.arange(2 * 12 * 16, dtype=np.uint8).reshape(2, 12, 16)
    shrunk = Shrunk(ArrayDataset(grey, [0, 1], ["a", "b"]), 6, show=False)
    assert shrunk[1][0].mode == "RGB"
    assert shrunk[1][0].size == (8, 6)
