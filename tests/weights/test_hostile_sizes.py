"""Files that declare too much: shapes, chunks, filters, objects, names. Refused from their structure, at once."""

from __future__ import annotations

import itertools
import os

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from minicnn import weights
from minicnn.errors import WeightsError
from minicnn.weights import safety

# ---- shapes, chunks, filters -----------------------------------------------------------------------------------------

TOO_MANY = "the shape declares more values than the file holds"
HUGE = {
    "4 TB": ({"shape": (2**40,), "chunks": (1024,)}, TOO_MANY),
    "one chunk of 1 GB": ({"shape": (2**28,), "chunks": (2**28,)}, TOO_MANY),
    "the largest": ({"shape": (2**62,), "chunks": (1,)}, TOO_MANY),
    "a product beyond 64 bits": ({"shape": (2**40, 2**40), "chunks": (1, 1)}, TOO_MANY),
    "many axes": ({"shape": (16,) * 8, "chunks": (1,) * 8}, TOO_MANY),
    "contiguous": ({"shape": (2**40,), "chunks": None, "fletcher32": False}, r"unexpected filters; seen filters \[\]"),
    "deflate": (
        {"shape": (2**40,), "chunks": (2**20,), "compression": "gzip"},
        r"unexpected filters; seen filters \[1, 3\]",
    ),
}


@pytest.mark.parametrize("case", HUGE)
def test_huge_shapes_allocate_nothing(edit, refused, case):
    options, text = HUGE[case]
    with edit() as file:
        file.create_dataset("extra", **{"dtype": "<f4", "fletcher32": True, **options}).attrs["rank"] = 1
    refused(f"'extra': {text}")


@pytest.mark.parametrize("case", ["4 TB", "one chunk of 1 GB", "contiguous"])
def test_huge_shapes_allocate_nothing_inside_hdf5_either(edit, refused_by_child, case):
    options, text = HUGE[case]
    with edit() as file:
        file.create_dataset("extra", **{"dtype": "<f4", "fletcher32": True, **options}).attrs["rank"] = 1
    refused_by_child(text.partition(";")[0])


def test_a_bomb_of_zeros(add, edit, refused, path):
    with edit() as file:
        zeros = add(file, shape=(2**22,), chunks=(2**20,), compression="gzip", compression_opts=9)
        zeros[...] = 0
    assert path.stat().st_size < 100_000
    refused(r"'extra': unexpected filters; seen filters \[1, 3\]; rule: Fletcher-32, and no other")


@pytest.mark.parametrize(
    "options", [{"compression": "lzf"}, {"shuffle": True}, {"scaleoffset": 2, "dtype": "<i8", "fletcher32": False}]
)
def test_other_filters(add, edit, refused, options):
    with edit() as file:
        add(file, **options)[...] = 1
    refused("'extra': unexpected filters; seen filters")


def test_an_unknown_filter_loads_no_plugin(edit, refused):
    with edit() as file:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_chunk((8,))
        plan.set_filter(32_015, 1, (3,))
        h5d.create(file.id, b"extra", h5t.IEEE_F32LE, h5s.create_simple((8,)), plan)
    refused(r"'extra': unexpected filters; seen filters \[32015\]")


def test_no_checksum(add, edit, refused):
    with edit() as file:
        add(file, fletcher32=False)[...] = 1
    refused(r"'extra': unexpected filters; seen filters \[\]; rule: Fletcher-32, and no other")


def test_compact_storage_has_no_checksum_either(edit, refused):
    with edit() as file:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_layout(h5d.COMPACT)
        h5d.create(file.id, b"extra", h5t.IEEE_F32LE, h5s.create_simple((8,)), plan)
    refused("'extra': unexpected filters")


@pytest.mark.parametrize("value", [np.float32(1), h5py.Empty("<f4")], ids=["a single number", "nothing"])
def test_no_shape(edit, refused, value):
    with edit() as file:
        file["extra"] = value
    refused("'extra': a dataset without a shape")


def test_nine_axes(add, edit, refused):
    with edit() as file:
        add(file, shape=(1,) * 9)[...] = 1
    refused(r"'extra': an unexpected number of axes; seen \(1, 1, 1, 1, 1, 1, 1, 1, 1\); rule: 1 to 8")


@pytest.mark.parametrize("rank", [0, 2, -1, 2**40])
def test_a_rank_that_does_not_fit(add, edit, refused, rank):
    with edit() as file:
        add(file, rank=rank)[...] = 1
    refused(rf"'extra': the attribute 'rank' does not fit the shape; seen {rank}, \(8,\)")


@pytest.mark.parametrize("rank", ["1", 1.0, [1], np.zeros(2**20), h5py.Empty("i8")], ids=str)
def test_a_rank_that_is_no_number(add, edit, refused, rank):
    with edit() as file:
        dataset = add(file)
        dataset[...] = 1
        dataset.attrs["rank"] = rank
    refused("'extra': the attribute 'rank' is missing, or not a number")


