"""ImageFolder: the same files, order and labels as torchvision's; links; folders that cannot be used."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn.data import ImageFolder
from minicnn.data.transforms import Compose, RandomCrop, ToTensor
from minicnn.errors import DataError

HYMENOPTERA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hymenoptera_160"
needs_photographs = pytest.mark.skipif(not HYMENOPTERA.is_dir(), reason="../shared/data/hymenoptera_160 is not here")


def save(path: Path, size: tuple[int, int] = (6, 4), colour: object = (10, 20, 30)) -> Path:
    """An RGB image of one colour; the suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, format="PNG" if path.suffix.lower() not in (".jpeg", ".jpg") else "JPEG")
    return path


def names(folder: ImageFolder) -> list[str]:
    """The samples, relative to the root."""
    return [os.path.relpath(path, folder.root) for path, _ in folder.samples]


def torchvisions_rule(root: Path) -> list[tuple[str, int]]:
    """The rule as torchvision states it, links followed."""
    extensions = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    return [
        (os.path.join(folder, name), label)
        for label, class_name in enumerate(classes)
        for folder, _, files in sorted(os.walk(os.path.join(root, class_name), followlinks=True))
        for name in sorted(files)
        if name.lower().endswith(extensions)
    ]


@pytest.fixture
def root(tmp_path):
    """Two classes with odd files among the images."""
    root = tmp_path / "photos"
    for name in ("z.png", "b.JPEG", "a.jpg", ".hidden.png", "sub/y.png", "sub-1/x.png", "sub/deep/w.TIF", "c.webp"):
        save(root / "cats" / name)
    save(root / "Dogs" / "1.jpg")
    save(root / "Dogs" / "10.jpg")
    save(root / "Dogs" / "9.jpg")
    for name in ("cats/not.gif", "cats/notes.txt", "cats/.DS_Store", "cats/jpg", "cats/a.jpg.bak", "readme.png"):
        (root / name).write_bytes(b"nothing to see")
    (root / "Dogs" / "empty").mkdir()
    return root


def test_files_order_and_labels(root):
    folder = ImageFolder(root)
    assert folder.classes == ["Dogs", "cats"]  # capitals first, as sorted() does
    assert folder.class_to_idx == {"Dogs": 0, "cats": 1}
    cats = [".hidden.png", "a.jpg", "b.JPEG", "c.webp", "z.png", "sub/y.png", "sub-1/x.png", "sub/deep/w.TIF"]
    assert names(folder) == [f"Dogs/{n}" for n in ("1.jpg", "10.jpg", "9.jpg")] + [
        f"cats/{n}" for n in (*cats[:5], "sub/y.png", "sub-1/x.png", "sub/deep/w.TIF")
    ]
    assert folder.samples == torchvisions_rule(root)
    assert folder.targets == [0] * 3 + [1] * 8
    assert len(folder) == 11
    assert folder.skipped_links == []
    assert repr(folder) == f"ImageFolder({str(root)!r}, 11 images, 2 classes)"


def test_items(root):
    folder = ImageFolder(str(root))
    image, label = folder[3]
    assert (image.mode, image.size, label) == ("RGB", (6, 4), 1)
    assert image.getpixel((0, 0)) == (10, 20, 30)
    x, label = ImageFolder(root, ToTensor())[-1]
    assert x.shape == (3, 4, 6)
    assert x[:, 0, 0].tolist() == [np.float32(v / 255) for v in (10, 20, 30)]
    assert label == 1
    assert len(list(folder)) == 11  # a plain loop ends
    with pytest.raises(IndexError):
        folder[11]


