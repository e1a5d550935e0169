"""Plain HDF5 of any form is read to the bit; hostile files are refused by name, at once; changed bytes do no harm."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from minicnn import models, weights
from minicnn.errors import WeightsError
from minicnn.models.importing import import_weights
from minicnn.weights.importers import read_foreign

MIB = 2**20
PARTIAL = Path(__file__).resolve().parents[2].parent / "shared/data/checkpoints/resnet18_imagenet_partial.h5"


def write_all_forms(path, **options):
    """Datasets in every layout, filter and dtype that is read; returns the values."""
    rng = np.random.default_rng(0)
    values = {}
    with h5py.File(path, "w", **options) as file:

        def put(name, array, **storage):
            file.create_dataset(name, data=array, **storage)
            values[name.replace("/", ".")] = array

        for i in range(40):  # a large group: more than one node, or a heap
            put(f"layer{i}.weight", rng.standard_normal((3, 4)).astype(["f4", "f8", "f2", ">f4", "i8", "u1"][i % 6]))
        put("scalar", np.float32(3))
        put("empty", np.zeros((0, 3), np.float32))
        filters = [
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
            {"compression": "lzf"},
            {"fletcher32": True},
            {"chunks": (7, 5)},
            {"chunks": (50, 41), "compression": "gzip"},
        ]
        for i, storage in enumerate(filters):
            put(f"deep/er/c{i}", rng.standard_normal((50, 41)).round(1).astype(np.float32), **storage)
        put("noise", rng.standard_normal((60, 50)), chunks=(10, 10), compression="lzf")  # some chunks stay unpacked
    return values


@pytest.mark.parametrize(
    "options", [{}, {"libver": "v108"}, {"libver": "v110"}, {"libver": "latest"}, {"track_order": True}], ids=str
)
def test_every_form_of_storage(tmp_path, options):
    values = write_all_forms(tmp_path / "a.h5", **options)
    found = read_foreign(tmp_path / "a.h5").arrays
    assert found.keys() == values.keys()
    for name, array in values.items():
        assert found[name].dtype == np.asarray(array).dtype, name
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("form", ["flat", "nested", "in a group"])
def test_torch_names_in_plain_hdf5(tmp_path, form):
    state = models.resnet18(width=2, num_classes=3).state_dict()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in state.items():
            file[{"flat": name, "nested": name.replace(".", "/"), "in a group": f"tensors/{name}"}[form]] = array
    report = import_weights(tmp_path / "a.h5", tmp_path / "b.h5")
    assert len(report.loaded) == len(state)
    found, _ = weights.read(tmp_path / "b.h5")
    assert all(np.array_equal(found[name], array) for name, array in state.items())


def test_a_file_of_ours_is_known_and_compared_with_its_checksum(tmp_path):
    """Its attributes are many, and so stand in a heap."""
    state = models.resnet18(width=2, num_classes=3).state_dict()
    weights.save(tmp_path / "a.h5", state, weights.WeightsInfo("resnet18", {"num_classes": 3, "width": 2}))
    assert read_foreign(tmp_path / "a.h5").format == "minicnn weights (HDF5)"
    with pytest.raises(WeightsError, match="already a weights file of minicnn"):
        import_weights(tmp_path / "a.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5", "r+", libver=("v110", "v110")) as file:
        file["fc/bias"][0] += 1
    with pytest.raises(WeightsError, match="the contents do not match their SHA-256 checksum"):
        read_foreign(tmp_path / "a.h5")


@pytest.mark.skipif(not PARTIAL.exists(), reason="needs ../shared/data")
def test_real_tensors_of_which_most_are_missing(tmp_path):
    found = read_foreign(PARTIAL)
    assert len(found.arrays) == 21
    assert found.arrays["conv1.weight"].shape == (64, 3, 7, 7)
    with h5py.File(PARTIAL) as file:
        assert np.array_equal(found.arrays["conv1.weight"], file["tensors/conv1.weight"][...])
    with pytest.raises(WeightsError, match=r"21 of 102 names.*rule: conv1\.weight, bn1\.weight"):
        import_weights(PARTIAL, tmp_path / "b.h5", "resnet18")


# ---- hostile ---------------------------------------------------------------------------------------------------------


def external_storage(file):
    file.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (4,))
    file.create_virtual_dataset("a", layout)


def bomb(file):
    """Hundreds of times its size unpacked, in chunks of a size that a weights file may have."""
    file.create_dataset("a", (256, 2**14), "f4", chunks=(1, 2**14), compression="gzip")[...] = 0


def shared_type(file):
    file["type"] = np.dtype("f4")
    file.create_dataset("a", data=np.ones(3), dtype=file["type"])


HOSTILE = {
    "soft link": (lambda file: file.__setitem__("a", h5py.SoftLink("/b")), "a soft link, which is never followed"),
    "external link": (
        lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")),
        "an external link, which is never followed",
    ),
    "cycle": (lambda file: file.create_group("a").__setitem__("b", file["/"]), r"linked twice \(a cycle\?\)"),
    "two names": (lambda file: (file.__setitem__("a", [1.0]), file.__setitem__("b", file["a"])), "linked twice"),
    "external storage": (external_storage, "values in another file"),
    "virtual": (virtual, "a virtual dataset, which reads other files"),
    "texts": (lambda file: file.create_dataset("a", data=["x"]), "not an array of numbers; seen objects of any length"),
    "compound": (
        lambda file: file.create_dataset("a", data=np.zeros(2, "i4,f4")),
        "not an array of numbers; seen a compound of fields",
    ),
    "references": (lambda file: file.create_dataset("a", (2,), h5py.ref_dtype), "not an array of numbers"),
    "enumeration": (lambda file: file.create_dataset("a", data=np.ones(2, bool)), "not an array of numbers"),
    "a named datatype": (shared_type, "a named datatype|neither a group nor a dataset"),
    "never written": (lambda file: file.create_dataset("a", (2**20,), "f4"), "values that were never written"),
    "sparse": (
        lambda file: file.create_dataset("a", (2**20,), "f4", chunks=(1024,)),
        "a chunk is missing|values that were never",
    ),
    "huge": (lambda file: file.create_dataset("a", (2**30, 2**30), "f8", chunks=(1, 1024)), "too many chunks"),
    "many axes": (lambda file: file.create_dataset("a", data=np.ones((1,) * 12)), "a shape that can be; seen 12 axes"),
    "other filter": (
        lambda file: file.create_dataset("a", data=np.ones(9), scaleoffset=2, dtype="f4"),
        "unexpected fil",
    ),
    "bomb": (bomb, "more values than the file can hold; seen 16,777,216 bytes of values"),
    "deep": (lambda file: file.create_group("/".join("a" * 40)), "groups are nested too deep"),
    "no arrays": (lambda file: file.create_group("a"), "an HDF5 file without arrays"),
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(tmp_path, case, libver):
    make, text = HOSTILE[case]
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        make(file)
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(WeightsError, match=text) as caught:
            read_foreign(tmp_path / "a.h5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 1
    assert peak < 20 * MIB
    assert str(caught.value).startswith(str(tmp_path / "a.h5"))


def test_too_many_objects(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        for i in range(9_000):
            file.create_group(str(i))
    start = time.process_time()
    with pytest.raises(WeightsError, match=r"too many|the file is damaged"):
        read_foreign(tmp_path / "a.h5")
    assert time.process_time() - start < 1


def test_half_a_download(tmp_path):
    write_all_forms(tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        WeightsError, match=r"cut off \(half a download\?\); seen [\d,]+ bytes of [\d,]+; hint: fetch it"
    ):
        read_foreign(tmp_path / "a.h5")


def test_a_changed_value_is_found_where_there_is_a_checksum(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=np.arange(4096.0), fletcher32=True, chunks=(4096,))
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[content.find(np.float64(1234.0).tobytes()) + 1] ^= 1
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(WeightsError, match="values that do not match their Fletcher-32 checksum"):
        read_foreign(tmp_path / "a.h5")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_changed_bytes_never_crash(tmp_path, libver):
    """On such files the HDF5 library itself ends the process now and then, or does not come back."""
    write_all_forms(tmp_path / "a.h5", libver=libver)
    sound = (tmp_path / "a.h5").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(sound)
        for _ in range(rng.integers(1, 9)):
            content[rng.integers(8, len(content))] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        (tmp_path / "a.h5").write_bytes(content)
        start = time.process_time()
        refused += 1
        with contextlib.suppress(WeightsError):  # any other error fails
            read_foreign(tmp_path / "a.h5")
            refused -= 1
        assert time.process_time() - start < 1
    assert refused > 10
