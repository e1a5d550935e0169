"""`minicnn weights import` and `info`, and what other commands say of another library's file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch_files

from minicnn import models, weights


@pytest.fixture
def checkpoint(tmp_path):
    """A small ResNet-18 as PyTorch would have saved it."""
    state = models.resnet18(width=2, num_classes=3).state_dict()
    path = tmp_path / "photos.pth"
    path.write_bytes(torch_files.as_zip({name: np.asarray(array) for name, array in state.items()}))
    return path


def test_import_prints_a_report_and_writes_the_file(run, checkpoint, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("ant\nbee\n\nwasp\n", encoding="utf-8")
    code, out, _err = run("weights", "import", checkpoint, tmp_path / "photos.h5", "--classes", names)
    assert code == 0
    assert "  network           resnet18, num_classes=3, width=2" in out
    assert "loaded       122" in out
    assert weights.describe(tmp_path / "photos.h5").classes == ["ant", "bee", "wasp"]
    assert models.resnet18(weights=tmp_path / "photos.h5").load_report.loaded


def test_import_as_json(run, checkpoint, tmp_path):
    _code, out, _err = run("weights", "import", checkpoint, tmp_path / "photos.h5", "--arch", "resnet18", "--json")
    report = json.loads(out)
    assert (report["architecture"], len(report["loaded"]), report["missing"]) == ("resnet18", 122, [])


@pytest.mark.parametrize("arch", ["resnet34", "vgg16"])
def test_import_as_another_network(run, checkpoint, tmp_path, arch):
    code, _out, err = run("weights", "import", checkpoint, tmp_path / "photos.h5", "--arch", arch)
    assert code == 2
    assert err.count("\n") == 1
    assert "hint: these are the names of resnet18" in err
    assert not (tmp_path / "photos.h5").exists()


def test_info_of_a_file_of_another_library(run, checkpoint):
    code, out, _err = run("weights", "info", checkpoint)
    assert code == 0
    assert "format        PyTorch checkpoint (zip)" in out
    assert "architecture  resnet18" in out
    assert "checksum      CRC-32 of each entry: right" in out
    assert "hint          minicnn weights import photos.pth photos.h5" in out
    assert "(2, 3, 7, 7)" in out
    found = json.loads(run("weights", "info", checkpoint, "--json")[1])
    assert found["tensors"][0] == {"name": "conv1.weight", "dtype": "float32", "shape": [2, 3, 7, 7], "values": 294}


def test_info_of_a_file_of_ours(run):
    found = json.loads(run("weights", "info", "resnet18-fashion-mnist-32", "--json")[1])
    assert (found["architecture"], found["input_size"], len(found["classes"])) == ("resnet18", 32, 10)
    assert found["checksum"].endswith("right")
    assert "Resize(size=32" in found["transforms"]
    assert len(found["tensors"]) == 122


def test_info_of_a_damaged_file(run, checkpoint):
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    code, _out, err = run("weights", "info", checkpoint)
    assert code == 2
    assert "do not match their CRC-32 checksum; hint: fetch the file again" in err


@pytest.mark.parametrize("command", ["finetune", "predict", "summary"])
def test_other_commands_say_how_to_import(run, checkpoint, tmp_path, command):
    words = {"finetune": ["--weights", checkpoint], "predict": [checkpoint, "x.jpg"], "summary": [checkpoint]}
    code, _out, err = run(command, *words[command])
    assert code == 2
    assert err.strip().count("\n") == 0
    assert "this is a zip file (a PyTorch checkpoint?)" in err
    assert "hint: minicnn weights import photos.pth photos.h5" in err


def test_a_list_of_classes_that_is_none(run, checkpoint, tmp_path):
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    code, _out, err = run("weights", "import", checkpoint, tmp_path / "x.h5", "--classes", tmp_path / "c.txt")
    assert code == 2
    assert "not a list of classes" in err
