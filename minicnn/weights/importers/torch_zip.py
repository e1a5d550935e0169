"""PyTorch checkpoints in the zip format (`torch.save` since PyTorch 1.6, 2020).

    <name>/data.pkl       a pickle; storages stand in it as ("storage", class, key, device, number of values)
    <name>/data/<key>     the values of a storage, as they are
    <name>/byteorder      "little" or "big", since 2.1
    <name>/version        and others, which say nothing of the weights

Entries are stored, never packed, and begin at multiples of 64 bytes: arrays are views of the mapped file. Every entry
has a CRC-32, which is checked.
"""

from __future__ import annotations

import math
from typing import Any

from minicnn.errors import WeightsError
from minicnn.weights.importers import zip_container
from minicnn.weights.importers.foreign import Foreign, map_file, shown
from minicnn.weights.importers.pickle_machine import CutOffError
from minicnn.weights.importers.torch_objects import NAMES, Storage, checkpoint, collect, storage_dtype, view
from minicnn.weights.importers.unpickler import Unpickler
from minicnn.weights.importers.zip_container import Entry, NoDirectoryError

FORMAT = "PyTorch checkpoint (zip)"
ALIGNMENT, DESCRIPTOR, SMALLEST_EXTRA = 64, 16, 4
EARLY = {
    b".format_version": 1,
    b".storage_alignment": 2,
    b"byteorder": 6,
}  # entries in front of the storages, and sizes
LATE = {b"version": 2, b".data/serialization_id": 40}  # behind them; the second one came with the early ones
MOST_SEARCHED = 2**26  # bytes of half a download; a file can say that it has terabytes, all zeros
ENDS = zip_container.END64_SIZE + zip_container.LOCATOR64_SIZE + zip_container.END_SIZE


def read_torch_zip(path: str) -> Foreign:
    """Read a checkpoint of the zip format; see `read_foreign`."""
    data = map_file(path)
    try:
        found = zip_container.entries(data, path)
    except NoDirectoryError:
        raise _cut_off(data, path) from None
    pickles = [entry for name, entry in found.items() if name.endswith("data.pkl") and name.count("/") <= 1]
    if not pickles:
        keras = "model.weights.h5" in found
        raise WeightsError(
            "a Keras archive" if keras else "a zip file, but not a PyTorch checkpoint and not .npz",
            called=path,
            seen=", ".join(list(found)[:3])[:120] or "no entries",
            rule="an entry */data.pkl, or entries *.npy",
            hint=f"unpack it with unzip{', and give model.weights.h5' if keras else ', if the weights are in it'}",
        )
    folder = pickles[0].name.removesuffix("data.pkl")
    if len(pickles) > 1 or any(name.startswith(f"{folder}code/") for name in found):
        raise WeightsError(
            "a TorchScript archive, which holds a program" if len(pickles) == 1 else "two pickles in one checkpoint",
            called=path,
            rule="a state dict",
            hint="torch.save(torch.jit.load(path).state_dict(), new_path)",
        )
    for entry in found.values():
        if entry.method != zip_container.STORED:
            raise WeightsError(
                "a packed entry in a PyTorch checkpoint",
                called=f"{path} at {entry.name!r}",
                seen=f"{entry.packed:,} bytes for {entry.size:,}",
                rule="entries are stored as they are",
            )
    for entry in found.values():
        zip_container.check_sum(path, entry)
    order = _order(data, found.get(f"{folder}byteorder"), path)
    machine = _Machine(data, pickles[0], path)
    tensors, values = collect(machine.load(), path)
    arrays = {}
    for name, tensor in tensors.items():
        storage, where = tensor.storage, f"{path} at {name[:120]!r}"
        row = found.get(f"{folder}data/{storage.key}")
        if row is None or row.size != storage.bytes:
            raise WeightsError(
                "a storage is missing" if row is None else "a storage has the wrong size",
                called=where,
                seen=f"data/{storage.key}" + (f", {row.size:,} bytes" if row else ""),
                rule=f"{storage.bytes:,} bytes",
            )
        arrays[name] = view(data, row.place, tensor, where, order)
    return checkpoint(FORMAT, arrays, values, path, zip_container.CHECKSUM)


def _order(data: Any, entry: Entry | None, path: str) -> str:
    text = b"little" if entry is None else bytes(data[entry.place : entry.place + min(entry.size, 20)])
    if text not in (b"little", b"big"):
        raise WeightsError("an unknown byte order", called=path, seen=ascii(text), rule="little or big")
    return "<" if text == b"little" else ">"


