"""Files whose bytes were changed, by design under repaired checksums or by chance; and whatever error HDF5 has."""

from __future__ import annotations

import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from minicnn import weights
from minicnn.errors import WeightsError
from minicnn.weights import headers, safety


def test_every_error_of_hdf5_becomes_ours(path, refused, monkeypatch):
    for error in (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, MemoryError, RecursionError):

        def fail(*args, error=error):
            raise error("some\nlines")

        monkeypatch.setattr(safety, "_walk", fail)
        refused(f"the file is damaged; seen {error.__name__}: '?some")


def layout_message(content, header):
    """Where the first layout message of an object header has its data."""
    start, at, end = header
    step = 6 if content[start + 5] & 4 else 4
    while content[at] != headers.LAYOUT:
        at += step + int.from_bytes(content[at + 1 : at + 3], "little")
        assert at < end
    return at + step


@pytest.mark.parametrize("parts", [1, 2])
def test_chunks_without_axes(path, edit, forging, refused_by_child, parts):
    """HDF5 divides by zero when it opens such a dataset: this ended the process."""
    if parts == 2:  # a header that goes on elsewhere
        with edit() as file:
            for i in range(7):
                file["fc/bias"].attrs[f"a{i}"] = np.zeros(100)
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file["bn1/num_batches_tracked"].id).addr
    content = bytearray(path.read_bytes())
    header = next(found for found in forging.headers(bytes(content)) if found[0] == address)
    at = layout_message(content, header)
    assert content[at : at + 4] == b"\4\2\2\2"  # version, chunked, flags, axes
    content[at + 3] = 0
    forging.repair(content, [header])
    path.write_bytes(content)
    refused_by_child("'bn1.num_batches_tracked': the file is damaged; seen chunks without axes")


def test_a_header_in_parts_is_followed(path, edit, tmp_path):
    with edit() as file:
        for i in range(7):
            file["fc/bias"].attrs[f"a{i}"] = np.zeros(100)
        address = h5py.h5o.get_info(file["fc/bias"].id).addr
    with open(path, "rb") as raw:
        kinds = [kind for kind, _ in headers._messages(raw, address, "")]
    assert headers.CONTINUATION in kinds
    assert kinds.count(headers.LAYOUT) == 1
    assert kinds.count(0x0C) == 8  # attributes: rank and the seven
    assert "fc.bias" in weights.read(path)[0]


def test_a_header_that_goes_on_in_itself(tmp_path):
    start, size = 7, 20  # of the header's messages: a single one, which says that they go on where they began
    place, length = start - len("OCHK"), size + len("OCHK") + 4
    message = bytes([headers.CONTINUATION, 16, 0, 0]) + place.to_bytes(8, "little") + length.to_bytes(8, "little")
    (tmp_path / "loop").write_bytes(b"OHDR\2\0" + bytes([size]) + message)
    before = time.process_time()
    with (
        open(tmp_path / "loop", "rb") as raw,
        pytest.raises(WeightsError, match="fc: the file is damaged; seen a header in too many parts"),
    ):
        headers.check_header(raw, 0, "fc")
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"TREE\0\0\0\0", "an object in a form that minicnn does not write; seen b'TREE'"),
        (b"OHDR\2", "a header beyond the end of the file"),
        (b"OHDR\2\0\xff", "a header beyond the end of the file"),
        (b"OHDR\2\3" + b"\xff" * 8, r"a header of 18,446,744,073,709,551,615 bytes at 14"),
        (b"OHDR\2\0\x14\x10\x10\0\0" + bytes(16), r"a header of -8 bytes at 4"),
        (b"OHDR\2\0\x14\x10\x10\0\0" + b"\xff" * 16, "a header of 18,446,744,073,709,551,607 bytes"),
    ],
)
def test_headers_that_cannot_be(tmp_path, content, text):
    (tmp_path / "header").write_bytes(content)
    with open(tmp_path / "header", "rb") as raw, pytest.raises(WeightsError, match=text):
        headers.check_header(raw, 0, "fc")


# ---- chance ----------------------------------------------------------------------------------------------------------


def spoilt(content, seed):
    """A copy with one to three changed bytes, a run of zeros, a piece exchanged, or cut off."""
    rng = np.random.default_rng(seed)
    changed = bytearray(content)
    limit = len(content) if seed % 2 else 6000  # half of them in the first part, where most of the structure is
    for _ in range(rng.integers(1, 4)):
        changed[rng.integers(limit)] ^= 1 << rng.integers(8)
    start, other, size = rng.integers(limit - 64), rng.integers(limit - 64), rng.integers(1, 64)
    if seed % 10 == 0:
        changed[start : start + size] = bytes(size)
    elif seed % 10 == 1:
        changed[start : start + size] = content[other : other + size]
    elif seed % 10 == 2:
        del changed[rng.integers(len(content)) :]
    return changed


def test_three_hundred_spoilt_files(path, state, info):
    content = path.read_bytes()
    refusals = 0
    for seed in range(300):
        path.write_bytes(spoilt(content, seed))
        try:
            found, said = weights.read(path)
        except WeightsError:
            refusals += 1
            continue
        assert said == info, seed
        assert set(found) == set(state), seed
        for name, array in state.items():  # a byte that nobody uses
            assert found[name].dtype == array.dtype, seed
            assert found[name].shape == array.shape, seed
            assert found[name].tobytes() == array.tobytes(), seed
    assert refusals > 225


FORGER = """
import sys
from minicnn import weights
from minicnn.errors import WeightsError
refusals = 0
for name in sys.argv[1:]:
    print(name, flush=True)
    try:
        weights.read(name)
    except WeightsError:
        refusals += 1
print("refused", refusals)
"""


def test_two_hundred_forged_files(path, forging, tmp_path):
    """Changes in the structure under checksums made right; in a process of its own, should one of them end it."""
    content = path.read_bytes()
    places = forging.headers(content)
    assert len(places) >= 10  # the root, four groups and the datasets
    names = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        changed = bytearray(content)
        _, start, end = places[rng.integers(len(places))]
        at = rng.integers(start, end)
        changed[at] = (0, 255, int(rng.integers(256)), changed[at] ^ 1 << rng.integers(8))[seed % 4]
        forging.repair(changed, places)
        names.append(str(tmp_path / f"{seed}.h5"))
        (tmp_path / f"{seed}.h5").write_bytes(changed)
    done = subprocess.run([sys.executable, "-c", FORGER, *names], capture_output=True, text=True, timeout=120)
    *_, last = done.stdout.split("\n")[:-1]
    assert done.returncode == 0, f"{last}: exit status {done.returncode}, {done.stderr[-300:]}"
    assert int(last.removeprefix("refused ")) > 70
