"""Weights that come with minicnn, by name: in the package, in the source tree, or fetched (`own.py`)."""

from __future__ import annotations

import os
from pathlib import Path

from minicnn.errors import WeightsError
from minicnn.weights.own import OWN, fetch_own

_PACKAGE = Path(__file__).resolve().parent / "embedded"
_SOURCE_TREE = Path(__file__).resolve().parent.parent.parent / "weights"


def available() -> dict[str, Path]:
    """Embedded weights: name (the file's, without .h5) and path. In a source tree they lie in its folder `weights`."""
    folders = [_SOURCE_TREE, _PACKAGE] if (_SOURCE_TREE.parent / "pyproject.toml").is_file() else [_PACKAGE]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.h5"))}


def find(source: str | os.PathLike[str]) -> Path:
    """The path of a weights file, given as a path or as a name; own weights that are not here are fetched."""
    named = available()
    if os.fspath(source) in named:
        return named[os.fspath(source)]
    path = Path(source)
    if os.fspath(source) in OWN and not path.exists():
        return fetch_own(os.fspath(source))
    if not path.exists():
        raise WeightsError(
            "there is no such weights file",
            called=os.fspath(source),
            rule=f"a path, or an embedded name: {', '.join(named) or 'none'}",
        )
    return path
