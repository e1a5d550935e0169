"""A sound weights file, and the tools to spoil it: edit it with h5py, or change bytes and repair the checksums."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from minicnn import weights
from minicnn.errors import WeightsError
from minicnn.weights.importers import read_foreign

MIB = 2**20


@pytest.fixture
def state():
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "bn1.weight": rng.standard_normal(8).astype(np.float32),
        "bn1.bias": rng.standard_normal(8).astype(np.float32),
        "bn1.num_batches_tracked": np.array(7),
        "layer1.0.conv1.weight": rng.standard_normal((8, 8, 3, 3)).astype(np.float32),
        "fc.weight": rng.standard_normal((4, 8)).astype(np.float32),
        "fc.bias": rng.standard_normal(4).astype(np.float32),
    }


@pytest.fixture
def info():
    return weights.WeightsInfo(
        "resnet18",
        {"num_classes": 4, "width": 8, "stem": "small"},
        classes=["ant", "bee", "größte Wespe", "✓"],
        input_size=32,
        mean=(0.1, 0.2, 1 / 3),
        std=(0.5, 0.25, 1e-7),
        trained_on="pictures of insects",
        accuracy=0.9012345678901234,
        licence="MIT",
        notes="measured on 500 pictures",
        log=[{"epoch": 1, "loss": 2.25}, {"epoch": 2, "loss": 0.1 + 0.2}],
    )


@pytest.fixture
def path(tmp_path, state, info):
    """A sound file."""
    path = tmp_path / "model.h5"
    weights.save(path, state, info)
    return path


@pytest.fixture
def edit(path):
    """`with edit() as file:` opens the sound file for changes; the form of the file stays ours."""

    @contextmanager
    def open_file():
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            yield file

    return open_file


@pytest.fixture
def add():
    """Adds a dataset as ours are, but for what the options say."""

    def make(file, name="extra", shape=(8,), chunks=None, rank=None, **options):
        options = {"dtype": "<f4", "fletcher32": True, "track_times": False, **options}
        dataset = file.create_dataset(name, shape, chunks=chunks or shape, **options)
        dataset.attrs["rank"] = len(shape) if rank is None else rank
        return dataset

    return make


@pytest.fixture
def refused(path):
    """Asserts that reading is refused with this text: in a line, in less than a second of work, in little memory."""

    def check(text, *, at=path, read=weights.read):
        tracemalloc.start()
        start = time.process_time()
        try:
            with pytest.raises(WeightsError, match=text) as caught:
                read(at)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.process_time() - start < 1.0
        assert peak < 4 * MIB, f"{peak:,} bytes were allocated"
        message = str(caught.value)
        assert message.startswith(str(at)), message
        assert "\n" not in message

    return check


@pytest.fixture
def refused_by_child(path):
    """The same in a process of its own, for files that once ended the process; it also limits the memory of HDF5."""
    program = (
        "import resource, sys\n"
        "import h5py\n"
        "from minicnn import weights\n"
        "from minicnn.errors import WeightsError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    weights.read(sys.argv[1])\n"
        "except WeightsError as error:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)\n"
    )

    def check(text, *, most_mib=8):
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-300:]}"
        kib, _, message = done.stdout.partition(" ")
        assert text in message, message
        assert int(kib) < most_mib * 1024, f"{int(kib):,} KiB were allocated"

    return check


# ---- forging: bytes of an object's header changed, and its checksum made to fit -------------------------------------


def headers(content: bytes) -> list[tuple[int, int, int]]:
    """(start, start of the messages, place of the checksum) of each object header's first block."""
    found, at = [], content.find(b"OHDR")
    while at >= 0:
        flags = content[at + 5]
        size_at = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        end = size_at + width + int.from_bytes(content[size_at : size_at + width], "little")
        if lookup3(content[at:end]).to_bytes(4, "little") == content[end : end + 4]:
            found.append((at, size_at + width, end))
        at = content.find(b"OHDR", at + 1)
    return found


@pytest.fixture
def forging():
    """`headers(content)`, and `repair(content, headers)`, which makes the checksums right."""

    class Forging:
        headers = staticmethod(headers)

        @staticmethod
        def repair(content: bytearray, places: list[tuple[int, int, int]]) -> None:
            for start, _, end in places:
                content[end : end + 4] = lookup3(bytes(content[start:end])).to_bytes(4, "little")

    return Forging


def lookup3(data: bytes) -> int:
    """Bob Jenkins's hash, which HDF5 uses as the checksum of its structure."""
    mask = 2**32 - 1
    a = b = c = (0xDEADBEEF + len(data)) & mask

    def turn(x, k):
        return ((x << k) | (x >> (32 - k))) & mask

    def words(at):
        block = data[at : at + 12].ljust(12, b"\0")
        return [int.from_bytes(block[i : i + 4], "little") for i in (0, 4, 8)]

    at = 0
    while len(data) - at > 12:
        x, y, z = words(at)
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        for k in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & mask) ^ turn(c, k)
            c = (c + b) & mask
            a, b, c = b, c, a  # the next of the six steps does the same with other names
        at += 12
    if len(data) == at:
        return c
    x, y, z = words(at)
    a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
    for k in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - turn(b, k)) & mask
        a, b, c = b, c, a
    return b  # where c stands after seven steps


@pytest.fixture
def file(tmp_path):
    """Writes a foreign weights file; nothing in its name says what it is."""

    def write(content: bytes):
        path = tmp_path / "weights.bin"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def refuses(file):
    """Asserts that reading is refused with this text, in one line, within a second of work and 100 MB."""

    def check(content: bytes, words: str) -> None:
        path = file(content)
        tracemalloc.start()
        start = time.process_time()
        try:
            with pytest.raises(WeightsError, match=words) as caught:
                read_foreign(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.process_time() - start < 3, "tracing triples the time"
        assert peak < 100e6, f"{peak:,} bytes"
        message = str(caught.value)
        assert message.startswith(str(path)), message
        assert message.isprintable(), message

    return check
