"""Zip containers that lie: bombs, overlaps, paths, names twice, sizes of 64 bits; of PyTorch and of NumPy."""

from __future__ import annotations

import struct
from dataclasses import replace

from making import GOOD_NPY, ROWS, TENSOR, VALUES, Entry, Family, deflated, header, npy, t, zipped

family = Family(".pth")
refused, accepted = family.refused, family.accepted
PICKLE = Entry("a/data.pkl", t.pickled(t.ordered({"w": TENSOR})))
ROW = Entry("a/data/0", ROWS["0"])
NAME = "an entry whose name cannot be"
DAMAGED = "a damaged zip file"


def zip64(*numbers: int) -> bytes:
    return struct.pack("<HH", 1, 8 * len(numbers)) + struct.pack(f"<{len(numbers)}Q", *numbers)


# ---- bombs -----------------------------------------------------------------------------------------------------------


@refused("a zip bomb", suffix=".npz")
def a_bomb_of_zeros():
    return zipped(deflated("w.npy", npy(header(shape=f"({2**23},)"), bytes(2**25))))


@refused("a zip bomb", suffix=".npz")
def a_bomb_of_many_entries():
    entry = deflated("0.npy", npy(header(shape=f"({2**18},)"), bytes(2**20)))
    return zipped(*(replace(entry, name=f"{i}.npy") for i in range(2_000)))


@refused("a zip bomb", suffix=".npz")
def a_size_of_4_exabytes():
    return zipped(deflated("w.npy", bytes(99), size=2**32 - 1, extra=zip64(2**62)))


@refused("the contents do not match their CRC-32 checksum", suffix=".npz")
def more_than_its_size():
    return zipped(deflated("w.npy", npy(header(), bytes(2**20)), size=100))


@refused("the contents do not match their CRC-32 checksum", suffix=".npz")
def less_than_its_size():
    return zipped(deflated("w.npy", npy(header(), VALUES.tobytes()), size=10_000))


@refused(DAMAGED, suffix=".npz")
def what_cannot_be_unpacked():
    return zipped(Entry("w.npy", b"\xff" * 99, method=8, size=200))


@refused("a packed entry in a PyTorch checkpoint")
def a_packed_storage():
    return zipped(PICKLE, deflated("a/data/0", ROWS["0"]))


@refused("too many entries in a zip file")
def eleven_thousand_entries():
    return zipped(PICKLE, ROW, *(Entry(f"a/{i}", b"") for i in range(11_000)))


@refused("not an array", suffix=".npz")
def many_small_entries_behind_a_large_one():
    large = Entry("w.npy", npy(header(shape=f"({2**22 + 2**18},)"), bytes(2**24 + 2**20)))
    return zipped(large, Entry("x", b""), *(Entry(f"{i}.npy", b"") for i in range(7_900)))


# ---- headers that lie ------------------------------------------------------------------------------------------------


@refused("entries of a zip file that overlap")
def an_entry_that_holds_the_next():
    size = len(PICKLE.data) + 40
    return zipped(replace(PICKLE, packed=size, size=size), ROW)


@refused("an entry that reaches out of the file")
def an_entry_of_2_gigabytes():
    return zipped(PICKLE, replace(ROW, size=2**31, packed=2**31))


@refused("an entry that reaches out of the file")
def an_entry_of_8_exabytes():
    return zipped(PICKLE, replace(ROW, size=2**32 - 1, packed=2**32 - 1, extra=zip64(2**63, 2**63)))


@refused("a zip64 entry without its sizes")
def an_entry_of_64_bits_without_its_sizes():
    return zipped(PICKLE, replace(ROW, size=2**32 - 1, packed=2**32 - 1))


@refused("no zip64 locator")
def an_end_of_64_bits_without_its_place():
    return zipped(PICKLE, ROW, count=0xFFFF)


@refused("no zip64 end record")
def an_end_of_64_bits_that_is_elsewhere():
    return zipped(PICKLE, ROW, before_end=b"PK\6\7" + struct.pack("<IQI", 0, 2**62, 1))


@refused("two end records that differ")
def two_ends_that_differ():
    good = zipped(PICKLE, ROW)
    size, place = struct.unpack("<II", good[-10:-2])
    wide = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 3, 3, size, place)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(good) - 22, 1)
    return zipped(PICKLE, ROW, before_end=wide + locator)


@refused(DAMAGED)
def fewer_entries_than_there_are():
    return zipped(PICKLE, ROW, count=1)


@refused(DAMAGED)
def more_entries_than_there_are():
    return zipped(PICKLE, ROW, count=9)


@refused("a zip file in several parts")
def one_part_of_several():
    return zipped(PICKLE, ROW, disk=1)


@refused("an entry that calls itself")
def another_name_in_front_of_the_data():
    return zipped(PICKLE, replace(ROW, local_name="a/data/1"))


@refused("an encrypted entry")
def an_encrypted_storage():
    return zipped(PICKLE, replace(ROW, flags=1))


@refused(DAMAGED)
def another_way_of_packing():
    return zipped(PICKLE, replace(ROW, method=12))


@refused("the contents do not match their CRC-32 checksum")
def changed_values():
    return zipped(PICKLE, replace(ROW, checksum=12345))


@refused("the contents do not match their CRC-32 checksum", suffix=".npz")
def changed_values_of_numpy():
    return zipped(replace(GOOD_NPY, checksum=12345))


# ---- names -----------------------------------------------------------------------------------------------------------


@refused(NAME)
def a_path_out_of_the_folder():
    return zipped(PICKLE, ROW, Entry("../../etc/passwd", b"root"))


@refused(NAME)
def an_absolute_path():
    return zipped(PICKLE, ROW, Entry("/etc/passwd", b"root"))


@refused(NAME)
def a_path_of_windows():
    return zipped(PICKLE, ROW, Entry("a\\..\\..\\system.ini", b""))


@refused(NAME)
def a_drive_of_windows():
    return zipped(PICKLE, ROW, Entry("C:evil.dll", b""))


@refused(NAME)
def a_name_with_an_escape():
    return zipped(PICKLE, ROW, Entry("a/\x1b[2Jx", b""))


@refused("two entries of one name")
def two_entries_of_one_name():
    return zipped(PICKLE, ROW, ROW)


@refused("two pickles in one checkpoint")
def two_pickles():
    return zipped(PICKLE, ROW, replace(PICKLE, name="b/data.pkl"))


@refused("a TorchScript archive, which holds a program")
def a_program_of_torchscript():
    return zipped(PICKLE, ROW, Entry("a/code/__torch__.py", b"import os"))


@refused("not a PyTorch checkpoint and not .npz")
def a_zip_file_of_something_else():
    return zipped(Entry("model/weights.pth", b""))


@refused("a Keras archive")
def a_keras_archive():
    return zipped(Entry("config.json", b'{"module": "os"}'), Entry("model.weights.h5", b""))


@refused("not a weights file of a known format")
def a_program_in_front():
    return b"MZ" + zipped(PICKLE, ROW)


@accepted()
def a_storage_that_says_it_is_a_link():
    return zipped(PICKLE, replace(ROW, mode=0o120777))
