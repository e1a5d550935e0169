"""The golden files are what `make_golden.py` makes: with PyTorch at hand, they are made again and compared."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from compare import assert_close

torch = pytest.importorskip("torch")
from golden import make_golden  # noqa: E402

FOLDER = Path(make_golden.__file__).parent
FILES = ("operations.h5", "layers.h5", "optimizers.h5", "resnet18.h5")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    make_golden.main(folder)
    return folder


def contents(path):
    """All datasets by path."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_script_makes_the_files(made, name):
    """Another processor may round otherwise: the last bits are free."""
    stored, again = contents(FOLDER / name), contents(made / name)
    assert list(stored) == list(again)
    for key, value in stored.items():
        if value.dtype.kind == "f":
            rtol = 4e-5 if name == "resnet18.h5" and value.dtype == np.float32 else 1e-10
            assert_close(again[key], value, rtol=rtol, nan_ok=True)
        else:
            assert np.array_equal(again[key], value), key


def test_nothing_else_lies_there():
    assert {path.name for path in FOLDER.glob("*.h5")} == set(FILES)
