"""PyTorch checkpoints of all three formats, written without PyTorch: pickles put together instruction by instruction.

`tests/parity/test_import_torch.py` holds them against PyTorch's own reading.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile

import numpy as np

WORDS = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long"}
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def name(module: str, word: str) -> bytes:
    return f"c{module}\n{word}\n".encode()


def several(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(values) -> bytes:
    return several(*map(number, values))


def ordered(items: dict[str, bytes]) -> bytes:
    return name("collections", "OrderedDict") + b")R(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def word(array: np.ndarray) -> str:
    return WORDS[array.dtype.str[1:]]


def storage(key: str, kind: str, count: int, *rest: bytes) -> bytes:
    return (
        several(text("storage"), name("torch", f"{kind}Storage"), text(key), text("cpu"), number(count), *rest) + b"Q"
    )


def tensor(storage: bytes, shape, strides=None, offset: int = 0) -> bytes:
    strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))] if strides is None else strides
    rest = b"\x89" + ordered({})
    return (
        name("torch._utils", "_rebuild_tensor_v2")
        + several(storage, number(offset), numbers(shape), numbers(strides), rest)
        + b"R"
    )


def tensors(state: dict[str, np.ndarray], *view: bytes) -> bytes:
    return ordered(
        {key: tensor(storage(str(i), word(a), a.size, *view), a.shape) for i, (key, a) in enumerate(state.items())}
    )


def zip_checkpoint(root: bytes, rows: dict[str, bytes], **others: bytes) -> bytes:
    """A file of the zip format: the pickle of `root`, rows of values by key, and other entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(root))
        for key, row in rows.items():
            archive.writestr(f"archive/data/{key}", row)
        for key, row in others.items():
            archive.writestr(f"archive/{key}", row)
    return file.getvalue()


def as_zip(state: dict[str, np.ndarray]) -> bytes:
    return zip_checkpoint(tensors(state), {str(i): a.tobytes() for i, a in enumerate(state.values())}, version=b"3\n")


def stream_checkpoint(root: bytes, keys: list[str], rows: list[tuple[int, bytes]], little: bytes = b"\x88") -> bytes:
    """A file of the format of 2017 to 2020."""
    system = b"}(" + text("little_endian") + little + text("protocol_version") + number(1001) + b"u"
    listed = b"](" + b"".join(map(text, keys)) + b"e"
    parts = [pickled(b"\x8a\x0a" + MAGIC), pickled(number(1001)), pickled(system), pickled(root), pickled(listed)]
    return b"".join(parts) + b"".join(struct.pack("<q", count) + row for count, row in rows)


def as_stream(state: dict[str, np.ndarray]) -> bytes:
    keys = [str(i) for i in range(len(state))]
    return stream_checkpoint(tensors(state, b"N"), keys, [(a.size, a.tobytes()) for a in state.values()])


def tar_members(state: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The four files of the format before 2017; the first tensor is a parameter."""
    found = list(state.items())
    parameter = name("torch.nn.parameter", "Parameter") + b")\x81"
    named = {}
    for i, (key, _) in enumerate(found):
        identity = text(str(1000 + i)) + b"Q"
        named[key] = identity if i else parameter + several(identity, b"N", b"N", b"\x88", b"\x89") + b"b"
    tensors, storages = pickled(number(len(found))), pickled(number(len(found)))
    for i, (_, array) in enumerate(found):
        strides = [n // array.itemsize for n in array.strides]
        kind = name("torch", f"{word(array)}Tensor")
        tensors += pickled(several(number(1000 + i), number(5000 + i), kind))
        tensors += struct.pack(f"<ii{2 * array.ndim + 1}q", array.ndim, 0, *array.shape, *strides, 0)
        kind = name("torch", f"{word(array)}Storage")
        storages += pickled(several(number(5000 + i), text("cpu"), kind)) + struct.pack("<q", array.size)
        storages += array.tobytes()
    system = b"}(" + text("little_endian") + b"\x88" + text("protocol_version") + number(1000) + b"u"
    return {
        "sys_info": pickled(system),
        "pickle": pickled(ordered(named)),
        "tensors": tensors,
        "storages": storages + pickled(b"]"),
    }


def tar_checkpoint(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for key, content in members.items():
            entry = tarfile.TarInfo(key)
            entry.size, entry.mtime = len(content), 1483719550.98  # parts of a second need an extended header
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def as_tar(state: dict[str, np.ndarray]) -> bytes:
    return tar_checkpoint(tar_members(state))
