"""PyTorch checkpoints as a stream of pickles (`torch.save` of 0.1.10 to 1.5, 2017 to 2020; since then on request).

    a magic number, the protocol 1001, the machine's sizes, the object, the list of storage keys: five pickles; then
    each storage in the order of that list: its number of values (int64), and the values

In the object a storage stands as ("storage", class, key, device, number of values, view), where view is None or (key,
first value, number of values) of a part of it. There is no checksum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import Foreign, map_file, shown
from minicnn.weights.importers.pickle_machine import CutOffError
from minicnn.weights.importers.torch_objects import NAMES, Storage, checkpoint, collect, storage_dtype, view
from minicnn.weights.importers.unpickler import Unpickler

FORMAT = "PyTorch checkpoint (2017 to 2020: a stream of pickles)"
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
COUNT_BYTES = 8
MOST_SMALL, MOST_KEYS = 1_000, 60_000  # instructions of the pickles beside the object
NOT_OURS = "a pickle, but not a PyTorch checkpoint: it is not run"


def read_torch_legacy(path: str) -> Foreign:
    """Read a checkpoint of the old format; see `read_foreign`."""
    data = map_file(path)
    first = Unpickler(data, 0, path, names=NAMES, most=MOST_SMALL)
    try:
        magic = first.load()
    except CutOffError:
        raise CutOffError(path, f"{len(data):,} bytes") from None
    except WeightsError as error:
        raise WeightsError(NOT_OURS, called=path, seen=error.problem, rule="a state dict by torch.save") from None
    if not isinstance(magic, int) or magic != MAGIC:
        raise WeightsError(NOT_OURS, called=path, seen=type(magic).__name__, rule="a state dict by torch.save")
    storages: dict[str, Storage] = {}
    try:
        at = _check_system(data, first.at, path)
        machine = Unpickler(data, at, path, names=NAMES, persistent=lambda saved: _storage(saved, storages, path))
        root = machine.load()
        keys_machine = Unpickler(data, machine.at, path, names=NAMES, most=MOST_KEYS)
        keys = keys_machine.load()
    except CutOffError:
        raise CutOffError(path, f"{len(data):,} bytes") from None
    tensors, values = collect(root, path)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
        raise WeightsError("the storages are not those that the tensors name", called=path)
    if len(set(keys)) != len(keys):
        raise WeightsError("two storages of one key", called=path)
    places = _places(data, keys_machine.at, keys, storages, path)
    arrays = {}
    for name, tensor in tensors.items():
        arrays[name] = view(data, places[tensor.storage.key], tensor, f"{path} at {name[:120]!r}")
    return checkpoint(FORMAT, arrays, values, path)


def _check_system(data: Any, at: int, path: str) -> int:
    """Read the second and third pickle; returns where the object begins."""
    found: list[Any] = []
    for _ in range(2):
        machine = Unpickler(data, at, path, names=NAMES, most=MOST_SMALL)
        found.append(machine.load())
        at = machine.at
    protocol, system = found
    if protocol != PROTOCOL or not isinstance(system, dict):
        raise WeightsError("an unknown version of the format", called=path, seen=shown(protocol), rule=str(PROTOCOL))
    check_system(system, path)
    return at


def check_system(system: Any, path: str) -> None:
    """Raise for a file of a machine with the other byte order."""
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError("a checkpoint of a big-endian machine", called=path, hint="save it again on another machine")


def _storage(saved: Any, storages: dict[str, Storage], path: str) -> Storage:
    """From what stands in the object to the storage, or the part of it; `storages` gets the whole ones."""
    if isinstance(saved, tuple) and saved[:1] == ("module",):
        raise WeightsError(
            "a whole network, which is a program: it is not run",
            called=path,
            rule="a state dict",
            hint="torch.save(model.state_dict(), path)",
        )
    fits = isinstance(saved, tuple) and len(saved) in (5, 6) and saved[0] == "storage"
    dtype = storage_dtype(saved[1]) if fits else None
    if dtype is None or not isinstance(saved[2], str) or not _counts(saved[4]):
        raise WeightsError("a storage that cannot be", called=path, seen=shown(saved))
    whole = Storage(saved[2], dtype, saved[4])
    if storages.setdefault(whole.key, whole) != whole:
        raise WeightsError("a storage of two sizes", called=path, seen=f"{whole.key[:40]!r}")
    part = saved[5] if len(saved) == 6 else None
    if part is None:
        return whole
    if not isinstance(part, tuple) or len(part) != 3 or not _counts(*part[1:]) or part[1] + part[2] > whole.count:
        raise WeightsError("a part of a storage that reaches out of it", called=path, seen=shown(part))
    return Storage(whole.key, dtype, part[2], part[1])


def _counts(*values: Any) -> bool:
    return all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in values)


def _places(data: Any, at: int, keys: list[str], storages: dict[str, Storage], path: str) -> dict[str, int]:
    """Where each storage's values begin."""
    needed = at + sum(COUNT_BYTES + storages[key].bytes for key in keys)
    if needed != len(data):
        cut = len(data) < needed
        raise WeightsError(
            "a PyTorch checkpoint (stream) that is cut off (half a download?)"
            if cut
            else "bytes behind the checkpoint",
            called=path,
            seen=f"{len(data):,} bytes",
            rule=f"{needed:,} bytes",
            hint="fetch it again",
        )
    places = {}
    for key in keys:
        count = int(np.frombuffer(data, "<i8", 1, at)[0])
        if count != storages[key].count:
            raise WeightsError(
                "a storage of two sizes", called=path, seen=f"{count:,}", rule=f"{storages[key].count:,}"
            )
        places[key] = at + COUNT_BYTES
        at += COUNT_BYTES + storages[key].bytes
    return places
