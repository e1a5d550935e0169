"""What kind of file this is, by its first bytes: never by its suffix, and before anything else is believed."""

from __future__ import annotations

import os
import stat
from pathlib import PurePath

from minicnn.errors import WeightsError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
START = 512  # bytes that are looked at: a tar file says what it is at 257
LARGEST_SAFETENSORS_HEADER = 100_000_000

# Files that people have in place of weights: how they begin, what they are, what to do.
IN_PLACE_OF_WEIGHTS = (
    (b"<!doctype", "a web page", "the download went wrong"),
    (b"<html", "a web page", "the download went wrong"),
    (b"<?xml", "an XML text (a server's error message?)", "the download went wrong"),
    (b"\x1f\x8b", "a gzip file", "unpack it with gunzip (or tar -xzf)"),
    (b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it with unxz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file", "unpack it"),
    (b"Rar!\x1a\x07", "a rar file", "unpack it"),
    (b"\xff\xd8\xff", "a JPEG image", "give the weights file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "give the weights file"),
)

IN_WORDS = {
    "zip": "a zip file (a PyTorch checkpoint?)",
    "tar": "a tar file (an old PyTorch checkpoint?)",
    "pickle": "a pickle (an old PyTorch checkpoint?)",
    "npy": "a NumPy array",
    "safetensors": "a safetensors file",
    "onnx": "an ONNX model",
}


def how_to_import(called: str) -> str:
    """The command that makes a file of ours from another library's."""
    path = PurePath(called)
    return f"minicnn weights import {path.name} {path.stem if path.suffix != '.h5' else path.stem + '-imported'}.h5"


def first_bytes(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a regular file; raises WeightsError for anything else, for an empty one too."""
    called = os.fspath(path)
    try:
        mode = os.stat(called).st_mode
    except (OSError, ValueError):
        exists = "\0" not in called and os.path.lexists(called)
        raise WeightsError("not a regular file" if exists else "there is no such file", called=called) from None
    if stat.S_ISDIR(mode):
        raise WeightsError("a folder, not a weights file", called=called)
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise WeightsError("not a regular file", called=called)
    try:
        with open(called, "rb") as file:
            start = file.read(START)
    except OSError as error:
        raise WeightsError("the file cannot be read", called=called, seen=error.strerror or "") from None
    if not start:
        raise WeightsError("the file is empty", called=called)
    return start


def kind_of(start: bytes) -> str:
    """The format that the first bytes belong to.

    Parameters
    ----------
    start : bytes
        The first 512 of the file, or all that it has.

    Returns
    -------
    str
        "hdf5", "zip", "tar", "pickle", "npy", "safetensors", "onnx", or "" where they belong to none.
    """
    if start.startswith(HDF5_MAGIC):
        return "hdf5"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if start[257:262] == b"ustar":
        return "tar"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5:
        return "pickle"
    if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= LARGEST_SAFETENSORS_HEADER:
        return "safetensors"
    # ModelProto: field 1, the format's version, comes first (a small number), then another field of the message.
    if len(start) > 2 and start[0] == 0x08 and 1 <= start[1] <= 30 and start[2] in b"\x12\x1a\x22\x28\x32\x3a\x42\x72":
        return "onnx"
    return ""


def not_weights(start: bytes, called: str, rule: str, otherwise: str) -> WeightsError:
    """The error for a file of no known kind: what people have in place of weights is named; else `otherwise`."""
    text = start.lstrip()
    if text.startswith(b"version https://git-lfs"):
        size = text.partition(b"size ")[2].split(b"\n")[0]
        seen = f"a pointer to {int(size):,} bytes" if size.isdigit() and len(size) < 16 else ""
        return WeightsError(
            "this is a git-lfs pointer, not the weights themselves",
            called=called,
            seen=seen,
            rule=rule,
            hint="run `git lfs pull`",
        )
    for magic, what, hint in IN_PLACE_OF_WEIGHTS:
        if text.lower().startswith(magic.lower()):
            return WeightsError(f"this is {what}", called=called, rule=rule, hint=hint)
    return WeightsError(otherwise, called=called, seen=f"first bytes {start[:8]!r}", rule=rule)
