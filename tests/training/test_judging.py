"""A judgement of a tiny network: the numbers are the trainer's, the page is one file that no name can break."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from compare import assert_close
from PIL import Image

from minicnn import nn, optim, weights
from minicnn.data import DataLoader, ImageFolder, write_image_set
from minicnn.errors import ArgumentError, DataError, DivergedError, MinicnnError, WeightsError
from minicnn.training import Trainer, judging, judging_report, transform_for
from minicnn.training.judging import choose_part, judge, wilson
from minicnn.training.judging_report import as_pixels, write_report
from minicnn.training.pretrained import Pretrained

COUNTS = {"train/circle": 1, "train/square": 1, "val/circle": 7, "val/square": 4}  # no star
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "div", "dt", "dd", "small", "section"}
TAGS |= {"img", "figure", "figcaption", "b", "br", "table", "tr", "th", "td"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "src", "alt", "scope", "tabindex"}


class Page(HTMLParser):
    """Its tags and attributes are those that the report writes; what pictures and words it shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[bytes] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        for name, value in attributes:
            assert name in ATTRIBUTES, (tag, name)
            if name == "src":
                assert value.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
                self.images.append(base64.b64decode(value.split(",")[1], validate=True))

    def handle_data(self, data):
        self.words.append(data)


def state_of(path: Path) -> dict[str, np.ndarray]:
    """The parameters in a file."""
    pretrained = Pretrained(path)
    return pretrained.build(pretrained.info.classes).state_dict()


def hostile(tiny_weights: Path, names: list[str]) -> Path:
    """The same weights, for classes of other names."""
    info = replace(weights.describe(tiny_weights), classes=names)
    path = tiny_weights.with_name("hostile.h5")
    weights.save(path, state_of(tiny_weights), info)
    return path


def test_the_numbers_are_the_trainers_from_a_folder_and_from_a_file(tiny_weights, photos, tmp_path, monkeypatch):
    root = photos(COUNTS)
    monkeypatch.setattr(judging, "BATCH", 4)  # several batches, the last one smaller
    found = judge(tiny_weights, root, progress=False)
    pretrained = Pretrained(tiny_weights)
    model = pretrained.build(pretrained.info.classes)
    loader = DataLoader(ImageFolder(root / "val", transform_for(pretrained.info)), 11)
    expected = Trainer(model, optim.SGD(model.parameters()), nn.CrossEntropyLoss(), progress=False).evaluate(loader)
    assert (found.part, found.images) == ("val", 11)
    assert_close(found.probabilities, expected.probabilities, rtol=1e-5)
    assert found.metrics.accuracy == (expected.predictions == expected.targets).mean()
    assert found.calibration.nll == pytest.approx(expected.loss, rel=1e-5)
    assert found.metrics.classes == ["circle", "square", "star"]
    assert [row.support for row in found.metrics.per_class] == [7, 4, 0]
    assert found.curves.per_class[2] is None
    assert set(found.names.values()) <= {f"val/{name}/{i}.png" for name in ("circle", "square") for i in range(7)}
    packed = tmp_path / "set.h5"
    write_image_set(packed, {"test": ImageFolder(root / "val")})
    again = judge(tiny_weights, packed, progress=False)
    assert again.part == "test"
    assert (again.probabilities == found.probabilities).all()
    assert all(name.startswith("set.h5: test[") for name in again.names.values())