class _Machine(Unpickler):
    """The unpickler of data.pkl; keeps the storages in the order in which they are named."""

    def __init__(self, data: Any, entry: Entry, path: str) -> None:
        # Before the directory is known, the pickle's end is not: it ends by itself.
        super().__init__(
            memoryview(data)[: entry.place + entry.size], entry.place, path, names=NAMES, persistent=self.storage
        )
        self.storages: dict[str, Storage] = {}

    def storage(self, saved: Any) -> Storage:
        """("storage", class, key, device, number of values)"""
        fits = isinstance(saved, tuple) and len(saved) == 5 and saved[0] == "storage"
        dtype = storage_dtype(saved[1]) if fits else None
        key, count = (saved[2], saved[4]) if fits else (None, None)
        if dtype is None or not isinstance(key, str) or not isinstance(count, int) or not 0 <= count < 2**48:
            raise WeightsError("a storage that cannot be", called=self.called, seen=shown(saved))
        made = Storage(key, dtype, count)
        before = self.storages.setdefault(key, made)
        if before.bytes != made.bytes:
            raise WeightsError("a storage of two sizes", called=self.called, seen=f"{key[:40]!r}")
        return made


# ---- half a download ------------------------------------------------------------------------------------------------


def _cut_off(data: Any, path: str) -> WeightsError:
    """The error for a file without its directory: how many bytes there should be, by its own pickle."""
    local = bytes(data[: zip_container.LOCAL_SIZE])
    names, extra = (int.from_bytes(local[i : i + 2], "little") for i in (26, 28))
    start = zip_container.LOCAL_SIZE + names + extra
    name = bytes(data[zip_container.LOCAL_SIZE : zip_container.LOCAL_SIZE + names])
    here = f"{len(data):,} bytes"
    if not name.endswith(b"data.pkl") or len(local) < zip_container.LOCAL_SIZE:
        return WeightsError(
            "a zip file without its directory: it is cut off (half a download?)",
            called=path,
            seen=here,
            hint="fetch it again",
        )
    machine = _Machine(data, Entry("", 0, 0, len(data) - start, len(data) - start, 0, start), path)
    needed = ""
    try:
        machine.load()
    except CutOffError:
        pass
    else:
        needed = _whole_size(data, name, machine)
    return WeightsError(
        "a PyTorch checkpoint (zip) that is cut off (half a download?)",
        called=path,
        seen=here,
        rule=needed,
        hint="fetch it again",
    )


def _whole_size(data: Any, name: bytes, machine: _Machine) -> str:
    """The size of the whole file: entries are laid out as PyTorch does it, in the order of those that are there."""
    folder = name.removesuffix(b"data.pkl")
    seen: list[bytes] = []
    end = machine.at + MOST_SEARCHED
    at = data.find(zip_container.LOCAL, machine.at, end)
    for _ in range(zip_container.MOST_ENTRIES):
        if at < 0:
            break
        length = int.from_bytes(data[at + 26 : at + 28], "little")
        entry = bytes(data[at + zip_container.LOCAL_SIZE : at + zip_container.LOCAL_SIZE + length])
        if entry.startswith(folder) and entry not in seen[-1:]:
            seen.append(entry)
        at = data.find(zip_container.LOCAL, at + zip_container.LOCAL_SIZE + length, end)
    sizes = {folder + b"data/" + key.encode(): storage.bytes for key, storage in machine.storages.items()}
    there = [entry for entry in seen if entry in sizes]
    rest = [entry for entry in sizes if entry not in set(there)]
    early = [entry for entry in seen if entry.removeprefix(folder) in EARLY]
    late = [folder + entry for entry in LATE if early or entry == b"version"]
    sizes.update({folder + entry: size for entry, size in {**EARLY, **LATE}.items()})
    order = [*early, *there, *(sorted(rest) if there == sorted(there) else rest), *late]
    end = machine.at + DESCRIPTOR
    for entry in order:
        begin = end + zip_container.LOCAL_SIZE + len(entry) + SMALLEST_EXTRA
        end = math.ceil(begin / ALIGNMENT) * ALIGNMENT + sizes[entry] + DESCRIPTOR
    size = end + sum(zip_container.CENTRAL_SIZE + len(entry) for entry in [name, *order]) + ENDS
    return f"{'' if seen else 'about '}{size:,} bytes"  # which small entries there are, only the file's version says
