"""`minicnn data check`, `show` and `pack`, and fine-tuning from what they write."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from minicnn.data import HDF5Images, ImageFolder


def test_check(run, photos, one_line):
    code, text, _ = run("data", "check", photos)
    assert code == 0
    assert "images: 16 images, 2 classes, 8 to 8 a class" in text
    (photos / "red" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    code, text, _ = run("data", "check", photos, "--json")
    assert code == 1
    assert json.loads(text)["broken"][0][0] == str(photos / "red" / "torn.jpg")
    code, _, err = run("data", "check", photos.parent / "gone")
    assert code == 2
    assert "gone: the folder cannot be read" in one_line(err)


def test_show(run, photos, one_line, tmp_path):
    sheet = tmp_path / "sheet.png"
    words = ("data", "show", photos, "--out", sheet, "--count", 3, "--versions", 2, "--size", 32)
    code, text, _ = run(*words)
    assert (code, text.strip()) == (0, str(sheet))
    with Image.open(sheet) as image:
        first = np.asarray(image)
    assert first.shape[1] == 2 * 8 + 3 * 36 - 4
    run(*words)
    with Image.open(sheet) as image:
        assert np.array_equal(np.asarray(image), first)  # the seed decides
    run(*words, "--seed", 1)
    with Image.open(sheet) as image:
        assert not np.array_equal(np.asarray(image), first)
    for name in ("none", "small"):
        assert run(*words, "--augment", name)[0] == 0
    code, _, err = run(*words, "--augment", "all")
    assert code == 2
    assert "unknown augmentation; seen 'all'" in one_line(err)


def test_pack_and_finetune(run, one_line, photos, narrow, tmp_path):
    (photos / "red" / "torn.png").write_bytes(b"")
    file = tmp_path / "photos.h5"
    code, _, err = run("data", "pack", photos, file)
    assert code == 2
    assert "torn.png: not an image" in one_line(err)
    assert not file.exists()
    code, text, err = run("data", "pack", photos, file, "--skip-bad")
    assert code == 0
    assert "images: 16 images, 2 classes" in text
    assert "1 images left out" in err
    packed, folder = HDF5Images(file), ImageFolder(photos, skip_bad=True)
    assert all(x.tobytes() == y.tobytes() and i == j for (x, i), (y, j) in zip(packed, folder, strict=True))

    options = ("--weights", narrow, "--epochs", 1, "--batch-size", 4, "--json")
    code, _, err = run("finetune", photos, *options, "--out", tmp_path / "stopped")
    assert code == 2
    assert "torn.png: not an image" in one_line(err)
    code, text, err = run("finetune", photos, *options, "--out", tmp_path / "a", "--skip-bad")
    assert code == 0
    assert "1 images cannot be read and are left out; the first: " in err
    assert "skipped_images = 1" in (tmp_path / "a" / "run.toml").read_text()
    assert json.loads(text)["skipped_images"] == 1