def test_the_report_is_one_page_that_needs_nothing_else(tiny_weights, photos, tmp_path):
    found = judge(tiny_weights, photos(COUNTS), progress=False)
    assert found.mistakes
    page = write_report(found, tmp_path / "new" / "report", maps=True)
    assert sorted(path.name for path in page.parent.iterdir()) == ["metrics.json", "report.html"]
    text = page.read_text("utf-8")
    assert not re.search(r"(?i)<script|<link|<iframe|https?:|url\(|@import|javascript:", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    shown = Page(text)
    for words in ("Where it looked", "The worst mistakes", "Confusion matrix", "Classes", "Calibration"):
        assert words in shown.text
    mistakes, pairs = len(found.mistakes), sum(len(pair.examples) for pair in found.pairs)
    assert len(shown.images) == 3 * min(mistakes, 8) + mistakes + pairs + 4  # and four drawn pictures
    numbers = json.loads((page.parent / "metrics.json").read_text())
    assert numbers["accuracy"] == found.metrics.accuracy
    assert numbers["curves"]["per_class"][2] is None
    assert numbers["worst_mistakes"][0]["name"] == found.names[found.mistakes[0].index]
    assert str(tmp_path) not in json.dumps(numbers["worst_mistakes"])
    assert "accuracy" in str(found)


def test_names_cannot_become_html(tiny_weights, tmp_path):
    names = ['<img src=x onerror="alert(1)">', "<style><script>alert(2)", "a & b' \u202etxt.\x1b[31m"]
    path = hostile(tiny_weights, names)
    rng = np.random.default_rng(0)
    for name in names:
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(4):
            picture = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
            picture.save(folder / f'"><svg onload=alert({i})>\n$x.png')
    found = judge(path, tmp_path / "photos", progress=False)
    assert len(found.pairs) >= 2
    shown = Page(write_report(found, tmp_path / "report", maps=True).read_text("utf-8"))
    assert names[0] in shown.text  # letter for letter
    assert "\\u202etxt.\\x1b[31m" in shown.text  # what steers a reader is written out
    assert "\x1b" not in str(found)


def test_what_was_there_stays_whole_when_a_report_fails(tiny_weights, photos, tmp_path, monkeypatch):
    found = judge(tiny_weights, photos(COUNTS), progress=False, mistakes=0)
    page = write_report(found, tmp_path / "report")
    assert "every image is called right" not in page.read_text()
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    monkeypatch.setattr(judging_report.judging_pictures, "reliability_picture", lambda calibration: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(found, tmp_path / "report")
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before


def test_bad_input(tiny_weights, photos, tmp_path, monkeypatch):
    root = photos(COUNTS)
    (tmp_path / "a file").touch()
    unnamed, broken = hostile(tiny_weights, []), tmp_path / "broken.h5"
    state = state_of(tiny_weights)
    state["hidden.weight"][:] = state["top.weight"][:] = 1e30
    weights.save(broken, state, weights.describe(tiny_weights))
    strange = photos({"circle": 1, "cube": 1}, "strange")
    cases = [
        (lambda: judge(unnamed, root), WeightsError, "names no classes"),
        (lambda: judge(broken, root, progress=False), DivergedError, "0.png: the scores are not finite"),
        (lambda: judge(tiny_weights, strange), DataError, "do not match the network's head; seen cube"),
        (lambda: judge(tiny_weights, root, part="dev"), DataError, "no part 'dev'; seen parts train, val"),
        (lambda: judging_report.open_report(tmp_path / "a file"), ArgumentError, "not a folder"),
        (lambda: judging_report.open_report(tmp_path / "a file" / "below"), MinicnnError, "cannot be written"),
    ]
    for call, error, text in cases:
        with pytest.raises(error) as caught:
            call()
        assert text in str(caught.value)
    monkeypatch.setattr(judging, "MOST_PROBABILITIES", 32)
    with pytest.raises(DataError, match="11 images, 3 classes"):
        judge(tiny_weights, root)


def test_parts_and_intervals_and_pixels(tiny_weights, photos):
    assert choose_part(photos({"train/a": 1, "test/a": 1}, "one"), None) == "test"
    assert choose_part(photos({"a": 1}, "two"), None) == ""
    assert_close(np.array(wilson(0.5, 100)), np.array([0.40383, 0.59617]), atol=1e-5)
    assert wilson(1.0, 10)[1] == pytest.approx(1)
    assert_close(np.array(wilson(0.0, 10)), np.array([0.0, 0.27753]), atol=1e-5)
    info = weights.describe(tiny_weights)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for changed in (info, replace(info, channels="BGR"), replace(info, scale=255, mean=(9.0,) * 3, std=(2.0,) * 3)):
        x = np.asarray(changed.transforms()(Image.fromarray(pixels)))
        assert (as_pixels(x[None], changed)[0] == pixels).all()
