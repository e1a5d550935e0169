"""What people have in place of weights: pointers, pages, halves, and what is no regular file at all."""

from __future__ import annotations

import gzip
import json
import os
import socket
import struct
from pathlib import Path

import h5py
from hdf5_files import made as hdf5
from hdf5_files import sound
from making import GOOD_NPY, TENSOR, VALUES, Family, checkpoint, t, zipped
from onnx_files import model, tensor

family = Family(".pth")
refused = family.refused
CUT = "cut off (half a download?)"
UNKNOWN = "not a weights file of a known format"


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


@refused("this is a git-lfs pointer, not the weights themselves")
def a_git_lfs_pointer():
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 46830571\n"


@refused("this is a git-lfs pointer, not the weights themselves")
def a_git_lfs_pointer_to_more_than_there_is():
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize " + b"9" * 5_000 + b"\n"


@refused("this is a web page")
def a_web_page():
    return b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"


@refused("this is a web page")
def a_web_page_behind_empty_lines():
    return b"\r\n\r\n   <HTML><head><script>alert(1)</script>"


@refused("this is an XML text (a server's error message?)")
def an_error_message_of_a_server():
    return b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'


@refused(UNKNOWN)
def an_error_message_in_json():
    return b'{"error": "not found"}' + bytes(100)


@refused("this is a gzip file")
def a_gzip_bomb():
    return gzip.compress(bytes(2**20))


@refused("this is a JPEG image")
def a_photograph():
    return b"\xff\xd8\xff\xe0" + bytes(100)


@refused("the file is empty")
def nothing():
    return b""


@refused(UNKNOWN)
def zeros():
    return bytes(4096)


@refused(UNKNOWN)
def a_program():
    return b"#!/bin/sh\ntouch executed\n"


@refused(CUT)
def half_a_checkpoint():
    return half(t.as_zip({"w": VALUES.repeat(99)}))


@refused(CUT)
def half_a_checkpoint_of_2018():
    return half(t.as_stream({"w": VALUES.repeat(99)}))


@refused(CUT)
def half_a_checkpoint_of_2016():
    return half(t.as_tar({"w": VALUES.repeat(999)}))


@refused("asks for os.system")
def half_a_checkpoint_that_would_run_code():
    return half(checkpoint(t.name("os", "system") + t.text("x" * 500) + TENSOR))


@refused(CUT)
def half_a_numpy_archive():
    return half(zipped(GOOD_NPY))


@refused(CUT)
def half_a_safetensors_file():
    header = json.dumps({"w": {"dtype": "F32", "shape": [600], "data_offsets": [0, 2400]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(99)


@refused(CUT)
def half_an_hdf5_file():
    return half(hdf5(sound))


@refused("an ONNX file that is damaged or cut off")
def half_an_onnx_model():
    return half(model(tensor()))


# ---- no regular files ------------------------------------------------------------------------------------------------

NOT_REGULAR = "not a regular file"


@refused(NOT_REGULAR)
def a_pipe(path: Path):
    os.mkfifo(path)


@refused("a folder, not a weights file")
def a_folder(path: Path):
    path.mkdir()


@refused(NOT_REGULAR)
def a_device(path: Path):
    path.symlink_to("/dev/zero")


@refused(NOT_REGULAR)
def a_socket(path: Path):
    here = os.getcwd()
    os.chdir(path.parent)  # names of sockets must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


@refused("not a regular file|there is no such")
def a_link_to_itself(path: Path):
    path.symlink_to(path.name)


@refused("not a regular file|there is no such")
def a_link_to_nothing(path: Path):
    path.symlink_to("nowhere")


@refused(UNKNOWN)
def sixty_four_gigabytes_of_zeros(path: Path):
    with open(path, "wb") as file:
        file.truncate(2**36)


@refused(CUT)
def sixty_four_gigabytes_behind_half_a_checkpoint(path: Path):
    content = t.as_zip({"w": VALUES})
    path.write_bytes(content[: content.index(b"archive/data/0")])
    os.truncate(path, 2**36)


@refused("a tensor of more|the names are not|are missing", by=("import_weights",))
def a_tensor_of_sixty_four_gigabytes_of_zeros(path: Path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**34], "data_offsets": [0, 2**36]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + 2**36)


@refused("values in another file|the file is damaged|an external link")
def links_among_a_thousand_arrays(path: Path):
    with h5py.File(path, "w") as file:
        for i in range(300):
            file[f"{i}"] = VALUES
        file["x"] = h5py.ExternalLink("../elsewhere/weights.h5", "/w")
