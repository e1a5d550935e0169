"""Files that are foreign, broken or reach out: each is refused by name, at once, in little memory; nothing is run."""

from __future__ import annotations

import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from minicnn import weights
from minicnn.weights import archive


def test_the_helper_makes_datasets_that_only_the_checksum_refuses(add, edit, refused):
    with edit() as file:
        add(file)[...] = 1
    refused("the contents do not match their SHA-256 checksum; hint: fetch the file again")


# ---- not HDF5 at all -------------------------------------------------------------------------------------------------

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 46830571\n"
FOREIGN = {
    "empty": (b"", "the file is empty"),
    "git-lfs": (
        LFS,
        "this is a git-lfs pointer, not the weights themselves; seen a pointer to 46,830,571 bytes; "
        "rule: an HDF5 file; hint: run `git lfs pull`",
    ),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "this is a web page; .*hint: the download went wrong"),
    "html after space": (b"\r\n  <html><head>", "this is a web page"),
    "text": (b"weights, honestly", "not an HDF5 file; seen first bytes b'weights,'"),
    "wrong magic": (b"\x89HDG\r\n\x1a\n" + bytes(100), r"not an HDF5 file; seen first bytes b'\\x89HDG"),
    "magic through a text-mode transfer": (b"\x89HDF\n\x1a\n" + bytes(100), "not an HDF5 file"),
    "zeros": (bytes(4096), "not an HDF5 file"),
    "magic and nothing": (b"\x89HDF\r\n\x1a\n", "an HDF5 file in a form that minicnn does not write"),
    "magic and version": (b"\x89HDF\r\n\x1a\n\3\10\10", "the file is damaged"),
    "magic and zeros": (b"\x89HDF\r\n\x1a\n" + bytes(4096), "an HDF5 file in a form that minicnn does not write"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_files_of_other_kinds(path, refused, case):
    content, text = FOREIGN[case]
    path.write_bytes(content)
    refused(text)
    refused(text, read=weights.describe)
    refused(text, read=weights.shapes)


def test_a_torch_checkpoint(path, refused):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    refused(
        r"this is a zip file \(a PyTorch checkpoint\?\); rule: an HDF5 file; "
        "hint: minicnn weights import model.h5 model-imported.h5"
    )


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_pickle_is_not_run(path, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    refused("this is a pickle")
    assert not (tmp_path / "executed").exists()


def test_no_file_a_folder_and_a_pipe(tmp_path, refused):
    refused("there is no such file", at=tmp_path / "no.h5")
    refused("a folder, not a weights file", at=tmp_path)
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.h5")
    refused("not a regular file", at=tmp_path / "dangling.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    refused("not a regular file", at=tmp_path / "pipe.h5")  # opening it would wait for ever


def test_hdf5_behind_other_bytes(path, refused):
    path.write_bytes(b"#!/bin/sh\n".ljust(512, b"\0") + path.read_bytes())  # HDF5 itself opens this
    assert h5py.is_hdf5(path)
    refused("not an HDF5 file; seen first bytes b'#!/bin/s'")


def test_addresses_that_count_from_elsewhere(path, refused):
    content = bytearray(path.read_bytes())
    content[12] = 1  # the base address
    path.write_bytes(content)
    refused("an HDF5 file in a form that minicnn does not write")


def test_hdf5_of_another_program(path, refused):
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["keras_version"] = "2.1"
        file["model_weights/conv1/kernel:0"] = np.zeros((3, 3, 3, 8))
    refused("an HDF5 file, but not minicnn weights; rule: an attribute format='minicnn-weights'")
    with h5py.File(path, "w") as file:
        file["a"] = 1
    refused(
        "an HDF5 file in a form that minicnn does not write; seen superblock version 0; .*hint: minicnn weights import"
    )


# ---- broken ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_half_a_download(path, refused, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(r"the file is cut off \(half a download\?\); seen [\d,]+ bytes; .*hint: fetch it again")


def test_one_byte_less(path, refused):
    path.write_bytes(path.read_bytes()[:-1])
    refused("the file is cut off")


@pytest.mark.parametrize("name", ["conv1.weight", "fc.bias"])
def test_a_flipped_byte_among_the_values_is_caught_by_fletcher32(path, state, refused, name):
    content = bytearray(path.read_bytes())
    content[content.index(state[name].tobytes()) + 5] ^= 16
    path.write_bytes(content)
    refused(f"'{name}': values that do not match their Fletcher-32 checksum; hint: fetch the file again")


def test_values_exchanged_under_right_checksums_are_caught_by_sha256(edit, refused):
    with edit() as file:
        file["fc/bias"][0] = 100
    refused("the contents do not match their SHA-256 checksum")


@pytest.mark.parametrize("text", [None, "", "0" * 64])
def test_sha256_is_not_optional(edit, refused, text):
    with edit() as file:
        del file.attrs["sha256"]
        if text is not None:
            file.attrs["sha256"] = np.bytes_(text)
    refused("the contents do not match their SHA-256 checksum")


def test_a_parameter_under_another_name(edit, refused):
    with edit() as file:
        file.move("fc/bias", "fc/offset")
    refused("the contents do not match their SHA-256 checksum")


# ---- links -----------------------------------------------------------------------------------------------------------


def other_file(path):
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["secret"] = np.arange(8, dtype=np.float32)
    return str(other)


LINKS = {
    "external link": (
        lambda file, other: file.__setitem__("fc/extra", h5py.ExternalLink(other, "/secret")),
        "'fc.extra': an external link, which is never followed; rule: hard links only",
    ),
    "soft link": (
        lambda file, _: file.__setitem__("extra", h5py.SoftLink("/fc/bias")),
        "'extra': a soft link, which is never followed",
    ),
    "soft link out": (
        lambda file, _: file.__setitem__("fc/extra", h5py.SoftLink("/../../etc/passwd")),
        "'fc.extra': a soft link, which is never followed",
    ),
    "soft link to itself": (
        lambda file, _: file.__setitem__("extra", h5py.SoftLink("/extra")),
        "'extra': a soft link, which is never followed",
    ),
    "cycle": (
        lambda file, _: file.__setitem__("fc/root", file["/"]),
        r"'fc.root': an object that is linked twice \(a cycle\?\); rule: each object once",
    ),
    "group in itself": (
        lambda file, _: file.__setitem__("fc/fc", file["fc"]),
        "'fc.fc': an object that is linked twice",
    ),
    "the same twice": (
        lambda file, _: file.__setitem__("fc/other", file["fc/bias"]),
        "'fc.other': an object that is linked twice",
    ),
}


@pytest.mark.parametrize("case", LINKS)
def test_links(path, edit, refused, case):
    spoil, text = LINKS[case]
    with edit() as file:
        spoil(file, other_file(path))
    refused(text)


# ---- datasets that read other files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("unlimited", [False, True])
def test_virtual_datasets(path, edit, refused, unlimited):
    other, most = other_file(path), None if unlimited else 8
    with edit() as file:
        layout = h5py.VirtualLayout((8,), "<f4", maxshape=(most,))
        source = h5py.VirtualSource(other, "secret", (8,), maxshape=(most,))
        layout[: h5s.UNLIMITED if unlimited else 8] = source[: h5s.UNLIMITED if unlimited else 8]
        file.create_virtual_dataset("fc/extra", layout)
    refused("'fc.extra': a virtual dataset, which reads other files; rule: plain datasets")


def test_values_in_another_file(path, edit, refused):
    with edit() as file:
        file.create_dataset("fc/extra", (4,), "<f4", external=[(other_file(path), 0, 16)])
    refused("'fc.extra': values in another file; rule: plain datasets")


# ---- types -----------------------------------------------------------------------------------------------------------

NUMBERS = "'extra': not an array of numbers; rule: float16, float32, float64 or int64"
TYPES = {
    "text": (h5py.string_dtype(), NUMBERS),
    "fixed text": ("S8", NUMBERS),
    "lists": (h5py.vlen_dtype(np.float32), NUMBERS),
    "references": (h5py.ref_dtype, NUMBERS),
    "compound": (np.dtype([("w", "<f4")]), NUMBERS),
    "arrays": (np.dtype(("<f4", (3,))), NUMBERS),
    "opaque": (h5py.opaque_dtype(np.dtype("M8[s]")), NUMBERS),
    "enumeration": (h5py.enum_dtype({"a": 1}), NUMBERS),
    "truth": (np.bool_, NUMBERS),
    "complex": (np.complex64, "'extra': "),
    "big endian": (">f4", "'extra': an unexpected dtype; seen >f4"),
    "int32": ("<i4", "'extra': an unexpected dtype; seen int32"),
    "unsigned": ("<u8", "'extra': an unexpected dtype; seen uint64"),
}


@pytest.mark.parametrize("case", TYPES)
def test_types(edit, refused, case):
    dtype, text = TYPES[case]
    with edit() as file:
        file.create_dataset("extra", (4,), dtype, chunks=(4,))
    refused(text)


def test_a_type_in_the_place_of_a_dataset(edit, refused):
    with edit() as file:
        file["fc/extra"] = np.dtype("<f4")
    refused("'fc.extra': neither a group nor a dataset")


def test_a_float_with_a_form_of_its_own(edit, refused):
    kind = h5t.IEEE_F32LE.copy()
    kind.set_ebias(2)
    with edit() as file:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_chunk((4,))
        plan.set_fletcher32()
        h5d.create(file.id, b"extra", kind, h5s.create_simple((4,)), plan)
    refused(r"model\.h5")


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_although_every_checksum_is_right(path, state, info, refused, value):
    state["bn1.weight"][3] = value
    arrays = {name: array.astype(array.dtype.newbyteorder("<")) for name, array in state.items()}
    path.write_bytes(archive.image(arrays, info.to_attributes()))
    refused(r"bn1\.weight holds NaN or infinity")
