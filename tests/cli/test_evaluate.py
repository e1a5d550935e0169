"""`minicnn evaluate`: a report, JSON, and errors before any work."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def known(photos):
    """The pictures under two of the three classes that `narrow` knows."""
    (photos / "blue").rename(photos / "a")
    (photos / "red").rename(photos / "c")
    return photos


def test_a_report(run, narrow, known, tmp_path):
    code, text, _ = run("evaluate", narrow, known, "--report", tmp_path / "report", "--mistakes", 3)
    assert code == 0
    assert text.splitlines()[-1] == f"report: {tmp_path / 'report' / 'report.html'}"
    assert "calibration: " in text
    written = json.loads((tmp_path / "report" / "metrics.json").read_text())
    code, text, _ = run("evaluate", narrow, known, "--json")
    assert code == 0
    said = json.loads(text)
    assert said["images"] == 16
    assert said["accuracy"] == written["accuracy"]
    assert len(written["worst_mistakes"]) <= 3


def test_errors_are_one_line(run, one_line, narrow, photos, tmp_path):
    for words, text in (
        ((narrow, photos), "do not match the network's head; seen blue, red"),
        ((narrow, photos, "--maps"), "--maps needs a report"),
        ((narrow, photos, "--report", narrow), "not a folder"),
        (("nothing.h5", photos), "nothing.h5"),
        ((narrow, tmp_path / "none"), "none"),
    ):
        code, _, err = run("evaluate", *words)
        assert code == 2
        assert text in one_line(err)
