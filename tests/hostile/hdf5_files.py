"""Foreign HDF5 and Keras files: links and values that lead elsewhere, types that are no numbers, bombs, cycles."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5p, h5s, h5t, h5z
from making import ELSEWHERE, RUN, VALUES, Family

from minicnn.weights.importers.hdf5_objects import lookup3

family = Family(".h5")
refused, accepted = family.refused, family.accepted
DAMAGED = "the file is damaged"
NO_NUMBERS = "not an array of numbers"
NO_SHAPE = "a shape that cannot be"
TWICE = "an object that is linked twice (a cycle?)"
PACKED = "values that cannot be unpacked"
FEWER = "more values than the file can hold"


def made(fill: Callable[[Any], Any], **options) -> bytes:
    """The bytes of a file that `fill` filled, in memory."""
    with h5py.File("image", "w", driver="core", backing_store=False, **options) as file:
        fill(file)
        file.flush()
        return file.id.get_file_image()


def sound(file) -> None:
    file.create_dataset("w", data=VALUES)


def one(**options) -> bytes:
    return made(lambda file: file.create_dataset("w", **options))


# ---- elsewhere -------------------------------------------------------------------------------------------------------


@refused("an external link, which is never followed")
def an_external_link():
    return made(lambda file: file.__setitem__("w", h5py.ExternalLink(f"{ELSEWHERE}/weights.h5", "/w")))


@refused("a soft link, which is never followed")
def a_soft_link():
    return made(lambda file: file.__setitem__("w", h5py.SoftLink("/v")))


@refused("a soft link, which is never followed")
def soft_links_in_a_cycle():
    def fill(file):
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")

    return made(fill, libver="latest")


@refused("values in another file")
def external_storage():
    return one(shape=(2, 3), dtype="f4", external=[(f"{ELSEWHERE}/weights.bin", 0, 24)])


@refused("a virtual dataset, which reads other files")
def a_virtual_dataset():
    def fill(file):
        layout = h5py.VirtualLayout((2, 3), "f4")
        layout[:] = h5py.VirtualSource(f"{ELSEWHERE}/weights.h5", "w", (2, 3))
        file.create_virtual_dataset("w", layout)

    return made(fill)


@refused(TWICE)
def a_group_in_itself():
    return made(lambda file: file.create_group("a").__setitem__("b", file["a"]))


@refused(TWICE)
def a_cycle_through_the_root():
    return made(lambda file: file.create_group("a").create_group("b").__setitem__("c", file["/"]), libver="latest")


@refused(TWICE)
def one_dataset_of_two_names():
    return made(lambda file: (sound(file), file.__setitem__("v", file["w"])))


# ---- types -----------------------------------------------------------------------------------------------------------


@refused(NO_NUMBERS)
def lists_of_any_length():
    return one(shape=(2,), dtype=h5py.vlen_dtype(np.float32))


@refused(NO_NUMBERS)
def texts_of_any_length():
    return one(data=["import os"])


@refused(NO_NUMBERS)
def references():
    return one(shape=(2,), dtype=h5py.ref_dtype)


@refused(NO_NUMBERS)
def compounds():
    return one(data=np.zeros(2, "f4,f4"))


@refused(NO_NUMBERS)
def an_enumeration():
    return one(shape=(2,), dtype=h5py.enum_dtype({"a": 1}))


@refused(NO_NUMBERS)
def opaque_bytes():
    return one(data=np.zeros(2, "V8"))


@refused(NO_NUMBERS)
def arrays_in_an_array():
    return one(shape=(2,), dtype=np.dtype(("f4", (3,))))


@refused(NO_NUMBERS)
def a_float_with_a_form_of_its_own():
    kind = h5t.IEEE_F32LE.copy()
    kind.set_ebias(2)
    return made(lambda file: h5d.create(file.id, b"w", kind, h5s.create_simple((4,))))


@refused("neither a group nor a dataset")
def a_named_type_in_place_of_a_dataset():
    return made(lambda file: file.__setitem__("w", np.dtype("f4")))


@refused("a named datatype or another shared part|neither a group nor a dataset")
def a_dataset_of_a_named_type():
    def fill(file):
        file["type"] = np.dtype("f4")
        file.create_dataset("w", data=VALUES, dtype=file["type"])

    return made(fill)


@refused("a dataset without a shape that can be")
def no_shape():
    return one(data=h5py.Empty("f4"))


# ---- sizes -----------------------------------------------------------------------------------------------------------


@refused("values that were never written")
def a_terabyte_that_was_never_written():
    return one(shape=(2**38,), dtype="f4", fillvalue=1)


@refused("too many chunks")
def an_exabyte_of_chunks():
    return one(shape=(2**30, 2**30), dtype="f4", chunks=(1, 1024), fillvalue=1)


@refused("a chunk is missing|values that were never")
def chunks_that_were_never_written():
    return one(shape=(2**20,), dtype="f4", chunks=(2**16,), fillvalue=1)


@refused(NO_SHAPE)
def a_length_of_2_to_the_62():
    return one(shape=(2**62,), dtype="u1", chunks=(2**20,))


@refused(NO_SHAPE)
def a_shape_that_overflows_although_it_holds_nothing():
    content = one(shape=(0, 3, 5), dtype="f4")
    return content.replace(struct.pack("<3Q", 0, 3, 5), struct.pack("<3Q", 0, 2**40, 2**40))


@refused("the shape declares other sizes than the file holds")
def a_shape_larger_than_its_values():
    return made(sound).replace(struct.pack("<2Q", 2, 3), struct.pack("<2Q", 2**20, 3))


@refused("a dataset without a shape that can be")
def twelve_axes():
    return one(data=np.ones((1,) * 12))


@refused(FEWER)
def a_gzip_bomb():
    return one(data=np.zeros(2**22, "f4"), chunks=(2**18,), compression="gzip")


def one_chunk(data: bytes, mask: int = 0, **options) -> bytes:
    def fill(file):
        file.create_dataset("w", (1024,), "f4", chunks=(1024,), **options).id.write_direct_chunk((0,), data, mask)

    return made(fill)


@refused(PACKED)
def a_gzip_chunk_that_unpacks_to_more_than_its_shape():
    return one_chunk(zlib.compress(bytes(2**23)), compression="gzip")


@refused(PACKED)
def a_gzip_chunk_that_unpacks_to_less_than_its_shape():
    return one_chunk(zlib.compress(bytes(12)), compression="gzip")


@refused(PACKED)
def a_gzip_chunk_that_is_none():
    return one_chunk(RUN.encode(), compression="gzip")


@refused(PACKED)
def an_lzf_chunk_that_repeats_itself():
    return one_chunk(b"\0x" + b"\xe0\xff\0" * 20_000, compression="lzf")


@refused(PACKED)
def a_chunk_shorter_than_its_shape():
    return one_chunk(bytes(16))


@refused("values that do not match their Fletcher-32 checksum|values that cannot be unpacked")
def values_changed_under_their_checksum():
    content = one(data=VALUES, chunks=(2, 3), fletcher32=True)
    return content.replace(VALUES.tobytes(), VALUES[::-1].tobytes())


@refused("a chunk without its checksum")
def a_checksum_left_out():
    return one_chunk(bytes(4096), 1, fletcher32=True)


@refused("unexpected filters")
def a_filter_that_would_load_a_plugin():
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk((6,))
    plan.set_filter(32099, h5z.FLAG_OPTIONAL, (1, 2, 3))
    return made(lambda file: h5d.create(file.id, b"w", h5t.IEEE_F32LE, h5s.create_simple((6,)), plan))


@refused("unexpected filters")
def another_filter_of_hdf5():
    return one(data=VALUES, chunks=(2, 3), scaleoffset=2)


# ---- structure -------------------------------------------------------------------------------------------------------


@refused("groups are nested too deep")
def forty_groups_in_each_other():
    return made(lambda file: file.create_group("/".join("a" * 40)))


@refused("too many objects|the file is damaged")
def nine_thousand_groups():
    def fill(file):
        for i in range(9_000):
            h5g.create(file.id, b"%d" % i)

    return made(fill)


@refused(DAMAGED)
def a_tree_of_shared_nodes():
    content = made(sound)
    tree, heap, start = content.index(b"TREE"), content.index(b"HEAP"), len(content) + -len(content) % 8
    nodes, count, below = bytearray(content.ljust(start, b"\0")), 4_000, tree
    for level in range(1, 120):
        place = len(nodes)
        nodes += b"TREE\0" + bytes([level]) + struct.pack("<HQQ", count, 2**64 - 1, 2**64 - 1)
        nodes += struct.pack("<QQ", 0, below) * count
        below = place
    return bytes(nodes).replace(struct.pack("<QQ", tree, heap), struct.pack("<QQ", below, heap))


@refused(DAMAGED)
def a_tree_in_itself():
    content = bytearray(made(sound))
    content[content.index(b"TREE") + 5] = 1  # a level, whose children are taken for trees
    return bytes(content)


@refused(NO_NUMBERS)
def a_type_of_no_bytes():
    content = bytearray(made(sound))
    at = content.index(b"\x11\x20\x1f\0\4\0\0\0") - 8
    size = int.from_bytes(content[at + 2 : at + 4], "little")
    content[at + 2 : at + 4] = b"\0\0"
    content[at + 8 : at + 16] = struct.pack("<HH4x", 0, size - 8)  # what was its data becomes an empty message
    return bytes(content)


@refused("not a weights file of a known format")
def a_user_block_in_front():
    return b"#!/bin/sh\n".ljust(512, b"\0") + made(sound)


@refused(DAMAGED)
def a_superblock_that_is_cut():
    return made(sound)[:20]


@refused("the file is cut off (half a download?)")
def half_a_file():
    content = made(sound)
    return content[: len(content) // 2]


@refused("a name that cannot be|a tensor's name that cannot be")
def a_name_that_clears_the_terminal():
    return made(lambda file: file.create_dataset("w\x1b[2J", data=VALUES))


@refused("an HDF5 file without arrays")
def no_arrays():
    return made(lambda file: None)


# ---- Keras -----------------------------------------------------------------------------------------------------------


def keras(layers, weights, config: str = "") -> bytes:
    def fill(file):
        file.attrs["layer_names"] = layers
        if config:
            file.attrs["model_config"] = config
        group = file.create_group("w")
        group.attrs["weight_names"] = weights
        group.create_dataset("w/kernel:0", data=VALUES)

    return made(fill)


@refused("a layer that is listed, but not there")
def a_layer_that_is_not_there():
    return keras(np.array([b"../../etc/passwd"]), np.array([b"w/kernel:0"]))


@refused("a weight that is listed, but not there")
def a_weight_that_is_a_path_out_of_its_group():
    return keras(np.array([b"w"]), np.array([b"../../w/w/kernel:0"]))


@refused("a weight that is listed twice")
def a_weight_that_is_listed_twice():
    return keras(np.array([b"w"]), np.array([b"w/kernel:0"] * 2))


@refused("too many names of layers and weights")
def four_million_names_of_layers():
    def fill(file):
        for i in range(500):
            group = file.require_group(f"g{i // 100}")
            group.attrs[f"weight_names{i}"] = np.full(8_000, b"w")

    return made(fill)


@refused(DAMAGED)
def two_thousand_attributes_in_one_place():
    def fill(file):
        for i in range(2_200):
            h5a.create(file.id, b"a%d" % i, h5t.STD_I8LE, h5s.create_simple((100,)))

    content = bytearray(made(fill, libver="latest"))
    one = b"\0" + (2**18 + 64).to_bytes(5, "little") + (60_000).to_bytes(2, "little")  # in the first block of 64 KiB
    at = content.find(b"BTLF")
    while at >= 0:
        for count in range(29, 0, -1):
            end = at + 6 + 17 * count
            if lookup3(bytes(content[at:end])) == int.from_bytes(content[end : end + 4], "little"):
                for record in range(at + 6, end, 17):
                    content[record : record + 8] = one
                content[end : end + 4] = lookup3(bytes(content[at:end])).to_bytes(4, "little")
                break
        at = content.find(b"BTLF", at + 1)
    return bytes(content)


@refused("a list of names that is none")
def names_that_are_numbers():
    return keras(np.array([1, 2, 3]), np.array([b"w/kernel:0"]))


@refused("a name that is nowhere|the file is damaged")
def names_that_lead_out_of_the_file():
    content = bytearray(keras(["w"], np.array([b"w/kernel:0"])))
    heap = content.index(b"GCOL")
    return bytes(content).replace(struct.pack("<Q", heap), struct.pack("<Q", 2**62))


@accepted({"w/kernel": VALUES})
def a_configuration_with_code():
    lambda_layer = f'{{"class_name": "Lambda", "config": {{"function": ["__import__(\'os\').system(\'{RUN}\')"]}}}}'
    return keras(np.array([b"w"]), np.array([b"w/kernel:0"]), "[" * 20_000 + lambda_layer)
