"""Hostile files are refused by a `DataError`, or read where they are harmless, in a second and 100 MB; and a fuzz test.

`MINICNN_FUZZ=5000 pytest tests/data/test_hostile_images.py` makes so many changes of each valid file, by default 40.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import hostile_images
import numpy as np
import pytest
from hostile_images import EITHER, READ, REFUSED
from PIL import Image

from minicnn.data import ArrayDataset, ImageFolder, write_image_set

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited as Linux does it")


def run(*words: object) -> list[dict]:
    """What `hostile_images.py` prints, in a process of its own."""
    # Arenas of malloc and threads of BLAS take addresses, which are what is limited.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, hostile_images.__file__, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=3600,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    last = lines[-1].get("name") if lines else "nothing"
    assert done.returncode == 0, f"exit status {done.returncode} after {last}: {done.stderr[-2000:]}"
    return lines


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The folder, and what must become of each file in it."""
    folder = tmp_path_factory.mktemp("hostile")
    names = hostile_images.write_all(folder)
    hostile_images.photo().save(folder / "sound.png")
    return folder, names | {"sound.png": READ}


def test_hostile_files(expected):
    folder, names = expected
    found = {line["name"]: line for line in run("read", folder)}
    assert found.keys() == names.keys()
    assert len(names) > 40
    wrong = [
        line
        for name, line in found.items()
        if line["outcome"] not in ((READ, REFUSED) if names[name] == EITHER else (names[name],))
        or line["checked"] != line["outcome"]
        or line["seconds"] > 1
        or "MemoryError" in line["text"]
        or "\n" in line["text"]
        or (line["outcome"] == REFUSED and not line["text"].startswith(f"{folder}/{name}: "))
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_a_folder_of_hostile_files_is_skipped(expected, tmp_path):
    hostile, _ = expected
    (tmp_path / "root" / "class").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    for name in ("truncated.jpg", "bomb-by-header.png", "empty.jpg", "sound.png"):
        (tmp_path / "root" / "class" / name).write_bytes((hostile / name).read_bytes())
    os.mkfifo(tmp_path / "root" / "class" / "pipe.jpg")
    (tmp_path / "root" / "class" / "outside.png").symlink_to(tmp_path / "secret.png")
    folder = ImageFolder(tmp_path / "root", skip_bad=True)
    assert [Path(path).name for path, _ in folder.samples] == ["sound.png"]
    assert len(folder.skipped) == 4
    assert [Path(path).name for path in folder.skipped_links] == ["outside.png"]


def test_random_changes_of_valid_files(tmp_path):
    count = int(os.environ.get("MINICNN_FUZZ", "40"))
    photo = hostile_images.photo((24, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = photo.quantize(16)
    files = {
        "a.jpg": ("JPEG", photo, {"exif": exif}),
        "b.jpg": ("JPEG", photo, {"progressive": True, "subsampling": 0}),
        "sound.png": ("PNG", photo, {"exif": exif}),
        "b.png": ("PNG", palette, {"transparency": 3}),
        "c.png": ("PNG", Image.fromarray(np.arange(768, dtype=np.uint16).reshape(24, 32) * 85), {}),
        "a.gif": ("GIF", palette, {}),
        "a.bmp": ("BMP", photo, {}),
        "b.bmp": ("BMP", palette, {}),
        "a.tif": ("TIFF", photo, {"compression": "tiff_lzw"}),
        "b.tif": ("TIFF", photo, {"compression": "jpeg"}),
        "a.webp": ("WEBP", photo, {"lossless": True}),
        "b.webp": ("WEBP", photo, {"exif": exif}),
        "a.ppm": ("PPM", photo, {}),
    }
    for name, (kind, image, options) in files.items():
        (tmp_path / name).write_bytes(hostile_images.saved(image, kind, **options))
    sets = ("ours.h5", "gzip.h5")
    small = ArrayDataset(
        np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8), np.arange(4) % 2, ["a", "b"]
    )
    write_image_set(tmp_path / sets[0], small)
    with h5py.File(tmp_path / sets[1], "w") as file:
        file.create_dataset("images", data=small.images, chunks=(2, 6, 4, 3), compression="gzip", fletcher32=True)
        file["labels"], file.attrs["classes"] = small.labels, small.classes
    lines = run("fuzz", tmp_path, count, 0)
    bad = [line for line in lines if "bad" in line]
    assert not bad, "\n".join(str(line)[:1000] for line in bad[:5])
    assert {line["name"] for line in lines} == {*files, *sets}
    assert sum(line[REFUSED] for line in lines) > count  # it does change something
    assert sum(line[READ] for line in lines) > count
