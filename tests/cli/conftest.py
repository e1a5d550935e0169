"""Tiny inputs for the command line: two classes of coloured pictures, and a narrow network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn import weights
from minicnn.cli import main
from minicnn.models import resnet18

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit status, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture
def one_line() -> Callable[[str], str]:
    """Takes stderr, gives the error's line; there must be just one, and no traceback."""

    def pick(err: str) -> str:
        lines = [line for line in err.splitlines() if line.startswith("minicnn: error: ")]
        assert len(lines) == 1, err
        assert "Traceback" not in err
        return lines[0]

    return pick


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight pictures of each of two classes, reddish and bluish."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for index, name in enumerate(("blue", "red")):
        (root / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 60, (12, 15, 3), dtype=np.uint8)
            pixels[..., 2 - 2 * index] += 180
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a ResNet-18 of width 4 with three classes."""
    minicnn.manual_seed(0)
    arguments = {"num_classes": 3, "width": 4, "stem": "small"}
    info = weights.WeightsInfo("resnet18", arguments, ["a", "b", "c"], 16, (0.5,) * 3, (0.25,) * 3)
    path = tmp_path_factory.mktemp("weights") / "narrow.h5"
    weights.save(path, resnet18(**arguments).state_dict(), info)
    return path
