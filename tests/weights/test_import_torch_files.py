"""PyTorch's three formats, read without PyTorch; files that would run code, exhaust us or lie are refused by name."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_files as t
from compare import assert_close

from minicnn.errors import WeightsError
from minicnn.weights.importers import as_float32, read_foreign, unpickler

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "checkpoints"
FORMATS = {"zip": t.as_zip, "stream": t.as_stream, "tar": t.as_tar}


@pytest.mark.parametrize("form", FORMATS)
def test_values_names_order_and_dtypes(form, file, state):
    state["double"] = np.arange(3.0)
    state["half"] = np.arange(4, dtype=np.float16)
    found = read_foreign(file(FORMATS[form](state)))
    assert list(found.arrays) == list(state)
    for name, array in state.items():
        assert_close(np.asarray(found.arrays[name]), array)
    assert found.layout == "torch"


def test_views_share_a_storage(file):
    row = np.arange(24, dtype=np.float32)
    stored = t.storage("0", "Float", 24)
    root = t.ordered({"t": t.tensor(stored, (6, 4), (1, 6)), "part": t.tensor(stored, (2, 3), (6, 1), offset=8)})
    found = read_foreign(file(t.zip_checkpoint(root, {"0": row.tobytes()}))).arrays
    assert_close(found["t"], row.reshape(4, 6).T)
    assert_close(found["part"], row.reshape(4, 6)[1:3, 2:5])


def test_bfloat16_and_big_endian_values(file):
    values = np.array([1.5, -2.0, 3e38], np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    root = t.ordered(
        {"b": t.tensor(t.storage("0", "BFloat16", 3), (3,)), "f": t.tensor(t.storage("1", "Float", 3), (3,))}
    )
    rows = {"0": upper.astype(">u2").tobytes(), "1": values.astype(">f4").tobytes()}
    found = read_foreign(file(t.zip_checkpoint(root, rows, byteorder=b"big"))).arrays
    assert_close(as_float32(found["b"]), (upper.astype(np.uint32) << 16).view(np.float32))
    assert_close(as_float32(found["f"]), values)


def test_what_else_a_checkpoint_says(file):
    inner = t.ordered({"w": t.tensor(t.storage("0", "Float", 2), (2,))})
    listed = b"](" + t.text("ant") + t.text("bee") + b"e"
    root = b"}(" + t.text("epoch") + t.number(7) + t.text("net") + inner + t.text("classes") + listed + b"u"
    found = read_foreign(file(t.zip_checkpoint(root, {"0": bytes(8)})))
    assert list(found.arrays) == ["net.w"]
    assert found.values == {"epoch": 7, "classes": ["ant", "bee"]}


# ---- half downloads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "there", "needed"),
    [
        ("resnet18-5c106cde.truncated.pth", "1,048,576", "46,827,520"),
        ("resnet18-f37072fd.truncated.pth", "579,901", "46,830,571"),
    ],
)
def test_real_files_that_are_cut_off(name, there, needed):
    """torchvision's ResNet-18, the first MiB or less: the sizes of the whole files are known."""
    if not (REAL / name).exists():
        pytest.skip(f"{REAL / name} is not here")
    with pytest.raises(WeightsError, match=rf"cut off.*seen {there} bytes; rule: {needed} bytes; hint: fetch it again"):
        read_foreign(REAL / name)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_anywhere_is_refused(form, file, state):
    whole = FORMATS[form](state)
    end = len(whole) if form != "tar" else whole.rindex(b"]") + 2  # a tar file ends in zeros that nobody needs
    for size in [1, 2, 10, *range(40, end, max(1, end // 60)), end - 1]:
        with pytest.raises(WeightsError):
            read_foreign(file(whole[:size]))


@pytest.mark.parametrize("form", ["stream", "tar"])
def test_a_cut_file_says_how_long_it_should_be(form, refuses, state):
    whole = FORMATS[form](state)
    refuses(
        whole[: whole.rindex(b"FloatStorage" if form == "tar" else b"\x80\x02]") + 100], f"rule: {len(whole):,} bytes"
    )


# ---- pickles --------------------------------------------------------------------------------------------------------


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


TENSOR = t.tensor(t.storage("0", "Float", 2), (2,))
DOUBLING = b"]q\x00" + b"".join(b"](h%bh%beq%b" % (bytes([i]), bytes([i]), bytes([i + 1])) for i in range(60))
PICKLES = {
    "a function": (t.name("os", "system") + t.several(t.text("true")) + b"R", "asks for os.system, .* it is not run"),
    "a function of torch": (t.name("torch", "load") + t.several(t.text("x")) + b"R", "asks for torch.load"),
    "by its name on the stack": (t.text("builtins") + t.text("eval") + b"\x93", "asks for builtins.eval"),
    "an attribute of what is allowed": (
        t.name("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "asks for torch._utils",
    ),
    "an instance": (b"(" + t.text("x") + b"ios\nsystem\n", "an instruction that PyTorch does not write"),
    "an object": (b"(" + t.name("os", "system") + b"o", "asks for os.system"),
    "an extension": (b"\x82\x01", "an instruction that PyTorch does not write"),
    "a call of a text": (t.text("x") + b")R", "a call of str"),
    "a call of a dtype": (t.name("torch", "float32") + b")R", "a call of torch.float32"),
    "arguments that do not fit": (t.name("torch._utils", "_rebuild_tensor_v2") + b")R", "arguments that do not fit"),
    "state of a number": (b"K\x01}b", "an instruction on the wrong kind of object"),
    "an empty stack": (b"aaaa", "needs more than there is"),
    "no mark": (b"e", "needs a mark"),
    "an object before it is made": (b"h\x05", "object 5 before it was made"),
    "a memo beyond reason": (b"Nr\xff\xff\xff\xff", "object 4294967295"),
    "a long number": (b"\x8a\xff" + bytes(255), "a number of 255 bytes"),
    "a text of 4 GB": (b"X\xff\xff\xff\xff", "a damaged pickle|is cut off|too long"),
    "a text of 2^63 bytes": (b"\x8d" + b"\xff" * 8, "a damaged pickle|is cut off|too long"),
    "keys of tuples": (b"}(" + b"(" * 5 + b"ttttt" + b"Nu", "a key that is a tuple"),
    "a key twice": (b"}(" + t.text("a") + b"N" + t.text("a") + b"Nu", "the key 'a' twice"),
    "half a pair": (b"}(Nu", "a key without a value"),
    "many instructions": (b"N0" * 10 + b"N" * 300_000, "does not write|too long for a checkpoint"),
    "many marks": (b"(" * 300_000, "marks in marks"),
    "large lists copied": (
        b"](" + b"K\x01" * 50_000 + b"eq\x00" + (t.name("torch", "Size") + b"h\x00\x85R") * 2_000,
        "too long for a checkpoint",
    ),
    "a list in itself": (b"]q\x00h\x00a", "containers that are too many, too deep, or in themselves"),
    "doubling": (DOUBLING, "containers that are too many, too deep, or in themselves"),
    "nesting": (b"](" * 900 + b"e" * 900, "containers that are too many, too deep"),
    "long names": (b"}(" + t.text("x" * 100_000) + b"](" + TENSOR * 20 + b"eu", "a tensor's name that cannot be"),
    "a control character": (t.ordered({"a\x1b[2J": TENSOR}), r"a tensor's name that cannot be; seen 'a\\x1b\[2J'"),
    "no tensor": (b"}", "without a tensor"),
    "a storage in itself": (b"]q\x00(h\x00tQ", "a storage that cannot be"),
    "a storage of nothing known": (t.storage("0", "Quantised", 2), "asks for torch.QuantisedStorage"),
    "a storage without end": (t.storage("0", "Float", 2**62), "a storage that cannot be"),
}
TENSORS = {
    "out of its storage": (t.tensor(t.storage("0", "Float", 2), (3,)), "reaches out of its storage"),
    "behind its storage": (t.tensor(t.storage("0", "Float", 2), (1,), offset=2), "reaches out of its storage"),
    "before its storage": (t.tensor(t.storage("0", "Float", 2), (1,), offset=-1), "reaches out of its storage"),
    "negative strides": (t.tensor(t.storage("0", "Float", 2), (2,), (-1,), 1), "reaches out of its storage"),
    "a large stride": (t.tensor(t.storage("0", "Float", 2), (2,), (2**62,)), "reaches out of its storage"),
    "an overflow": (t.tensor(t.storage("0", "Float", 2), (2**32, 2**32), (0, 0)), "more values than its storage"),
    "one value a million times": (t.tensor(t.storage("0", "Float", 2), (10**6,), (0,)), "more values than its storage"),
    "a negative length": (t.tensor(t.storage("0", "Float", 2), (-2, -1)), "a shape that cannot be"),
    "many axes": (t.tensor(t.storage("0", "Float", 2), (1,) * 40), "a shape that cannot be"),
    "shape and strides": (t.tensor(t.storage("0", "Float", 2), (2,), (1, 1)), "differ in length"),
    "no such storage": (t.tensor(t.storage("../../x", "Float", 2), (2,)), "a storage is missing"),
    "a storage of another size": (t.tensor(t.storage("0", "Double", 2), (2,)), "a storage has the wrong size"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_pickles(case, refuses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body, words = PICKLES[case]
    refuses(t.zip_checkpoint(body, {"0": bytes(8)}), words)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("case", TENSORS)
def test_tensors(case, refuses):
    body, words = TENSORS[case]
    refuses(t.zip_checkpoint(t.ordered({"w": body}), {"0": bytes(8)}), words)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pythons_own_pickles_are_not_run(protocol, refuses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuses(pickle.dumps(Malicious(), protocol=protocol), "it is not run|not a weights file of a known format")
    assert not (tmp_path / "executed").exists()


def test_every_instruction_alone_is_refused_or_harmless(file):
    """All 256, in front of nothing and of some bytes: no other error than ours."""
    for code in range(256):
        for rest in (b"", b"\x00", b"\xff" * 12, b"K\x01."):
            machine = unpickler.Unpickler(b"\x80\x02" + bytes([code]) + rest, 0, "file", names={})
            with contextlib.suppress(WeightsError):
                machine.load()


def test_streams_that_lie(refuses):
    root = t.ordered({"w": t.tensor(t.storage("0", "Float", 2, b"N"), (2,))})
    part = t.several(t.text("v"), t.number(1), t.number(2))
    beyond = t.ordered({"w": t.tensor(t.storage("0", "Float", 2, part), (2,))})
    row = (2, bytes(8))
    refuses(t.stream_checkpoint(root, ["1"], [row]), "not those that the tensors name")
    refuses(t.stream_checkpoint(root, ["0", "0"], [row, row]), "two storages of one key")
    refuses(t.stream_checkpoint(root, ["0"], [(3, bytes(8))]), "a storage of two sizes; seen 3; rule: 2")
    refuses(t.stream_checkpoint(root, ["0"], [(2, bytes(9))]), "bytes behind the checkpoint")
    refuses(t.stream_checkpoint(beyond, ["0"], [row]), "a part of a storage that reaches out of it")
    refuses(t.stream_checkpoint(root, ["0"], [row], little=b"\x89"), "a big-endian machine")


def test_tar_files_that_lie(refuses, state):
    members = t.tar_members(state)
    good = members["storages"]
    refuses(t.tar_checkpoint({**members, "../sys_info": b""}), "a tar file, but not a PyTorch checkpoint")
    refuses(t.tar_checkpoint({"model.pth": b""}), "a tar file, but not a PyTorch checkpoint; seen 'model.pth'")
    huge = good.replace(struct.pack("<q", 216), struct.pack("<q", 2**40), 1)
    refuses(t.tar_checkpoint({**members, "storages": huge}), "reaches out of the file")
    views = good[:-4] + t.pickled(b"](" + t.several(*map(t.number, (9, 5000, 200, 100))) + b"e")
    refuses(t.tar_checkpoint({**members, "storages": views}), "a part of a storage that reaches out of it")
    whole = bytearray(t.tar_checkpoint(members))
    whole[600] ^= 1
    whole[1024 + 10] ^= 1
    refuses(bytes(whole), "a header that does not match its checksum|not a PyTorch checkpoint")


# ---- zip containers -------------------------------------------------------------------------------------------------


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two entries of one name
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


GOOD = [("a/data.pkl", t.pickled(t.ordered({"w": TENSOR}))), ("a/data/0", bytes(8))]


def changed(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def zip_cases() -> dict[str, tuple[bytes, str]]:
    good = zipped(*GOOD)
    first = good.index(b"PK\1\2")
    longer = struct.pack("<I", len(GOOD[0][1]) + 4)
    second, end = good.index(b"PK\1\2", first + 1), good.index(b"PK\5\6")
    return {
        "packed": (zipped(*GOOD, method=zipfile.ZIP_DEFLATED), "a packed entry in a PyTorch checkpoint"),
        "two of one name": (zipped(*GOOD, GOOD[1]), "two entries of one name"),
        "two pickles": (zipped(*GOOD, ("b/data.pkl", b"")), "two pickles"),
        "TorchScript": (zipped(*GOOD, ("a/code/x.py", b"")), "a TorchScript archive, which holds a program"),
        "traversal": (zipped(*GOOD, ("../../etc/passwd", b"")), "an entry whose name cannot be"),
        "an absolute path": (zipped(*GOOD, ("/etc/passwd", b"")), "an entry whose name cannot be"),
        "a control character": (zipped(*GOOD, ("a\x1b", b"")), "an entry whose name cannot be"),
        "many entries": (zipped(*GOOD, *((f"a/{i}", b"") for i in range(11_000))), "too many entries"),
        "Keras": (zipped(("config.json", b"{}"), ("model.weights.h5", b"")), "a Keras archive.*model.weights.h5"),
        "another zip": (zipped(("weights/model.pth", b"")), "not a PyTorch checkpoint and not .npz"),
        "changed values": (changed(good, good.index(b"a/data/0") + 8, b"\1"), "CRC-32"),
        "changed pickle": (good.replace(b"\x80\x02", b"\x80\x03", 1), "CRC-32"),
        "encrypted": (changed(good, first + 8, b"\1"), "an encrypted entry"),
        "another method": (changed(good, first + 10, b"\x0e"), "method 14"),
        "another name in front": (changed(good, 30, b"b"), "an entry that calls itself"),
        "beyond the file": (changed(good, second + 20, b"\xff\xff\xff\x7f" * 2), "reaches out of the file"),
        "zip64 without sizes": (changed(good, second + 20, b"\xff" * 8), "a zip64 entry without its sizes"),
        "an offset beyond": (changed(good, second + 42, b"\xff\xff\xff\x7f"), "no entry at byte 2,147,483,647"),
        "overlapping": (changed(good, first + 20, longer * 2), "that overlap"),
        "a directory beyond": (changed(good, end + 16, b"\xff\xff\xff\x7f"), "a directory of"),
        "fewer entries": (changed(good, end + 8, b"\1\0\1\0"), "bytes behind the directory's 1 entries"),
        "more entries": (changed(good, end + 8, b"\3\0\3\0"), "no entry at byte"),
        "several parts": (changed(good, end + 4, b"\1\0"), "several parts"),
        "zip64 without a locator": (changed(good, end + 10, b"\xff\xff"), "no zip64 locator"),
        "bytes in front": (b"PK\3\4" + bytes(100) + good, "a damaged zip file"),
        "bytes behind": (good + bytes(10), "cut off|no directory"),
    }


ZIPS = zip_cases()


@pytest.mark.parametrize("case", ZIPS)
def test_zip_files(case, refuses):
    refuses(*ZIPS[case])


def test_the_zip_that_the_cases_spoil_is_sound(file):
    assert list(read_foreign(file(zipped(*GOOD))).arrays) == ["w"]
