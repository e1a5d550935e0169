"""CSVImages: tables as people write them; labels by name and number; paths that must not lead out; errors by line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from minicnn.data import CSVImages
from minicnn.data.transforms import RandomCrop
from minicnn.errors import ArgumentError, DataError


@pytest.fixture
def table(tmp_path):
    """Writes a table beside four images, and reads it."""
    folder = tmp_path / "photos"
    for name in ("a.png", "b, left.png", "sub/c.png", "ä.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (10, 20, 30)).save(folder / name)

    def read(content: str | bytes, name: str = "table.csv", **options: object) -> CSVImages:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return CSVImages(folder / name, **options)

    read.folder = folder
    return read


def samples(images: CSVImages) -> list[tuple[str, str]]:
    return [(os.path.relpath(path, images.root), images.classes[label]) for path, label in images.samples]


EXPECTED = [("sub/c.png", "bees"), ("a.png", "ants"), ("b, left.png", "ants"), ("ä.png", "bees")]


@pytest.mark.parametrize(
    "content",
    [
        'sub/c.png,bees\na.png,ants\n"b, left.png",ants\nä.png,bees\n',
        '\ufeffpath,label\r\nsub/c.png,bees\r\n\r\na.png, ants\r\n"b, left.png",ants\r\nä.png,bees',
        'id,Class,FileName\n1,bees,sub/c.png\n2,ants,a.png\n3,ants,"b, left.png"\n4,bees,ä.png\n',
        'sub\\c.png,bees\n./a.png,ants\n"sub/../b, left.png",ants\nä.png,bees\n , \n',
    ],
    ids=["plain", "BOM, CRLF, quotes", "named columns", "other paths"],
)
def test_tables(table, content):
    images = table(content)
    assert [(os.path.normpath(p), c) for p, c in samples(images)] == EXPECTED
    assert images.classes == ["ants", "bees"]
    assert images.targets == [1, 0, 0, 1]
    image, label = images[0]
    assert (image.getpixel((0, 0)), label) == ((10, 20, 30), 1)
    assert repr(images) == f"CSVImages('{images.path}', 4 images, 2 classes)"


def test_tabs(table):
    assert samples(table("b, left.png\tants\na.png\tbees\n", "t.tsv")) == [("b, left.png", "ants"), ("a.png", "bees")]


def test_numbers_are_sorted_by_value(table):
    images = table("a.png,10\nsub/c.png,9\n")
    assert (images.classes, images.targets) == (["9", "10"], [1, 0])
    images = table("a.png,1\nsub/c.png,ants\n", classes=["ants", "bees"])
    assert (images.classes, images.targets) == (["ants", "bees"], [1, 0])
    assert table("a.png,1\n", classes=["1", "0"]).targets == [0]  # a name goes before a number


def test_columns_by_name_and_parts(table):
    content = "photo,kind,split\na.png,ants,train\nsub/c.png,bees,val\nä.png,ants,val\n"
    images = table(content, path_column="photo", label_column="kind")
    assert (len(images), images.splits) == (3, ["train", "val"])
    images = table(content, path_column="photo", label_column="Kind", split="train")
    assert (samples(images), images.classes) == ([("a.png", "ants")], ["ants", "bees"])  # those of the whole table


def test_another_root(table, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "t.csv").write_text("a.png,x\n")
    assert len(CSVImages(tmp_path / "lists" / "t.csv", root=table.folder)) == 1


def test_bad_files_are_skipped(table):
    (table.folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    content = "gone.png,ants\ntorn.png,bees\na.png,ants\nsub/c.png,bees\n"
    images = table(content, skip_bad=True)
    assert samples(images) == [("a.png", "ants"), ("sub/c.png", "bees")]
    assert [os.path.basename(path) for path, _ in images.skipped] == ["gone.png", "torn.png"]
    assert "line 1: no such file" in images.skipped[0][1]
    with pytest.raises(DataError, match=r"no image that can be read; seen 1 skipped: .*line 1: no such file"):
        table("gone.png,ants\n", skip_bad=True)


def test_an_error_in_the_transform_names_the_file(table):
    with pytest.raises(DataError, match=r"a\.png: RandomCrop: "):
        table("a.png,x\n", transform=RandomCrop(9))[0]


@pytest.mark.parametrize("path", ["../secret.png", "sub/../../secret.png", "/etc/passwd", "leak.png", "..\\secret.png"])
def test_no_path_leads_out_of_the_root(table, path):
    Image.new("RGB", (2, 2)).save(table.folder.parent / "secret.png")
    (table.folder / "leak.png").symlink_to(table.folder.parent / "secret.png")
    for skip in (False, True):
        with pytest.raises(DataError, match=r"line 2: a path that leads out of the folder of the images; seen "):
            table(f"a.png,x\n{path},y\n", skip_bad=skip)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "no image in the table"),
        ("path,label\n", {}, "no image in the table"),
        ("a.png\n", {}, "line 1: a line without a path or without a label; seen 'a.png'"),
        ("path,label\na.png,x\n,y\n", {}, "line 3: a line without a path"),
        ("a.png,x\ngone.png,y\nlost.png,y\n", {}, r"line 2: no such file; seen .*gone\.png; 2 of 3 files are missing"),
        ("datei,klasse\na.png,x\n", {}, "line 1: no such file; .*hint: if it names the columns, call them path and l"),
        ("sub,x\n", {}, "line 1: no such file"),  # a folder
        ("a.png,x\na\0.png,y\n", {}, "line 2: a path with a null byte|line contains NUL"),
        (b"a.png,x\n\xff.png,y\n", {}, "not text in UTF-8; seen byte 0xff"),
        ('a.png,x\n"b.png,y\n', {}, "after line 1: not a CSV file"),
        ("a.png," + "x" * 200_000, {}, "not a CSV file; seen field larger than field limit"),
        ("a.png,wasps\n", {"classes": ["ants"]}, "line 1: a label that is no class; seen 'wasps'"),
        ("a.png,1\n", {"classes": ["ants"]}, "line 1: a label that is no class; seen '1'"),
        ("a.png,-1\n", {"classes": ["ants"]}, "line 1: a label that is no class; seen '-1'"),
        (
            "path,label\na.png,x\n",
            {"split": "val"},
            "no such part in the table; seen split='val'; rule: a column named",
        ),
        ("path,label\na.png,x\n", {"label_column": "kind"}, "no such column; seen 'kind'"),
        ("photo,label\na.png,x\n", {"label_column": "label"}, "which column is the other one"),
    ],
)
def test_what_is_refused(table, content, options, message):
    with pytest.raises((DataError, ArgumentError)) as caught:
        table(content, **options)
    text = str(caught.value)
    assert re.search(message, text), text
    assert text.startswith(f"CSVImages {table.folder}/table.csv")
    assert "\n" not in text


def test_other_things_than_files(tmp_path: Path):
    for path in (tmp_path, tmp_path / "gone.csv"):
        with pytest.raises(DataError, match="there is no such file"):
            CSVImages(path)
