"""minicnn's own weights files, spoilt: checksums that do not match, links, bombs, and texts that are no JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import values
from h5py import h5p
from making import ELSEWHERE, HOME, VALUES, Family

family = Family(".h5", HOME)
refused = family.refused
SHA = "the contents do not match their SHA-256 checksum"


@cache
def sound(whole: bool = False) -> bytes:
    """A file of a whole network, or of a few arrays."""
    from minicnn import weights

    state = values.state() if whole else {"fc.weight": VALUES, "bn1.num_batches_tracked": np.array(7)}
    arguments = {"num_classes": 3, "width": 2, "stem": "small"}
    info = weights.WeightsInfo("resnet18", arguments, classes=["a", "b", "c"], input_size=32)
    with tempfile.TemporaryDirectory() as folder:
        weights.save(Path(folder) / "model.h5", state, info)
        return (Path(folder) / "model.h5").read_bytes()


def edited(change: Callable[[Any], Any], whole: bool = False) -> bytes:
    """A sound file, changed by `change`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        path.write_bytes(sound(whole))
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            change(file)
        return path.read_bytes()


def text(name: str, value: str, whole: bool = False) -> bytes:
    """The file with another attribute, whose checksum does not matter: it is looked at first."""

    def change(file):
        del file.attrs[name]
        file.attrs.create(name, np.bytes_(value.encode()))

    return edited(change, whole)


# ---- checksums -------------------------------------------------------------------------------------------------------


@refused(SHA)
def another_checksum():
    return text("sha256", "0" * 64, whole=True)


@refused("values that do not match their Fletcher-32 checksum")
def a_changed_bit():
    places: list[int] = []
    edited(lambda file: places.append(file["fc/weight"].id.get_chunk_info(0).byte_offset), whole=True)
    content = bytearray(sound(whole=True))
    content[places[0]] ^= 1
    return bytes(content)


@refused(SHA)
def changed_values_under_a_right_fletcher_checksum():
    return edited(lambda file: file["fc/weight"].__setitem__((0, 0), 7), whole=True)


@refused(SHA)
def two_arrays_exchanged():
    def change(file):
        for old, new in (("bn1/weight", "x"), ("bn1/bias", "bn1/weight"), ("x", "bn1/bias")):
            file.move(old, new)

    return edited(change, whole=True)


@refused(SHA)
def another_class_name():
    return text("classes", '["a", "b", "d"]', whole=True)


# ---- elsewhere -------------------------------------------------------------------------------------------------------


@refused("an external link, which is never followed")
def an_external_link():
    return edited(lambda file: file.__setitem__("x", h5py.ExternalLink(f"{ELSEWHERE}/weights.h5", "/w")))


@refused("a soft link, which is never followed")
def a_soft_link():
    return edited(lambda file: file.__setitem__("x", h5py.SoftLink("/fc")))


@refused("an object that is linked twice (a cycle?)")
def a_group_in_itself():
    return edited(lambda file: file["fc"].__setitem__("x", file["fc"]))


@refused("values in another file")
def external_storage():
    return edited(lambda file: file.create_dataset("x", (6,), "f4", external=[(f"{ELSEWHERE}/weights.bin", 0, 24)]))


@refused("a virtual dataset, which reads other files")
def a_virtual_dataset():
    def change(file):
        layout = h5py.VirtualLayout((2, 3), "f4")
        layout[:] = h5py.VirtualSource(f"{ELSEWHERE}/weights.h5", "w", (2, 3))
        file.create_virtual_dataset("x", layout)

    return edited(change)


# ---- bombs and types -------------------------------------------------------------------------------------------------


@refused("unexpected filters|more values than")
def a_gzip_bomb():
    return edited(lambda file: file.create_dataset("x", data=np.zeros(2**22, "f4"), compression="gzip"))


@refused("the shape declares more values than the file holds|too many chunks|the shape declares other sizes")
def a_terabyte_that_was_never_written():
    return edited(lambda file: file.create_dataset("x", (2**38,), "f4", chunks=(2**20,), fletcher32=True))


@refused("not an array of numbers")
def lists_of_any_length():
    return edited(lambda file: file.create_dataset("x", (2,), h5py.vlen_dtype(np.float32)))


@refused("unexpected filters")
def a_filter_that_would_load_a_plugin():
    from h5py import h5d, h5s, h5t, h5z

    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk((6,))
    plan.set_filter(32099, h5z.FLAG_OPTIONAL, (1, 2, 3))
    return edited(lambda file: h5d.create(file.id, b"x", h5t.IEEE_F32LE, h5s.create_simple((6,)), plan))


@refused("unexpected filters")
def values_without_a_checksum():
    return edited(lambda file: file.create_dataset("x", data=VALUES))


@refused("too many objects|the file is damaged")
def five_thousand_groups():
    return edited(lambda file: [file.create_group(f"x{i}") for i in range(5_000)])


@refused("groups are nested too deep")
def forty_groups_in_each_other():
    return edited(lambda file: file.create_group("/".join("a" * 40)))


# ---- texts -----------------------------------------------------------------------------------------------------------


@refused("the attribute 'log' is not JSON")
def thirty_thousand_brackets():
    return text("log", "[" * 30_000)


@refused("the attribute 'mean' has a value that cannot be")
def a_mean_that_is_no_number():
    return text("mean", "[NaN, NaN, NaN]")


@refused("the attribute 'input_size' is not JSON")
def a_size_of_fifty_thousand_digits():
    return text("input_size", "9" * 50_000)


@refused("the attribute 'input_size' has a value that cannot be")
def a_size_of_four_thousand_digits():
    return text("input_size", "9" * 4_000)


@refused("the attribute 'input_size' has a value that cannot be")
def images_of_thirteen_gigabytes():
    return text("input_size", "65536")


@refused("the attribute 'mean' has a value that cannot be")
def nine_thousand_channels():
    return text("mean", json.dumps([0.5] * 9_000))


@refused("the file's arguments do not fit its weights", by=("load",))
def a_network_of_terabytes():
    return text("arguments", '{"num_classes": 3, "width": 65536, "stem": "small"}')


@refused("the file's arguments are not those of resnet18", by=("load",))
def an_argument_that_the_network_does_not_have():
    return text("arguments", '{"__class__": "os.system"}')


@refused("the attribute 'notes' is not a short text|too many attributes|not a short text")
def a_note_of_any_length():
    return edited(lambda file: file.attrs.__setitem__("extra", "x" * 1_000))


@refused("too many attributes")
def two_hundred_attributes():
    return edited(lambda file: [file.attrs.create(f"a{i}", np.bytes_(b"x")) for i in range(200)])


@refused("the attribute 'channels' has a value that cannot be|is missing")
def a_text_that_clears_the_terminal():
    return edited(lambda file: file.attrs.create("channels", np.bytes_(b"\x1b[2J\x1b]0;owned\x07")))
