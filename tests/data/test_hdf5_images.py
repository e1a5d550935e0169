"""HDF5Images and write_image_set: the same images as the folder, from any thread or process; what is refused."""

from __future__ import annotations

import io
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from minicnn.data import ArrayDataset, Concat, HDF5Images, ImageFolder, Subset, write_image_set
from minicnn.data.hdf5_values import fletcher32
from minicnn.data.transforms import RandomCrop, ToTensor
from minicnn.errors import ArgumentError, DataError, MinicnnError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def folder(tmp_path):
    """Six files of different formats and sizes."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(("a/0.jpg", "a/1.png", "a/2.jpg", "b/0.bmp", "b/1.jpg", "b/2.tif")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"} if i == 2 else {}
        Image.fromarray(rng.integers(0, 256, (8 + i, 12, 3), dtype=np.uint8)).save(path, **exif)
    return ImageFolder(tmp_path / "photos")


def arrays(count: int = 5, shape: tuple[int, ...] = (4, 6, 3)) -> ArrayDataset:
    images = np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)
    return ArrayDataset(images, np.arange(count) % 3, ["x", "y", "z"])


def same(a, b) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(np.asarray(x), np.asarray(u)) and y == v for (x, y), (u, v) in zip(a, b, strict=True)
    )


# ---- the same images ------------------------------------------------------------------------------------------------


def test_a_folder_in_a_file(folder, tmp_path):
    path = tmp_path / "set.h5"
    write_image_set(path, {"train": folder, "val": Subset(folder, [5, 0])})
    train, val = HDF5Images(path, "train"), HDF5Images(path, "val")
    assert same(train, folder)
    assert folder[2][0].size == (10, 12)  # turned upright, here and there
    assert same(val, Subset(folder, [5, 0]))
    assert train.encoded(1) == Path(folder.samples[1][0]).read_bytes()
    assert (train.classes, train.splits, train.targets.tolist()) == (["a", "b"], ["train", "val"], folder.targets)
    assert repr(train) == f"HDF5Images({str(path)!r}, 'train', 6 images, 2 classes)"
    assert train[-1][1] == 1
    with pytest.raises(IndexError):
        train[6]
    assert train.verify()
    x, _ = HDF5Images(path, "val", ToTensor())[0]
    assert np.array_equal(x, ToTensor()(folder[5][0]))
    with pytest.raises(DataError, match=re.escape(f"{path}: val[1]: RandomCrop: the image is smaller")):
        HDF5Images(path, "val", RandomCrop(20))[1]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["set.h5"]


def test_small_copies(folder, tmp_path):
    path = tmp_path / "set.h5"
    write_image_set(path, folder, size=9)
    small = HDF5Images(path)
    assert [min(image.size) for image, _ in small] == [8, 9, 9, 9, 9, 9]
    assert small.encoded(0) == folder.encoded(0)  # small already: its own bytes
    assert small.encoded(4).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 6), (4, 6, 1), (4, 6, 4)])
@pytest.mark.parametrize("layout", ["files", "pixels"])
def test_arrays_in_a_file(tmp_path, shape, layout):
    images = arrays(5, shape)
    write_image_set(tmp_path / "set.h5", images, layout=layout)
    stored = HDF5Images(tmp_path / "set.h5")
    assert (stored.split, stored.is_encoded, stored.verify()) == ("", layout == "files", True)
    for (image, label), (pixels, expected) in zip(stored, images, strict=True):
        assert (image.mode, label) == ("RGB", expected)
        assert np.array_equal(np.asarray(image), np.broadcast_to(pixels.reshape(4, 6, -1)[..., :3], (4, 6, 3)))
    if layout == "pixels":
        with pytest.raises(DataError, match="pixels, not image files"):
            stored.encoded(0)
        write_image_set(tmp_path / "again.h5", Concat([stored]), layout="pixels")
        assert same(HDF5Images(tmp_path / "again.h5"), stored)


def packed(path: Path, **options: object) -> HDF5Images:
    """A file as h5py writes it, in chunks."""
    files = []
    for image in arrays(9).images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        files.append(buffer.getvalue())
    with h5py.File(path, "w") as file:
        offsets = np.cumsum([0, *map(len, files)]).astype(">i4")
        file.create_dataset("train/offsets", data=offsets, chunks=(4,), **options)
        file.create_dataset("train/labels", data=(np.arange(9) % 3).astype(np.uint8), chunks=(4,), **options)
        joined = np.frombuffer(b"".join(files), np.uint8)
        file.create_dataset("train/jpeg", data=joined, chunks=(100,), **options)
        file.create_dataset("train/other", data=np.arange(9.0), chunks=(4,), compression="lzf")
        file.attrs["classes"] = ["x", "y", "größte Wespe"]
    return HDF5Images(path)


OPTIONS = [
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    {"fletcher32": True},
    {"shuffle": True},
    {},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "chunks")
def test_packed_files_of_others(tmp_path, options):
    images = packed(tmp_path / "set.h5", **options)
    assert same(images, arrays(9))
    assert images.classes == ["x", "y", "größte Wespe"]
    assert not images.verify()  # there is no checksum
    assert HDF5Images(tmp_path / "set.h5", classes=["p", "q", "r", "s"]).classes == ["p", "q", "r", "s"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_forks_and_pickles_read_the_same(folder, tmp_path):
    write_image_set(tmp_path / "set.h5", folder)
    for images in (HDF5Images(tmp_path / "set.h5"), packed(tmp_path / "packed.h5", compression="gzip")):
        expected = [np.asarray(image) for image, _ in images]
        order = np.random.default_rng(0).integers(0, len(images), 200).tolist()
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(lambda i, images=images: np.asarray(images[i][0]), order))
        assert all(np.array_equal(x, expected[i]) for i, x in zip(order, read, strict=True))
        assert same(pickle.loads(pickle.dumps(images)), images)
        child = os.fork()
        if not child:
            os._exit(0 if all(np.array_equal(np.asarray(images[i][0]), expected[i]) for i in order) else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("version", ["earliest", "v110", "latest"])
def test_names_of_classes_of_any_length(folder, tmp_path, version):
    path = tmp_path / "set.h5"
    names = ["a", "größte Wespe " * 200, "", "✓"]
    with h5py.File(path, "w", libver=version) as file:
        for i in range(20):  # a header in several parts
            file.attrs[f"note{i}"] = "x" * 50 * (version == "earliest" or i < 5)
        file["labels"] = np.zeros(2, np.int64)
        file["images"] = np.zeros((2, 3, 3), np.uint8)
        file.attrs["classes"] = names
        dense = version != "earliest" and len(file.attrs) > 8
    if dense:  # from eight attributes on, newer forms keep them elsewhere
        assert "attribute 'classes': texts that cannot be read" in refusal(HDF5Images, path)
    else:
        assert HDF5Images(path).classes == names
    many = [f"class {i} é" for i in range(20_000)]
    write_image_set(path, ArrayDataset(np.zeros((2, 3, 3), np.uint8), np.array([0, 19_999]), many))
    assert HDF5Images(path).classes == many


def test_a_damaged_heap_of_names(tmp_path):
    path = tmp_path / "set.h5"
    packed(path)
    data = path.read_bytes()
    heap = data.index(b"GCOL")
    for place, new in ((8, b"\xff" * 8), (8, bytes(8)), (16 + 8, b"\xff" * 8), (16, b"\0\0"), (0, b"g")):
        path.write_bytes(data[: heap + place] + new + data[heap + place + len(new) :])
        assert "attribute 'classes': texts that cannot be read" in refusal(HDF5Images, path)
    # The first object is the free space, of no bytes: HDF5 itself would look at it for ever.
    path.write_bytes(data[: heap + 16] + bytes(16) + data[heap + 32 :])
    assert "seen a text of 1 bytes, of which there are 0" in refusal(HDF5Images, path)


def test_fletcher32_is_that_of_hdf5(tmp_path):
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 719, 720, 721, 100_001):
        for data in (
            rng.integers(0, 256, size, dtype=np.uint8),
            np.full(size, 255, np.uint8),
            np.zeros(size, np.uint8),
        ):
            with h5py.File(tmp_path / "a.h5", "w") as file:
                dataset = file.create_dataset("x", data=data, chunks=(size,), fletcher32=True)
                stored = int.from_bytes(dataset.id.read_direct_chunk((0,))[1][-4:], "little")
            assert fletcher32(data.tobytes()) == (stored >> 16) % 65535 << 16 | (stored & 65535) % 65535


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_sets():
    images = HDF5Images(SHARED / "cifar10_full_jpegbytes.h5", "test")
    assert (len(images), len(images.classes)) == (10_000, 10)
    assert np.bincount(images.targets).tolist() == [1000] * 10
    assert {images[i][0].size for i in range(0, 10_000, 500)} == {(32, 32)}
    with pytest.raises(ArgumentError, match=r"which part of the file\?; seen split=None; rule: one of test, train"):
        HDF5Images(SHARED / "tinyimagenet199_64px_jpegbytes.h5")


# ---- what is refused ------------------------------------------------------------------------------------------------


def refusal(call, *arguments: object, **options: object) -> str:
    with pytest.raises(MinicnnError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bad_image_leaves_no_file(folder, tmp_path):
    Path(folder.samples[4][0]).write_bytes(b"torn")
    path = tmp_path / "set.h5"
    path.write_bytes(b"before")
    assert refusal(write_image_set, path, folder).startswith(f"{folder.samples[4][0]}: not an image")
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["set.h5"]
    write_image_set(path, ImageFolder(folder.root, skip_bad=True))
    assert len(HDF5Images(path)) == 5


def test_what_the_writer_refuses(folder, tmp_path):
    path = tmp_path / "set.h5"
    for parts, options, message in (
        ({}, {}, "no images"),
        ({"a/b": folder}, {}, "not a name of a part; seen 'a/b'"),
        ({"train": folder, "val": arrays()}, {}, "parts with different classes"),
        (folder, {"layout": "pixels"}, r"1\.png: images of different sizes; seen \(9, 12, 3\), the first one \(8, 12"),
        (folder, {"layout": "zip"}, "unknown layout; seen 'zip'; rule: one of files, pixels"),
        (folder, {"size": 0}, "size is too small"),
        (folder, {"quality": 101}, "quality out of range"),
    ):
        assert re.search(message, refusal(write_image_set, path, parts, **options))
    assert "cannot be written" in refusal(write_image_set, tmp_path / "no" / "set.h5", folder)
    assert not path.exists()


def break_it(path: Path, how: str) -> None:
    """Make one thing wrong in a sound file."""
    with h5py.File(path, "r+") as file:
        group = file["train"]

        def put(name: str, **options: object) -> None:
            del group[name]
            group.create_dataset(name, **options)

        offsets = group["offsets"][...]
        if how.startswith("offsets"):
            changed = {"fall": offsets[::-1], "beyond": offsets + 999, "negative": offsets - 1, "few": offsets[1:]}
            put("offsets", data=changed[how.split()[1]])
        elif how.startswith("labels"):
            put(
                "labels", data=np.array({"high": [0, 3], "negative": [0, -1], "floats": [0.0, 1.0]}[how.split()[1]] * 1)
            )
        elif how == "soft link":
            del group["jpeg"]
            group["jpeg"] = h5py.SoftLink("/train/labels")
        elif how == "external link":
            del group["jpeg"]
            group["jpeg"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif how == "external values":
            put("jpeg", shape=(100,), dtype="u1", external=[("/etc/passwd", 0, 100)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((100,), "u1")
            layout[:] = h5py.VirtualSource("other.h5", "x", (100,))
            del group["jpeg"]
            group.create_virtual_dataset("jpeg", layout)
        elif how == "objects":
            put("jpeg", shape=(3,), dtype=h5py.vlen_dtype(np.uint8))
        elif how == "bomb":
            put("jpeg", shape=(2**34,), dtype="u1", chunks=(2**20,), compression="gzip")
        elif how == "packed bomb":
            put("jpeg", data=np.zeros(2**25, np.uint8), chunks=(2**22,), compression="gzip")
        elif how == "lzf":
            put("jpeg", data=np.zeros(100, np.uint8), chunks=(100,), compression="lzf")
        elif how == "never written":
            put("jpeg", shape=(2**33,), dtype="u1")
        elif how == "a missing chunk":
            put("jpeg", shape=(1000,), dtype="u1", chunks=(100,))
            group["jpeg"][:900] = 1
        elif how == "empty":
            put("labels", data=np.zeros(0, np.int64))
        elif how == "group":
            del group["jpeg"]
            group.create_group("jpeg")
        elif how == "classes":
            file.attrs["classes"] = 7


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("offsets fall", "offsets that are no places of images; seen .* not rising"),
        ("offsets beyond", "offsets that are no places of images; .* rule: each larger .* within 0 .. "),
        ("offsets negative", "offsets that are no places of images; seen -1"),
        ("offsets few", "labels and offsets do not fit; seen 6 labels, 6 offsets"),
        ("labels high", "a label without a class; seen labels 0 .. 3, 2 classes"),
        ("labels negative", "a label without a class; seen labels -1 .. 0"),
        ("labels floats", "an unexpected dtype; seen not integers"),
        ("soft link", "a soft link, which is never followed"),
        ("external link", "an external link, which is never followed"),
        ("external values", "values in another file"),
        ("virtual", "values in another file"),
        ("objects", "an unexpected dtype; seen not integers; rule: bytes"),
        ("bomb", "too large to be unpacked into memory"),
        ("packed bomb", "the file is damaged; seen shape .* rule: the file holds what it declares"),
        ("lzf", r"unexpected filters; seen numbers \[32000\]"),
        ("never written", "the file is damaged"),
        ("a missing chunk", "the file is damaged; seen 9 chunks.* rule: 10 whole chunks"),
        ("empty", "an empty array"),
        ("group", "not an array"),
        ("classes", "attribute 'classes': not a list of texts"),
    ],
)
def test_broken_and_hostile_sets(folder, tmp_path, how, message):
    path = tmp_path / "set.h5"
    write_image_set(path, {"train": folder})
    break_it(path, how)
    text = refusal(HDF5Images, path)
    assert re.search(message, text), text
    assert text.startswith(str(path))


def test_other_files(folder, tmp_path):
    path = tmp_path / "set.h5"
    for content, message in (
        (b"", "not an HDF5 file; seen first bytes b''"),
        (b"\x89PNG\r\n\x1a\n", "not an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "the file is damaged"),
    ):
        path.write_bytes(content)
        assert message in refusal(HDF5Images, path)
    assert "there is no such file" in refusal(HDF5Images, tmp_path / "gone.h5")
    assert "not a regular file" in refusal(HDF5Images, tmp_path)
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)
    assert "no images; seen an HDF5 file with weights" in refusal(HDF5Images, path)
    write_image_set(path, {"train": folder})
    assert "seen split='val'; rule: one of train" in refusal(HDF5Images, path, "val")
    path.write_bytes(path.read_bytes()[:-300])
    assert "the file is damaged" in refusal(HDF5Images, path)


def test_changed_values_are_found(folder, tmp_path):
    path = tmp_path / "set.h5"
    write_image_set(path, {"train": folder})
    images = HDF5Images(path)
    data = bytearray(path.read_bytes())
    data[data.find(images.encoded(3)) + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="values that do not match their SHA-256 checksum"):
        HDF5Images(path).verify()
    packed(path, fletcher32=True, compression="gzip")
    with h5py.File(path) as file:
        place = file["train/jpeg"].id.get_chunk_info(2).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 5] ^= 1
    path.write_bytes(data)
    assert "values that do not match their Fletcher-32 checksum" in refusal(HDF5Images, path)


def test_a_file_that_gets_shorter_meanwhile(folder, tmp_path):
    path = tmp_path / "set.h5"
    write_image_set(path, {"train": folder})
    images = HDF5Images(path)
    os.truncate(path, 5000)
    with pytest.raises(DataError, match="the file is damaged; seen the end of the file"):
        list(images)