def test_no_rank(edit, refused):
    with edit() as file:
        del file["fc/bias"].attrs["rank"]
    refused("'fc.bias': the attribute 'rank' is missing, or not a number")


WRONG_CHUNK = "'extra': a chunk is missing, has the wrong size, or no checksum; seen "


def test_a_chunk_is_missing(add, edit, refused):
    with edit() as file:
        dataset = add(file, chunks=(1,))
        for i in range(4):  # with their checksums they are as long as eight without
            dataset.id.write_direct_chunk((i,), bytes(8))
    refused(WRONG_CHUNK + "4 chunks; rule: 8 chunks of 8 bytes")


@pytest.mark.parametrize("size", [28, 35, 37, 100])
def test_a_chunk_of_another_size(add, edit, refused, size):
    with edit() as file:
        dataset = add(file, shape=(16,), chunks=(8,))
        dataset.id.write_direct_chunk((0,), bytes(100))
        dataset.id.write_direct_chunk((8,), bytes(size))
    refused(WRONG_CHUNK + r"100 bytes at \(0,\); rule: 2 chunks of 36 bytes")
    with edit() as file:
        file["extra"].id.write_direct_chunk((0,), bytes(36))
    refused(rf"{WRONG_CHUNK}{size} bytes at \(8,\)")


def test_a_chunk_without_its_checksum(add, edit, refused):
    with edit() as file:
        add(file).id.write_direct_chunk((0,), bytes(36), filter_mask=1)
    refused(WRONG_CHUNK + r"36 bytes at \(0,\); rule: 1 chunks of 36 bytes")


def test_a_chunk_that_is_shorter_than_its_shape(add, edit, refused_by_child):
    """HDF5 reads what lies behind such a chunk in memory: this ended the process."""
    with edit() as file:
        dataset = add(file, shape=(2**24,), chunks=(2**23,))
        dataset.id.write_direct_chunk((0,), bytes(2**26), filter_mask=1)
        dataset.id.write_direct_chunk((2**23,), b"abcd", filter_mask=1)
    refused_by_child("a chunk is missing, has the wrong size, or no checksum")


def test_more_bytes_in_all_than_the_file_holds(path, edit, refused, monkeypatch):
    """As when many datasets share their chunks: each is small enough, but not all together."""
    monkeypatch.setattr(safety.os, "fstat", lambda _: os.stat_result((0,) * 6 + (2500,) + (0,) * 3))
    refused(r"more values than expected; seen [\d,]+ bytes; rule: 2,500 bytes")


def test_the_caller_may_set_a_limit(path, refused, state):
    size = sum(array.nbytes for array in state.values())
    assert set(weights.read(path, max_bytes=size)[0]) == set(state)
    text = f"more values than expected; seen {size:,} bytes; rule: {size - 1:,} bytes"
    refused(text, read=lambda at: weights.read(at, max_bytes=size - 1))


# ---- numbers of things, names ----------------------------------------------------------------------------------------


def test_too_many_objects_in_one_group(edit, refused):
    with edit() as file:
        for i in range(safety.MOST_OBJECTS):
            file.create_group(f"fc/g{i}")
    refused("too many objects; rule: at most 4,000")


def test_too_many_objects_in_a_tree(edit, refused):
    with edit() as file:
        for i, j in itertools.product(range(60), range(70)):
            file.create_group(f"g{i}/g{j}")
    refused("too many objects; rule: at most 4,000")


def test_too_many_chunks(add, edit, refused):
    with edit() as file:
        add(file, shape=(safety.MOST_CHUNKS, 1), chunks=(1, 1))[...] = 1
    refused(r"too many chunks; seen 16,\d{3}; rule: at most 16,000")


def test_too_deep(edit, refused):
    with edit() as file:
        file.create_group("/".join("g" * 500))
    refused(r"'g(\.g)*': groups are nested too deep; rule: at most 12")


@pytest.mark.parametrize("name", ["..", "a.b", "a b", "a\n", "é", "a" * 101, "\x1b[2J", b"\xff\xfe", "-rf"])
def test_names(edit, refused, name):
    with edit() as file:
        file["fc"].create_group(name)
    refused("a name that is not one of ours; rule: letters, digits, underscores")


def test_a_very_long_name_is_not_printed_whole(edit, refused, path):
    with edit() as file:
        file.create_group("b" * 60_000)
    refused("a name that is not one of ours")
    with pytest.raises(WeightsError) as caught:
        weights.read(path)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_no_weights(path, edit, refused):
    with edit() as file:
        for name in list(file):
            del file[name]
    refused("the file holds no weights")
