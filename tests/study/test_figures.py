"""Figures of the tutorials: cells with their numbers, one frame around what is marked, a file in a script."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minicnn.errors import ArgumentError
from minicnn.study.figures import figure, numbers, show


def test_numbers_are_written_and_the_frame_goes_around_all_marked_cells() -> None:
    _, axes = figure(2, 2)
    numbers(axes, [[1, -0.0], [np.nan, 2.5]], "x", marked=[(0, 0), (0, 1)])
    assert [text.get_text() for text in axes.texts] == ["1", "0", "2.5"]
    sides = {tuple(np.sort(line.get_xydata(), axis=0).ravel().tolist()) for line in axes.lines}
    left, right = (-0.5, -0.5, -0.5, 0.5), (1.5, -0.5, 1.5, 0.5)
    above = {(-0.5, -0.5, 0.5, -0.5), (0.5, -0.5, 1.5, -0.5)}
    below = {(-0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 1.5, 0.5)}
    assert sides == {left, right} | above | below  # and none between the two cells


def test_only_a_matrix_has_cells() -> None:
    with pytest.raises(ArgumentError, match=r"numbers: not a matrix; seen shape \(3,\)"):
        numbers(figure(1, 1)[1], [1, 2, 3])


def test_a_script_saves_figures_and_prints_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn, axes = figure(1, 1)
    numbers(axes, np.eye(2))
    show(drawn, "two-cells")
    show("a sum of three terms")
    path = Path("runs", "tutorials", "two-cells.png")
    assert capsys.readouterr().out == f"figure: {path}\na sum of three terms\n"
    assert path.read_bytes().startswith(b"\x89PNG")
