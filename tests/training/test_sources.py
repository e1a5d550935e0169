from __future__ import annotations

import numpy as np
import pytest

from minicnn.data import ArrayDataset, ImageFolder, transforms, write_image_set
from minicnn.errors import DataError, MinicnnError
from minicnn.training import sources

SMALL = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
GREY = transforms.Compose([transforms.Grayscale(3), transforms.Resize((8, 8)), transforms.ToTensor()])


def load(folder, seed=0):
    return sources.load(folder, SMALL, None, seed)


def test_digits():
    source = sources.load(None, GREY, 20, 3)
    assert (source.name, len(source.train), len(source.validation)) == ("digits", 200, 1597)
    assert np.bincount(source.train.targets).tolist() == [20] * 10
    assert source.classes == [str(i) for i in range(10)]
    assert source.train[0][0].shape == (3, 8, 8)
    again, other = sources.load(None, GREY, 20, 3), sources.load(None, GREY, 20, 4)
    assert np.array_equal(source.train.images, again.train.images)
    assert not np.array_equal(source.train.images, other.train.images)
    both = np.concatenate([source.train.images, source.validation.images])
    whole = sources.load(None, GREY, 1, 0)
    assert both.sum() == pytest.approx(np.concatenate([whole.train.images, whole.validation.images]).sum())


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_two_parts(photos, name):
    root = photos({"train/ants": 3, "train/bees": 2, f"{name}/ants": 1, f"{name}/bees": 4})
    source = load(root)
    assert source.classes == ["ants", "bees"]
    assert source.train.targets.tolist() == [0, 0, 0, 1, 1]
    assert source.validation.targets.tolist() == [0, 1, 1, 1, 1]
    assert source.parts == f"the folders train and {name}"
    folder = ImageFolder(root / "train", SMALL)
    for i in range(5):
        assert np.array_equal(source.train[i][0], folder[i][0])


def test_val_goes_before_test(photos):
    root = photos({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "test/a": 3, "test/b": 3})
    assert len(load(root).validation) == 2


def test_a_seeded_split(photos):
    root = photos({"ants": 10, "bees": 5})
    source = load(root)
    assert (source.name, source.classes) == ("photos", ["ants", "bees"])
    assert np.bincount(source.train.targets).tolist() == [8, 4]
    assert np.bincount(source.validation.targets).tolist() == [2, 1]
    assert np.array_equal(load(root).validation.images, source.validation.images)
    assert any(not np.array_equal(load(root, seed).validation.images, source.validation.images) for seed in (1, 2))


def test_train_without_validation_is_split(photos):
    source = load(photos({"train/ants": 5, "train/bees": 5}))
    assert source.classes == ["ants", "bees"]
    assert (len(source.train), len(source.validation)) == (8, 2)


def test_train_may_be_a_class(photos):
    assert load(photos({"car": 5, "train": 5})).classes == ["car", "train"]


def test_what_does_not_fit_into_memory_is_read_again_and_again(photos, monkeypatch):
    root = photos({"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1})
    kept = load(root)
    monkeypatch.setattr(sources, "IN_MEMORY", 4 * 3 * 3 * 8 * 8)
    source = load(root)
    assert isinstance(source.train, ImageFolder)
    assert isinstance(source.validation, ArrayDataset)
    assert (sources.readers(source.train), sources.readers(source.validation)) == (2, 0)
    assert np.array_equal(source.train[2][0], kept.train[2][0])


def test_bad_folders(photos, tmp_path):
    def refused(folder, *parts):
        with pytest.raises(MinicnnError) as caught:
            load(folder)
        text = str(caught.value)
        assert "\n" not in text
        for part in parts:
            assert part in text

    refused(tmp_path / "nowhere", "nowhere", "the folder cannot be read", "check the path")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no class folders")
    refused(photos({"ants": 5}, "one"), "only one class; seen ants; rule: at least two")
    refused(
        photos({"ants": 5, "bees": 1}, "few"), "few: stratified_split: class bees has too few", "seen 1 of 6 images"
    )
    refused(photos({"train/a": 2, "train/b": 2, "val/a": 1, "val/c": 1}, "other"), "different classes", "them: b, c")
    broken = photos({"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1}, "broken")
    (broken / "val" / "b" / "0.png").write_bytes(b"no image at all")
    refused(broken, "val/b/0.png", "not an image that can be read")
    file = tmp_path / "file"
    file.write_text("x")
    refused(file, "file: not images that can be opened; seen a file; rule: a folder, an HDF5")


def test_more_digits_than_there_are():
    with pytest.raises(DataError, match="class 8 has too few images to be split; seen 174 of 1797 images"):
        sources.load(None, GREY, 174, 0)


def test_an_image_set_and_a_table(photos, tmp_path):
    root = photos({"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 2})
    expected = load(root)
    write_image_set(tmp_path / "set.h5", {part: ImageFolder(root / part) for part in ("train", "val")})
    lines = [f"{path.relative_to(root)},{path.parts[-2]},{path.parts[-3]}" for path in sorted(root.glob("*/*/*"))]
    (root / "table.csv").write_text("\n".join(["path,label,split", *lines]))
    for path, name in ((tmp_path / "set.h5", "set"), (root / "table.csv", "table")):
        source = load(path)
        assert (source.name, source.parts, source.classes) == (name, "the parts train and val", ["a", "b"])
        assert np.array_equal(source.train.images, expected.train.images)
        assert np.array_equal(source.validation.images, expected.validation.images)
    write_image_set(tmp_path / "whole.h5", ImageFolder(photos({"a": 10, "b": 5}, "whole")))
    whole, folder = load(tmp_path / "whole.h5"), load(root.parent / "whole")
    assert np.array_equal(whole.validation.images, folder.validation.images)
    write_image_set(tmp_path / "odd.h5", {part: ImageFolder(root / "train") for part in ("one", "two")})
    with pytest.raises(DataError, match="which part is there to train on"):
        load(tmp_path / "odd.h5")


def test_bad_images_are_counted(photos):
    root = photos({"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 2})
    for name in ("train/a/bad.png", "val/b/bad.png"):
        (root / name).write_bytes(b"")
    source = sources.load(root, SMALL, None, 0, skip_bad=True)
    assert (len(source.train), len(source.validation), len(source.skipped)) == (6, 3, 2)
    with pytest.raises(DataError, match=r"train/a/bad\.png: not an image"):
        load(root)
