"""The file: bounded, whole in itself, and nothing in a name becomes markup or script."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from minicnn.errors import ArgumentError
from minicnn.study.page import html, write_page
from minicnn.study.page.assets import script
from minicnn.study.page.explained import DRAWN
from minicnn.study.page.html import page_of


def data_of(text):
    return json.loads(re.search(r'id="minicnn-data">(.*?)</script>', text, re.S)[1])


def test_the_file_holds_every_array_of_its_steps(numbers, tmp_path):
    path = tmp_path / "page.html"
    written = write_page(path, numbers)
    text = path.read_text()
    assert written.bytes == path.stat().st_size
    assert written.held == written.steps
    held = data_of(text)["arrays"]
    for number in range(written.steps):
        for key in numbers.keys_of(number):
            array = np.frombuffer(base64.b64decode(held[key]["data"]), held[key]["type"]).reshape(held[key]["shape"])
            np.testing.assert_array_equal(array, numbers.block(key))


def test_names_from_a_file_stay_text(numbers, tmp_path):
    write_page(tmp_path / "page.html", numbers)
    text = (tmp_path / "page.html").read_text()
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "onerror" in data_of(text)["description"]["classes"][0]  # told, as text


def test_the_policy_allows_just_this_script_and_style_and_no_network(numbers, tmp_path):
    write_page(tmp_path / "page.html", numbers)
    text = (tmp_path / "page.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    script = re.search(r'<script type="module">(.*?)</script>', text, re.S)[1]
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    for content in (script, style):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", text)
    assert "https://" not in script


def test_a_limit_leaves_steps_out_and_says_which(numbers, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    limit = write_page(path, numbers).bytes / 1e6 - 0.01
    monkeypatch.setattr(html, "LEAST_LIMIT", 0.01)
    written = write_page(path, numbers, limit=limit)
    assert 0 < written.held < written.steps
    assert path.stat().st_size <= limit * 1e6
    steps = data_of(path.read_text())["description"]["steps"]
    assert [step["held"] for step in steps].count(True) == written.held
    assert write_page(path, numbers, layers=["bn1"]).held == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0.1}, "limit is not valid"),
        ({"limit": float("nan")}, "limit"),
        ({"layers": ["bn9"]}, "no such layer"),
    ],
)
def test_limits_and_layers_that_cannot_be(numbers, tmp_path, options, said):
    with pytest.raises(ArgumentError, match=said):
        write_page(tmp_path / "page.html", numbers, **options)
    assert not list(tmp_path.iterdir())


def test_every_operation_that_is_drawn_has_its_view():
    for name in DRAWN:
        assert re.search(rf"^  {name}: ", script(), re.M), name


def test_the_title_is_escaped():
    assert "<title>&lt;b&gt;</title>" in page_of("<b>", {})
