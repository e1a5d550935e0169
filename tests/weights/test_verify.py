"""`verify_weights`: a sound file passes, and each way to be wrong is named."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import models, weights
from minicnn.errors import WeightsError
from minicnn.models.importing import import_weights
from minicnn.models.verifying import verify_weights


@pytest.fixture
def state():
    return models.resnet18(width=2, num_classes=3).state_dict()


@pytest.fixture
def source(tmp_path, state):
    np.savez(tmp_path / "source.npz", **state)
    return tmp_path / "source.npz"


def test_a_sound_file_against_its_source(tmp_path, state, source):
    import_weights(source, tmp_path / "a.h5")
    found = verify_weights(tmp_path / "a.h5", source)
    assert (found.architecture, found.arrays, found.against) == ("resnet18", len(state), str(source))
    assert "the same values, to the bit" in str(found)
    assert found.as_dict()["values"] == sum(array.size for array in state.values())


def changed(name, change):
    def make(state):
        return {**state, name: change(state[name].copy())}

    return make


CASES = {
    "one bit": (changed("fc.bias", lambda a: np.nextafter(a, 9)), "other values than those of .*fc.bias by up to"),
    "a negative variance": (changed("bn1.running_var", lambda a: -a), "bn1.running_var is a variance, and negative"),
    "missing": (lambda s: {k: v for k, v in s.items() if k != "bn1.bias"}, r"bn1.bias \(2,\) is missing"),
    "unexpected": (lambda s: {**s, "extra.weight": np.ones(3)}, r"extra.weight \(3,\) is unexpected"),
    "another shape": (changed("bn1.bias", lambda a: np.ones(7)), r"bn1.bias is \(7,\) in the file, \(2,\) in the net"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong(tmp_path, state, source, case):
    change, text = CASES[case]
    info = weights.WeightsInfo("resnet18", {"num_classes": 3, "width": 2})
    weights.save(tmp_path / "a.h5", change(state), info)
    with pytest.raises(WeightsError, match=text):
        verify_weights(tmp_path / "a.h5", source)


def test_an_unknown_architecture_and_changed_bytes(tmp_path, state):
    weights.save(tmp_path / "a.h5", state, weights.WeightsInfo("resnet19"))
    with pytest.raises(WeightsError, match="an unknown architecture; seen 'resnet19'; rule: resnet18,"):
        verify_weights(tmp_path / "a.h5")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(WeightsError):
        verify_weights(tmp_path / "a.h5")
