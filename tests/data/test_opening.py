"""part_names and open_part: folders, HDF5 image sets and CSV files are opened in one way."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from minicnn.data import open_part, part_names, write_image_set
from minicnn.data.opening import skipped
from minicnn.errors import DataError, MinicnnError


@pytest.fixture
def photos(tmp_path):
    """Two parts with two classes, and the same as a table."""
    root, lines = tmp_path / "photos", ["path,label,split"]
    for i, name in enumerate(("train/a/0", "train/a/1", "train/b/0", "val/a/0", "val/b/0")):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (i, 2 * i, 3 * i)).save(path)
        lines.append(f"{name}.png,{name.split('/')[1]},{name.split('/')[0]}")
    (root / "table.csv").write_text("\n".join(lines))
    return root


def content(dataset) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), label) for image, label in dataset]


def test_three_forms_of_the_same_images(photos, tmp_path):
    names = part_names(photos)
    assert names == ["train", "val"]
    write_image_set(tmp_path / "set.h5", {name: open_part(photos, name) for name in names})
    for path in (tmp_path / "set.h5", photos / "table.csv"):
        assert part_names(path) == names
        for name in names:
            assert content(open_part(path, name)) == content(open_part(photos, name))
            assert open_part(path, name).classes == ["a", "b"]


def test_images_without_parts(photos, tmp_path):
    assert part_names(photos / "train") == [""]
    assert len(open_part(photos / "train")) == 3
    write_image_set(tmp_path / "set.hdf5", open_part(photos / "train"))
    (tmp_path / "set.hdf5").rename(tmp_path / "set")  # its content says what it is
    assert part_names(tmp_path / "set") == [""]
    assert content(open_part(tmp_path / "set")) == content(open_part(photos / "train"))
    (photos / "train" / "t.csv").write_text("a/0.png,a\nb/0.png,b\n")
    assert part_names(photos / "train" / "t.csv") == [""]
    assert len(open_part(photos / "train" / "t.csv")) == 2


def test_bad_images_are_left_out_of_all_forms(photos, tmp_path):
    write_image_set(tmp_path / "set.h5", {"train": open_part(photos, "train")})
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        file["train/jpeg"][int(file["train/offsets"][1]) + 1] = 0
    (photos / "train" / "a" / "1.png").write_bytes(b"")
    for path in (photos, tmp_path / "set.h5", photos / "table.csv"):
        images = open_part(path, "train", skip_bad=True)
        assert np.asarray(images.targets).tolist() == [0, 1]
        assert len(content(images)) == 2
        assert [name.endswith(("a/1.png", "train[1]")) for name, _ in skipped(images)] == [True]
        with pytest.raises(DataError, match="not an image that can be read"):
            content(open_part(path, "train"))


def test_what_cannot_be_opened(photos, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path, message in (
        (tmp_path / "notes.txt", "not images that can be opened; seen a file"),
        (tmp_path / "gone.h5", "there is no such file"),
        (tmp_path / "gone.csv", "there is no such file"),
    ):
        with pytest.raises(MinicnnError, match=message):
            part_names(path)
    with pytest.raises(MinicnnError, match="the folder cannot be read"):
        open_part(tmp_path / "gone")