def test_home_folder(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(ImageFolder("~/photos")) == 11


def test_an_error_in_the_transform_names_the_file(root):
    folder = ImageFolder(root, Compose([RandomCrop(5), ToTensor()]))
    with pytest.raises(
        DataError, match=re.escape(f"{root}/Dogs/10.jpg: RandomCrop: the image is smaller than the part")
    ):
        folder[1]


# ---- links ----------------------------------------------------------------------------------------------------------


def test_links_out_of_the_root_are_not_followed(root, tmp_path):
    secret = save(tmp_path / "elsewhere" / "secret.png")
    (root / "cats" / "leak.png").symlink_to(secret)
    (root / "cats" / "leaks").symlink_to(secret.parent)
    (root / "outside").symlink_to(secret.parent)  # would be a class
    (root / "photos2").symlink_to(tmp_path / "photos-not")  # leads nowhere, and out
    folder = ImageFolder(root)
    assert folder.classes == ["Dogs", "cats"]
    assert not any("leak" in name or "secret" in name for name in names(folder))
    assert sorted(os.path.relpath(link, root) for link in folder.skipped_links) == [
        "cats/leak.png",
        "cats/leaks",
        "outside",
    ]
    assert repr(folder).endswith("11 images, 2 classes, 3 links not followed)")


def test_a_name_that_begins_like_the_root_is_outside(root, tmp_path):
    save(tmp_path / "photos-private" / "p.png")
    (root / "cats" / "more").symlink_to(tmp_path / "photos-private")
    assert len(ImageFolder(root)) == 11


def test_links_inside_the_root_are_followed(root):
    (root / "cats" / "same.jpg").symlink_to(root / "Dogs" / "1.jpg")
    (root / "wolves").symlink_to(root / "Dogs")
    save(root / "cats" / "m" / "one.png")
    (root / "Dogs" / "linked").symlink_to(root / "cats" / "m")
    folder = ImageFolder(root)
    assert folder.classes == ["Dogs", "cats", "wolves"]
    assert "cats/same.jpg" in names(folder)
    assert "Dogs/linked/one.png" in names(folder)
    assert folder.samples == torchvisions_rule(root)


def test_a_root_that_is_a_link(root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    assert len(ImageFolder(tmp_path / "alias")) == 11


def test_links_in_circles(root):
    (root / "cats" / "self").symlink_to(root / "cats")
    (root / "cats" / "sub" / "all").symlink_to(root)
    (root / "Dogs" / "empty" / "a").symlink_to(root / "cats" / "sub-1")
    (root / "cats" / "sub-1" / "b").symlink_to(root / "Dogs" / "empty")
    folder = ImageFolder(root)
    assert names(folder).count("cats/sub-1/x.png") == 1
    assert "Dogs/empty/a/x.png" in names(folder)
    assert len(folder) == 12
    assert {os.path.relpath(link, root) for link in folder.skipped_links} == {"cats/self", "cats/sub/all"}


def test_many_folders_that_link_each_other_end(root):
    rooms = [root / "cats" / f"room{i}" for i in range(12)]
    for room in rooms:
        save(room / "image.png")
    for room in rooms:
        for other in rooms:
            if other != room:
                (room / f"to-{other.name}").symlink_to(other)
    assert len(ImageFolder(root)) == 11 + 12  # 12! ways lead through them


# ---- folders that cannot be used ------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolder(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_root(tmp_path):
    assert refusal(tmp_path / "nowhere") == (
        f"ImageFolder {tmp_path}/nowhere: the folder cannot be read; seen No such file or directory; "
        "rule: a folder with one sub-folder a class; hint: check the path"
    )


def test_root_is_a_file(tmp_path):
    assert "the folder cannot be read; seen Not a directory" in refusal(save(tmp_path / "photo.png"))


def test_empty_root_and_images_without_classes(tmp_path):
    assert "no class folders; seen 0 images right in the folder" in refusal(tmp_path)
    save(tmp_path / "a.png")
    save(tmp_path / "b.jpg")
    text = refusal(tmp_path)
    assert "no class folders; seen 2 images right in the folder, 0 links not followed" in text
    assert "hint: make a sub-folder for each class and move the images there" in text


def test_classes_without_images(root):
    (root / "birds").mkdir()
    (root / "birds" / "bird.gif").write_bytes(b"GIF89a")
    text = refusal(root)
    assert "no image in class birds; seen 3 class folders, 1 of them without an image" in text
    assert "extensions .jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp" in text
    (root / "line\nbreak").mkdir()
    assert r"no image in classes birds, 'line\nbreak'" in refusal(root)


def test_a_class_of_links_out_says_so(root, tmp_path):
    outside = save(tmp_path / "elsewhere" / "bird.png")
    (root / "birds").mkdir()
    (root / "birds" / "1.png").symlink_to(outside)
    assert "no image in class birds; seen 3 class folders, 1 of them without an image, 1 links not followed" in refusal(
        root
    )


# ---- real photographs -----------------------------------------------------------------------------------------------


@needs_photographs
@pytest.mark.parametrize(("part", "ants", "bees"), [("train", 123, 121), ("val", 70, 83)])
def test_hymenoptera(part, ants, bees):
    folder = ImageFolder(HYMENOPTERA / part)
    assert folder.classes == ["ants", "bees"]
    assert folder.targets == [0] * ants + [1] * bees
    assert folder.samples == torchvisions_rule(HYMENOPTERA / part)
    assert not any(path.endswith(".gif") for path, _ in folder.samples)


@needs_photographs
def test_hymenoptera_order_and_odd_files():
    train = ImageFolder(HYMENOPTERA / "train")
    assert names(train)[0] == "ants/0013035.jpg"
    assert names(train)[-1].startswith("bees/")
    assert "ants/formica.jpeg" in names(train)
    image, label = train[0]
    assert image.mode == "RGB"
    assert min(image.size) == 160
    assert label == 0


# ---- files that cannot be read --------------------------------------------------------------------------------------


def test_bad_files_are_left_out_and_counted(root):
    (root / "cats" / "broken.jpg").write_bytes((root / "Dogs" / "1.jpg").read_bytes()[:-60])
    (root / "cats" / "a.png").write_bytes(b"")
    folder = ImageFolder(root)
    assert (len(folder), folder.skipped) == (13, [])
    with pytest.raises(DataError, match=r"cats/a\.png: not an image"):
        list(folder)
    kept = ImageFolder(root, skip_bad=True)
    assert [os.path.relpath(path, root) for path, _ in kept.skipped] == ["cats/a.png", "cats/broken.jpg"]
    assert "Truncated File Read" in kept.skipped[1][1]
    assert kept.samples == [s for s in folder.samples if s[0] not in dict(kept.skipped)]
    assert kept.targets == [label for _, label in kept.samples]
    assert len(list(kept)) == len(kept) == 11
    assert repr(kept).endswith("11 images, 2 classes, 2 files that cannot be read skipped)")


def test_a_class_of_bad_files_only(root):
    for path in (root / "Dogs").glob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no image in class Dogs; .*, 3 files skipped, first .*1\.jpg: not an image"):
        ImageFolder(root, skip_bad=True)


def test_photographs_are_turned_upright_unless_asked_otherwise(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(root / "Dogs" / "1.jpg", exif=exif)
    assert ImageFolder(root)[0][0].size == (4, 6)
    assert ImageFolder(root, exif=False)[0][0].size == (6, 4)
