"""PyTorch checkpoints in the tar format (`torch.save` of 0.1.0 to 0.1.9, until early 2017): torchvision's first ones.

A tar archive (POSIX ustar with extended headers) of four files, each one or several pickles with raw values between:

    sys_info   byte order and sizes
    pickle     the object; a tensor stands in it as its number, a text
    tensors    how many; for each: (number, number of its storage, class), axes (int32), 4 bytes, shape, strides, offset
    storages   how many; for each: (number, device, class), number of values (int64), the values; then a list of views:
               (number, number of the storage that it is a part of, first value, number of values)

There is no checksum of the values.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import MOST_AXES, Foreign, check_count, map_file, shown
from minicnn.weights.importers.pickle_machine import CutOffError
from minicnn.weights.importers.torch_legacy import check_system
from minicnn.weights.importers.torch_objects import NAMES, Storage, Tensor, checkpoint, collect, storage_dtype, view
from minicnn.weights.importers.unpickler import Unpickler

FORMAT = "PyTorch checkpoint (before 2017: tar)"
BLOCK, RECORD = 512, 10_240  # tar: headers and padding; the whole file is padded to records
MEMBERS = ("sys_info", "pickle", "tensors", "storages")
MOST_HEADERS, LONGEST_EXTENDED = 16, 64 * 1024
REGULAR, EXTENDED = b"0\0", b"x"
PROTOCOL = 1000


def read_torch_tar(path: str) -> Foreign:
    """Read a checkpoint of the tar format; see `read_foreign`."""
    data = map_file(path)
    members = _members(data, path)
    try:
        return _read(data, members, path)
    except CutOffError:
        raise WeightsError("a damaged pickle", called=path, seen="a pickle without an end") from None


def _members(data: Any, path: str) -> dict[str, tuple[int, int]]:
    """Beginning and size of each file in the archive; raises if the archive is cut off, or is none of PyTorch's."""
    found: dict[str, tuple[int, int]] = {}
    at = 0
    for _ in range(MOST_HEADERS):
        header = bytes(data[at : at + BLOCK])
        if len(header) < BLOCK or not any(header):
            break
        name = header[:100].rstrip(b"\0").decode("ascii", "replace")
        size = _size(header, path)
        kind = header[156:157]
        if kind in EXTENDED and size <= LONGEST_EXTENDED:
            text = bytes(data[at + BLOCK : at + BLOCK + size])
            if b" size=" in text or b" path=" in text:  # in place of those of the next header; PyTorch wrote times only
                raise WeightsError("a tar file, but not a PyTorch checkpoint", called=path, seen=ascii(text[:60])[1:])
        elif kind in REGULAR and name in MEMBERS and name not in found:
            found[name] = (at + BLOCK, size)
        else:
            raise WeightsError(
                "a tar file, but not a PyTorch checkpoint",
                called=path,
                seen=ascii(name[:60]),
                rule=", ".join(MEMBERS),
                hint="unpack it with tar -xf, if the weights are in it",
            )
        at += BLOCK + -(-size // BLOCK) * BLOCK
    cut = at > len(data)
    if cut or (found and len(found) < len(MEMBERS)):
        whole = -(-(at + 2 * BLOCK) // RECORD) * RECORD
        raise WeightsError(
            "a PyTorch checkpoint (tar) that is cut off (half a download?)",
            called=path,
            seen=f"{len(data):,} bytes",
            rule=f"{whole:,} bytes" if "storages" in found else "",
            hint="fetch it again",
        )
    if not found:
        raise WeightsError("a tar file, but not a PyTorch checkpoint", called=path, rule=", ".join(MEMBERS))
    return found


def _size(header: bytes, path: str) -> int:
    """The size in a header, whose checksum is looked at first."""
    try:
        size, checksum = (int(header[a:b].strip(b" \0") or b"0", 8) for a, b in ((124, 136), (148, 156)))
    except ValueError:
        size = checksum = -1
    if sum(header[:148]) + 8 * ord(" ") + sum(header[156:]) != checksum or size < 0:
        raise WeightsError("a damaged tar file", called=path, seen="a header that does not match its checksum")
    return size


def _read(data: Any, members: dict[str, tuple[int, int]], path: str) -> Foreign:
    machine = _Part(data, *members["sys_info"], path)
    system = machine.load()
    check_system(system, path)
    if system.get("protocol_version") != PROTOCOL:
        raise WeightsError("an unknown version of the format", called=path, rule=str(PROTOCOL))
    storages, places = _storages(data, *members["storages"], path)
    made = _tensors(data, *members["tensors"], storages, path)

    def named(saved: Any) -> Tensor:
        if not isinstance(saved, str) or saved not in made:
            raise WeightsError("a tensor that is not in the file", called=path, seen=shown(saved))
        return made[saved]

    tensors, values = collect(_Part(data, *members["pickle"], path, named).load(), path)
    arrays = {
        name: view(data, places[tensor.storage.key], tensor, f"{path} at {name[:120]!r}")
        for name, tensor in tensors.items()
    }
    return checkpoint(FORMAT, arrays, values, path)


class _Part(Unpickler):
    """Pickles and raw values, one after another, in one file of the archive."""

    def __init__(self, data: Any, place: int, size: int, path: str, persistent: Any = None) -> None:
        super().__init__(memoryview(data)[: place + size], place, path, names=NAMES, persistent=persistent)

    def next(self) -> Any:
        """The next pickle; each has a memo of its own."""
        self.end = min(len(self.data), self.at + 2**16)
        self.stack, self.marks, self.memo = [], [], {}
        return self.load()

    def count(self) -> int:
        """The next pickle, which is a number of things."""
        number = self.next()
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise WeightsError("not a number of tensors", called=self.called, seen=shown(number))
        check_count(number, self.called)
        return number

    def numbers(self, count: int) -> tuple[int, ...]:
        """The next `count` numbers of 64 bits."""
        self.end = len(self.data)
        return struct.unpack(f"<{count}q", self._bytes(8 * count))

    def skip(self, size: int) -> int:
        """Where the next `size` bytes begin, which must be there; they are not read."""
        place = self.at
        if size > len(self.data) - place:
            raise WeightsError(
                "a storage that reaches out of the file",
                called=self.called,
                seen=f"{size:,} bytes",
                rule=f"{len(self.data) - place:,} bytes",
            )
        self.at += size
        return place


def _storages(data: Any, place: int, size: int, path: str) -> tuple[dict[int, Storage], dict[str, int]]:
    """Storages by number, and where the values of each begin, by its number as a text."""
    part = _Part(data, place, size, path)
    found: dict[int, Storage] = {}
    places: dict[str, int] = {}
    for _ in range(part.count()):
        key, _, kind = _triple(part, path)
        dtype = storage_dtype(kind)
        count = part.numbers(1)[0]
        if dtype is None or key in found or not 0 <= count < 2**48:
            raise WeightsError("a storage that cannot be", called=path, seen=f"number {key}, {count:,} values")
        found[key] = Storage(str(key), dtype, count)
        places[str(key)] = part.skip(count * dtype.itemsize)
    views = part.next()
    if not isinstance(views, list):
        raise WeightsError("no list of views", called=path)
    for item in views:
        whole = found.get(item[1]) if isinstance(item, tuple) and len(item) == 4 and _whole(item) else None
        if whole is None or item[0] in found or item[2] < 0 or item[3] < 0 or item[2] + item[3] > whole.count:
            raise WeightsError("a part of a storage that reaches out of it", called=path, seen=shown(item))
        found[item[0]] = Storage(whole.key, whole.dtype, item[3], item[2])
    return found, places


def _tensors(data: Any, place: int, size: int, storages: dict[int, Storage], path: str) -> dict[str, Tensor]:
    """Tensors by number, as a text: as the object names them."""
    part = _Part(data, place, size, path)
    made: dict[str, Tensor] = {}
    for _ in range(part.count()):
        key, storage_key, _ = _triple(part, path)
        axes = part.numbers(1)[0] & 0xFFFFFFFF  # an int32, and four bytes of nothing
        storage = storages.get(storage_key) if isinstance(storage_key, int) else None
        if storage is None or axes > MOST_AXES or str(key) in made:
            raise WeightsError("a tensor that cannot be", called=path, seen=f"number {key}, {axes} axes")
        shape, strides = part.numbers(axes), part.numbers(axes)
        made[str(key)] = Tensor(storage, part.numbers(1)[0], shape, strides, storage.dtype)
    return made


def _triple(part: _Part, path: str) -> tuple[int, Any, Any]:
    item = part.next()
    if not isinstance(item, tuple) or len(item) != 3 or not _whole(item[:1]):
        raise WeightsError("a damaged checkpoint", called=path, seen=shown(item))
    return item


def _whole(values: Any) -> bool:
    return all(isinstance(n, int) and not isinstance(n, bool) and np.iinfo(np.int64).min <= n < 2**63 for n in values)
