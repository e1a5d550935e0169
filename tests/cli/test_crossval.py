"""`minicnn crossval`: JSON alone on stdout; one line for bad input."""

from __future__ import annotations

import json

import pytest


def test_json_and_what_cannot_change(run, one_line, photos, narrow, tmp_path):
    out = tmp_path / "out"
    words = ("--weights", narrow, "--epochs", 1, "--per-class", 2, "--no-head-first", "--out", out)
    code, text, err = run("crossval", photos, "--folds", 2, "--stratified", "--json", *words)
    assert code == 0, err
    result = json.loads(text)
    assert len(result["folds"]) == 2
    assert sum(map(sum, result["confusion"])) == 16
    assert "fold 2: photos: 4 images to train on, 8 to test" in err
    code, _, err = run("crossval", "--resume", out, "--folds", 3)
    assert code == 2
    assert "--folds cannot change" in one_line(err)
    code, text, _ = run("crossval", "--resume", out)
    assert code == 0
    assert "2 stratified folds of 16 images" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "9"], "class blue has too few images to be split; seen 8 of 16 images; rule: at least 9 a class"),
        (["--folds", "0"], "folds"),
        (["--folds", "17", "--plain"], "more folds than images"),
        (["--rates-by-depth", "-1"], "the factor of the learning rates is not valid"),
        (["--resume", "nowhere"], "cannot change"),
    ],
)
def test_what_is_refused(run, one_line, photos, narrow, tmp_path, words, message):
    code, out, err = run("crossval", photos, "--weights", narrow, "--out", tmp_path / "out", *words)
    assert (code, out) == (2, "")
    assert message in one_line(err)
    assert not (tmp_path / "out").exists()
