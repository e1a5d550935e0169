"""safetensors and .npz: read as the libraries wrote them, refused by name where a file lies."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
from compare import assert_close

from minicnn.errors import WeightsError
from minicnn.weights.importers import as_float32, read_foreign

# ---- safetensors ----------------------------------------------------------------------------------------------------


def safe(header, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape=(2,), begin: int = 0, end: int = 8, dtype: str = "F32", **others):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **others}


def test_safetensors_as_the_library_writes_them(tmp_path, state):
    library = pytest.importorskip("safetensors.numpy")
    state["half"] = np.arange(4, dtype=np.float16)
    library.save_file(state, tmp_path / "model.safetensors", metadata={"format": "np"})
    found = read_foreign(tmp_path / "model.safetensors")
    assert set(found.arrays) == set(state)
    assert found.values == {"format": "np"}
    for name, array in state.items():
        assert_close(np.asarray(found.arrays[name]), array)


def test_bfloat16(file):
    found = read_foreign(file(safe({"w": entry((2,), 0, 4, "BF16")}, struct.pack("<2H", 0x3FC0, 0xC000))))
    assert_close(as_float32(found.arrays["w"]), np.array([1.5, -2], np.float32))


SAFE = {
    "overlap": (safe({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12)), "tensors that overlap"),
    "twice the same": (safe({"a": entry(), "b": entry()}, bytes(8)), "tensors that overlap"),
    "a hole": (safe({"a": entry(), "b": entry(begin=12, end=20)}, bytes(20)), "a hole between tensors"),
    "bytes behind": (safe({"a": entry()}, bytes(9)), "bytes behind the tensors"),
    "cut off": (safe({"a": entry()}, bytes(7)), "cut off .*; seen 80 bytes|cut off"),
    "cut off in the header": (safe({"a": entry()}, bytes(8))[:40], "cut off"),
    "a header too large": (safe(b"{}", length=90_000_000), "a header too large"),
    "beyond 64 bits": (safe(b"{}", length=2**64 - 1), "not a weights file of a known format"),
    "an overflow in the shape": (safe({"a": entry((2**33, 2**33), 0, 8)}, bytes(8)), "do not fit the shape"),
    "an axis beyond reason": (safe({"a": entry((2**63,), 0, 8)}, bytes(8)), "a shape that cannot be"),
    "many axes": (safe({"a": entry((1,) * 30, 0, 4)}, bytes(4)), "a shape that cannot be"),
    "a negative axis": (safe({"a": entry((-2, -1))}, bytes(8)), "a shape that cannot be"),
    "an axis of a half": (safe({"a": entry((0.5,))}, bytes(8)), "a shape that cannot be"),
    "an axis that is true": (safe({"a": entry((True, 2))}, bytes(8)), "a shape that cannot be"),
    "offsets backwards": (safe({"a": entry(begin=8, end=0)}, bytes(8)), "do not fit the shape"),
    "negative offsets": (safe({"a": entry(begin=-8, end=0)}, bytes(8)), "offsets that cannot be"),
    "three offsets": (safe({"a": {**entry(), "data_offsets": [0, 4, 8]}}, bytes(8)), "not lists of numbers"),
    "a name twice": (safe(b'{"a":1,"a":2}'), "a name twice in the header; seen 'a'"),
    "a key twice": (safe(b'{"a":{"dtype":"F32","dtype":"I8"}}'), "a name twice in the header; seen 'dtype'"),
    "an unknown dtype": (safe({"a": entry(dtype="F8_E4M3")}, bytes(8)), "an unknown dtype; seen 'F8_E4M3'"),
    "an object for a dtype": (safe({"a": {**entry(), "dtype": {}}}, bytes(8)), "an unknown dtype"),
    "more keys": (safe({"a": entry(file="/etc/passwd")}, bytes(8)), "an entry that is not a tensor"),
    "not JSON": (safe(b"{nonsense}", bytes(8)), "a header that is not JSON"),
    "not UTF-8": (safe(b'{"\xff":1}', bytes(8)), "a header that is not JSON"),
    "deep nesting": (safe(b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"), "a header that is not JSON"),
    "many lists": (safe(b'{"a":[' + b"[]," * 100_000 + b"1]}"), "a header too large"),
    "a long number": (safe(b'{"a":' + b"9" * 100_000 + b"}"), "a header that is not JSON"),
    "metadata of numbers": (safe({"__metadata__": {"a": 1}, "a": entry()}, bytes(8)), "metadata that is not text"),
    "nothing": (safe({}), "without a tensor"),
    "a control character": (safe({"\x1b[2J": entry()}, bytes(8)), "a tensor's name that cannot be"),
    "many tensors": (safe({f"w{i}": entry((0,), 0, 0) for i in range(9_000)}), "too many tensors"),
}


@pytest.mark.parametrize("case", SAFE)
def test_safetensors_that_lie(case, refuses):
    refuses(*SAFE[case])


# ---- npz ------------------------------------------------------------------------------------------------------------


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_as_numpy_writes_them(save, tmp_path, state):
    state["columns"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    state["big"] = np.arange(3, dtype=">f4")
    save(tmp_path / "model.npz", **state)
    found = read_foreign(tmp_path / "model.npz")
    assert list(found.arrays) == list(state)
    for name, array in state.items():
        assert_close(np.asarray(found.arrays[name]), array)
    assert_close(as_float32(found.arrays["big"]), np.arange(3, dtype=np.float32))


GOOD = npy(np.ones(8, np.float32))


def with_header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(32)


def header(shape: str, descr: str = "'<f4'") -> bytes:
    return npz({"a.npy": with_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")})


def npz_cases():
    objects = npy(np.array([{}], object))
    records = npy(np.zeros(2, [("x", "f4")]))
    sound = npz({"a.npy": GOOD})
    return {
        "objects": (npz({"a.npy": objects}), "an array of objects, which is a pickle: it is not run"),
        "records": (npz({"a.npy": records}), "an array that holds no numbers"),
        "texts": (npz({"a.npy": npy(np.array(["x"]))}), "an array that holds no numbers"),
        "complex numbers": (npz({"a.npy": npy(np.ones(2, complex))}), "an array that holds no numbers"),
        "a bomb": (npz({"a.npy": npy(np.zeros(25_000_000, "u1"))}, zipfile.ZIP_DEFLATED), "a zip bomb"),
        "many small bombs": (
            npz({f"{i}.npy": npy(np.zeros(10**6, "u1")) for i in range(20)}, zipfile.ZIP_DEFLATED),
            "a zip bomb",
        ),
        "a changed value": (sound.replace(struct.pack("<f", 1), struct.pack("<f", 2), 1), "CRC-32"),
        "more values than bytes": (header("(2**40,)"), "not NumPy's"),
        "a shape beyond reason": (header("(1099511627776, 1099511627776)"), "another number of values"),
        "a negative shape": (header("(-4, -2)"), "a shape that cannot be"),
        "a shape that is true": (header("(True, 8)"), "a shape that cannot be"),
        "a shape of thousands of digits": (header("(0x" + "f" * 5_000 + ",)"), "a shape that cannot be"),
        "a call for a shape": (header("__import__('os').system('true')"), "not NumPy's"),
        "a deep shape": (header("(" * 3_000 + ")" * 3_000), "not NumPy's"),
        "another header": (npz({"a.npy": with_header("{}")}), "not NumPy's"),
        "a long header": (
            npz({"a.npy": b"\x93NUMPY\2\0" + struct.pack("<I", 2**31) + bytes(99)}),
            "a header too large",
        ),
        "version 9": (npz({"a.npy": b"\x93NUMPY\x09\0" + bytes(99)}), "not a .npy file"),
        "not an array": (npz({"a.npy": GOOD, "run.py": b"print()"}), "not an array"),
        "traversal": (npz({"a.npy": GOOD, "../b.npy": GOOD}), "an entry whose name cannot be"),
        "cut off": (sound[:-30], "an .npz file that is cut off"),
        "one array": (GOOD, r"a single array \(.npy\).*savez"),
        "empty": (npz({}), "not a PyTorch checkpoint and not .npz"),
    }


NPZ = npz_cases()


@pytest.mark.parametrize("case", NPZ)
def test_npz_that_lie(case, refuses):
    refuses(*NPZ[case])


# ---- other things in place of weights -------------------------------------------------------------------------------

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 46830571\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (LFS, "a git-lfs pointer.*46,830,571 bytes.*git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page; .*the download went wrong"),
        (b"<?xml version='1.0'?><Error>", "an XML text"),
        (b"\x1f\x8b\x08" + bytes(50), "a gzip file; .*hint: unpack it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"nothing that is known", "not a weights file of a known format; seen first bytes b'nothing '"),
        (bytes(5000), "not a weights file of a known format"),
    ],
)
def test_files_that_are_no_weights(content, words, refuses):
    refuses(content, words)


def test_no_file_a_folder_and_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for name, words in (("none", "no such file"), ("", "a folder"), ("pipe", "not a regular file")):
        with pytest.raises(WeightsError, match=words):
            read_foreign(tmp_path / name)
