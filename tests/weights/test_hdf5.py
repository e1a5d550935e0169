"""Writing and reading of sound files: what goes in comes out; a write that fails leaves the old file as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc

import h5py
import numpy as np
import pytest
from compare import assert_close

from minicnn import weights
from minicnn.errors import ArgumentError, MinicnnError, WeightsError
from minicnn.weights import archive


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name


# ---- round trips ----------------------------------------------------------------------------------------------------


def test_state_and_info_come_back_bit_for_bit(path, state, info):
    found, said = weights.read(path)
    assert_same(found, state)
    assert said == info


def test_the_number_of_batches_stays_a_single_integer(path):
    tracked = weights.read(path)[0]["bn1.num_batches_tracked"]
    assert tracked.dtype == np.int64
    assert tracked.shape == ()
    assert tracked == 7


def test_what_is_read_can_be_written_to(path, state):
    found, _ = weights.read(path)
    for array in found.values():
        array += 1
    assert_same(weights.read(path)[0], state)


def test_float16_storage_rounds_once_and_comes_back_as_float32(path, state, info, tmp_path):
    state["big.weight"] = np.random.default_rng(1).standard_normal((64, 512)).astype(np.float32)
    weights.save(path, state, info)
    half = tmp_path / "half.h5"
    weights.save(half, state, info, storage="float16")
    found, _ = weights.read(half)
    for name, array in state.items():
        expected = array if array.dtype.kind == "i" else array.astype(np.float16).astype(np.float32)
        assert_same({name: found[name]}, {name: expected})
    assert half.stat().st_size < 0.6 * path.stat().st_size


@pytest.mark.parametrize("value", [65_504.0, -65_504.0, 2.0**-24])
def test_the_limits_of_float16_fit(path, info, value):
    weights.save(path, {"w": np.array([value], np.float32)}, info, storage="float16")
    assert weights.read(path)[0]["w"][0] == value


def test_float64_storage(path, info):
    w = np.array([1 / 3, np.pi])
    weights.save(path, {"w": w}, info, storage="float64")
    assert_same(weights.read(path)[0], {"w": w})
    weights.save(path, {"w": w}, info)
    assert_close(weights.read(path)[0]["w"], w.astype(np.float32), rtol=0, atol=0)


@pytest.mark.parametrize(
    "w",
    [
        np.arange(24, dtype=np.float32).reshape(4, 6)[::-1, ::-2],
        np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        np.broadcast_to(np.float32(3), (2, 5)),
        np.arange(3, dtype=">f4"),
    ],
    ids=["negative strides", "transposed", "broadcast", "big endian"],
)
def test_any_strides_and_byte_order(path, info, w):
    before = w.copy()
    weights.save(path, {"w": w}, info)
    found = weights.read(path)[0]["w"]
    assert found.dtype == np.float32
    assert np.array_equal(found, before)
    assert np.array_equal(w, before)


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1, 1), (7, 1), (3, 400_000), (300_000, 3), (1, 2, 1, 2, 1, 2, 1, 2)])
def test_shapes_that_take_one_or_several_chunks(path, info, shape):
    w = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    weights.save(path, {"w": w}, info)
    assert_same(weights.read(path)[0], {"w": w})


def test_a_large_head_and_a_deep_name(path, info):
    state = {".".join("abcdefghijkl"): np.ones(2, np.float32), "fc.weight": np.ones((1000, 16), np.float32)}
    weights.save(path, state, info)
    assert_same(weights.read(path)[0], state)


def test_every_attribute_is_optional_but_the_architecture(path, state):
    plain = weights.WeightsInfo("cnn")
    weights.save(path, state, plain)
    said = weights.read(path)[1]
    assert said == plain
    assert said.accuracy is None


def test_the_same_state_gives_the_same_bytes(path, state, info, tmp_path):
    before = path.read_bytes()
    time.sleep(1.1)  # HDF5 keeps times in seconds
    weights.save(tmp_path / "again.h5", dict(state), info)
    assert (tmp_path / "again.h5").read_bytes() == before


def test_the_order_of_the_state_changes_nothing_that_is_read(path, state, info):
    weights.save(path, dict(reversed(state.items())), info)
    assert_same(weights.read(path)[0], state)


# ---- the file as HDF5 -----------------------------------------------------------------------------------------------


def test_groups_follow_the_module_tree(path, state):
    with h5py.File(path) as file:
        assert file.attrs["format"] == b"minicnn-weights"
        assert file.attrs["version"] == b"1"
        assert file.attrs["architecture"] == b"resnet18"
        dataset = file["/layer1/0/conv1/weight"]
        assert dataset.fletcher32
        assert dataset.compression is None
        assert dataset.dtype == "<f4"
        assert_close(dataset[...], state["layer1.0.conv1.weight"], rtol=0, atol=0)
        assert file["bn1/num_batches_tracked"].fletcher32


def test_describe_and_shapes_do_not_read_the_values(path, state, info):
    content = bytearray(path.read_bytes())
    at = content.index(state["conv1.weight"].tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert weights.describe(path) == info
    assert weights.shapes(path) == {name: array.shape for name, array in state.items()}
    with pytest.raises(WeightsError):
        weights.read(path)


def test_only_some_of_the_names(path, state, info):
    found, said = weights.read(path, only=["fc.bias", "no.such"])
    assert_same(found, {"fc.bias": state["fc.bias"]})
    assert said == info


def test_what_is_not_kept_takes_no_memory(path, info):
    array = np.ones(2**18, np.float32)  # a MiB
    weights.save(path, {f"w{i:02}": array for i in range(16)}, info)
    tracemalloc.start()
    try:
        weights.read(path, only=["w03"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * array.nbytes


def test_what_is_not_kept_is_still_checked(path, state):
    content = bytearray(path.read_bytes())
    content[content.index(state["conv1.weight"].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="do not match their Fletcher-32 checksum"):
        weights.read(path, only=["fc.bias"])


def test_a_file_without_num_batches_tracked(path, state, info):
    del state["bn1.num_batches_tracked"]
    weights.save(path, state, info)
    assert_same(weights.read(path)[0], state)


def test_importing_the_package_leaves_h5py_alone():
    program = "import sys, minicnn.weights; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


# ---- what is not written --------------------------------------------------------------------------------------------

W = np.ones((2, 3), np.float32)
STATES = {
    "empty": ({}, "an empty state; hint: pass model.state_dict"),
    "NaN": ({"a.w": W * np.nan}, r"a\.w holds NaN or infinity; hint: training diverged"),
    "infinity": ({"a.w": W * np.inf}, r"a\.w holds NaN or infinity"),
    "no values": ({"a.w": W[:0]}, r"a\.w has a shape that cannot be stored; seen \(0, 3\)"),
    "nine axes": ({"a.w": W.reshape((2, 3) + (1,) * 7)}, r"rule: 1 or more values, at most 8 axes"),
    "objects": ({"a.w": np.array([None])}, r"a\.w is not an array of numbers; seen object"),
    "text": ({"a.w": "weights"}, r"a\.w is not an array of numbers"),
    "complex": ({"a.w": W * 1j}, r"a\.w is not an array of numbers; seen complex64"),
    "both": ({"a": W, "a.w": W}, "a is a parameter and a module as well"),
    "both, reversed": ({"a.w": W, "a": W}, "a is a parameter and a module as well"),
    "up": ({"a...w": W}, "a name that is not a dotted path; seen 'a...w'"),
    "slash": ({"a/w": W}, "a name that is not a dotted path"),
    "empty name": ({"": W}, "a name that is not a dotted path"),
    "line end": ({"a.w\n": W}, "a name that is not a dotted path"),
    "too deep": ({".".join("abcdefghijklm"): W}, "a name that is not a dotted path"),
    "too many": ({f"a.w{i}": W for i in range(4000)}, "too large for one file; seen 4,002 modules and parameters"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_cannot_be_stored(path, info, case):
    state, text = STATES[case]
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=text):
        weights.save(path, state, info)
    assert path.read_bytes() == before


INFOS = {
    "accuracy in percent": ({"accuracy": 93.1}, "attribute 'accuracy' has a value that cannot be; seen 93.1"),
    "accuracy NaN": ({"accuracy": float("nan")}, "the info cannot be written as text; seen Out of range float"),
    "numpy integer": ({"arguments": {"width": np.int64(16)}}, "cannot be written as text; seen Object of type int64"),
    "width 0": ({"arguments": {"width": 0}}, "attribute 'arguments' has a value that cannot be"),
    "input size": ({"input_size": -1}, "attribute 'input_size' has a value that cannot be; seen -1"),
    "class numbers": ({"classes": [1, 2]}, r"attribute 'classes' has a value that cannot be; seen \[1, 2\]"),
    "std 0": ({"std": (0.5, 0.0, 0.5)}, "attribute 'std' has a value that cannot be"),
    "std of other length": ({"std": (0.5,)}, "attribute 'std' has a value that cannot be"),
    "mean huge": ({"mean": (1e31, 0.0, 0.0)}, "attribute 'mean' has a value that cannot be"),
    "log a text": ({"log": "loss 0.1"}, "attribute 'log' is not JSON; seen loss 0.1"),
    "long log": ({"log": [{"loss": 1 / 3}] * 3000}, "log is too long to store; rule: at most 60000 bytes"),
    "zero character": ({"notes": "a\0"}, "notes holds a zero character"),
    "half a character": ({"notes": "\ud800"}, "the info cannot be written as text"),
}


@pytest.mark.parametrize("case", INFOS)
def test_an_info_that_could_not_be_read_back_is_not_written(path, state, info, case):
    values, text = INFOS[case]
    before = path.read_bytes()
    with pytest.raises(MinicnnError, match=text):
        weights.save(path, state, weights.WeightsInfo(**{**vars(info), **values}))
    assert path.read_bytes() == before


def test_float16_overflow_names_the_parameter(path, info):
    before = path.read_bytes()
    state = {"fc.weight": np.array([1.0, -70_000.0], np.float32)}
    with pytest.raises(ArgumentError, match=r"fc\.weight does not fit into float16; seen 7e\+04; hint: use float32"):
        weights.save(path, state, info, storage="float16")
    assert path.read_bytes() == before


def test_unknown_storage(path, state, info):
    with pytest.raises(ArgumentError, match="unknown storage; seen 'int8'; rule: float32, float16, float64"):
        weights.save(path, state, info, storage="int8")


def test_a_file_of_more_than_the_limit_is_not_written(path, state, info, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    with pytest.raises(ArgumentError, match="too large for one file"):
        weights.save(path, state, info)


# ---- a write that fails ---------------------------------------------------------------------------------------------


def _fail(error):
    def fail(*args, **options):
        raise error

    return fail


@pytest.mark.parametrize(
    ("target", "error", "expected"),
    [
        ("os.replace", OSError(13, "Permission denied"), MinicnnError),
        ("os.fsync", OSError(28, "No space left on device"), MinicnnError),
        ("os.fsync", KeyboardInterrupt(), KeyboardInterrupt),
        ("h5py.Group.create_dataset", MemoryError(), MemoryError),
        ("h5py.File.flush", RuntimeError("flush"), RuntimeError),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_write_that_fails_leaves_everything_as_it_was(
    path, state, info, monkeypatch, target, error, expected, exists
):
    before = path.read_bytes()
    if not exists:
        path.unlink()
    state["fc.bias"] += 1
    with monkeypatch.context() as patch:
        patch.setattr(target, _fail(error))
        with pytest.raises(expected):
            weights.save(path, state, info)
    assert os.listdir(path.parent) == ([path.name] if exists else [])
    if exists:
        assert path.read_bytes() == before
    weights.save(path, state, info)
    assert_same(weights.read(path)[0], state)
    assert os.listdir(path.parent) == [path.name]


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(path, state, info, monkeypatch):
    calls = []
    replace, fsync = os.replace, os.fsync

    def note_sync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def note_replace(source, target):
        calls.append(f"rename from {os.path.dirname(source)}")
        replace(source, target)

    monkeypatch.setattr("os.fsync", note_sync)
    monkeypatch.setattr("os.replace", note_replace)
    weights.save(path, state, info)
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc to tell files from folders")
    assert calls == ["file", f"rename from {path.parent}", "folder"]


def test_a_reader_of_the_old_file_is_not_disturbed(path, state, info):
    with open(path, "rb") as reader:
        before = reader.read(100)
        weights.save(path, {"w": W}, info)
        reader.seek(0)
        assert reader.read(100) == before
    assert_same(weights.read(path)[0], {"w": W})


def test_no_such_folder(tmp_path, state, info):
    target = tmp_path / "no" / "model.h5"
    with pytest.raises(MinicnnError, match=r"model\.h5: cannot be written; seen No such file or directory"):
        weights.save(target, state, info)


def test_a_folder_in_the_place_of_the_file(tmp_path, state, info):
    with pytest.raises(MinicnnError, match="cannot be written"):
        weights.save(tmp_path, state, info)


# ---- embedded weights -----------------------------------------------------------------------------------------------


def test_embedded_weights_have_a_name_and_are_sound():
    for name, file in weights.available().items():
        assert weights.find(name) == file
        state, said = weights.read(file)
        assert len(said.classes) == state["fc.bias"].size == said.arguments["num_classes"]
        assert said.accuracy >= 0.4  # of 10 and of 199 classes
        assert said.licence


def test_a_name_is_found_in_the_package_or_in_the_source_tree(path, tmp_path, monkeypatch):
    package, tree = tmp_path / "package", tmp_path / "repository" / "weights"
    for folder, name in ((package, "one"), (tree, "two")):
        folder.mkdir(parents=True)
        (folder / f"{name}.h5").write_bytes(path.read_bytes())
    monkeypatch.setattr("minicnn.weights.embedded._PACKAGE", package)
    monkeypatch.setattr("minicnn.weights.embedded._SOURCE_TREE", tree)
    assert list(weights.available()) == ["one"]  # beside site-packages there may be anything
    (tree.parent / "pyproject.toml").touch()
    assert weights.available() == {"two": tree / "two.h5", "one": package / "one.h5"}
    assert weights.find("two") == tree / "two.h5"
    assert weights.find(path) == path
    with pytest.raises(
        WeightsError, match=r"^three: there is no such weights file; rule: a path, or an embedded name: "
    ):
        weights.find("three")
