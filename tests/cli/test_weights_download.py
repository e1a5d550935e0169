"""`minicnn weights verify` and `download`, by the command line."""

from __future__ import annotations

import json

import keras_files
import numpy as np
import pytest

from minicnn.models import resnet18


def test_import_and_verify(run, one_line, tmp_path):
    np.savez(tmp_path / "source.npz", **resnet18(width=2, num_classes=3).state_dict())
    assert run("weights", "import", tmp_path / "source.npz", tmp_path / "a.h5")[0] == 0
    status, out, _ = run("weights", "verify", tmp_path / "a.h5", "--against", tmp_path / "source.npz")
    assert status == 0
    assert "a.h5: sound" in out
    assert "the same values, to the bit, as" in out
    status, out, _ = run("weights", "verify", tmp_path / "a.h5", "--json")
    assert json.loads(out)["architecture"] == "resnet18"
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:-100])
    status, out, err = run("weights", "verify", tmp_path / "a.h5")
    assert status == 2
    assert "cut off" in one_line(err)


def test_import_with_another_epsilon(run, tmp_path):
    layers = keras_files.layers_of(resnet18(width=2, num_classes=3).state_dict(), lambda module: module)
    keras_files.write(tmp_path / "keras.h5", layers)
    status, out, _ = run("weights", "import", tmp_path / "keras.h5", tmp_path / "a.h5", "--bn-epsilon", "1e-3")
    assert status == 0
    assert "epsilon 0.001 to 1e-05, results the same" in out
    status, out, _ = run("weights", "info", tmp_path / "keras.h5")
    assert status == 0
    assert "Keras weights (HDF5)" in out


def test_download_offline_and_by_an_unknown_name(run, one_line, tmp_path, monkeypatch):
    pytest.importorskip("pooch")
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    status, _, err = run("weights", "download", "resnet18", "--address", "http://127.0.0.1:9")
    assert status == 2
    assert "the server cannot be reached (no network?)" in one_line(err)
    assert [path.name for path in tmp_path.rglob("*.*")] == []
    status, _, err = run("weights", "download", "resnet19")
    assert status == 2
    assert "no published weights of that name" in one_line(err)
