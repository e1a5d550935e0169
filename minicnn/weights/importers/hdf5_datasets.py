"""Datasets of an HDF5 file: shape, dtype, where the values stand, and reading them, with every size checked before.

Layouts: compact, contiguous, and chunks (indexed by a B-tree, or one chunk alone, or a fixed array). Filters: gzip,
shuffle, Fletcher-32 and LZF, undone here: a chunk that unpacks to more than its shape says is refused before it does.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import MOST_AXES, count_of
from minicnn.weights.importers.hdf5_objects import (
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILTERS,
    LAYOUT,
    UNDEFINED,
    Hdf5Bytes,
    Message,
    number,
    tree_leaves,
)

GZIP, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
FILTER_NAMES = {4: "szip", 5: "nbit", 6: "scale-offset"}
MOST_CHUNKS = 40_000
MOST_UNPACKED = 16  # times the size of the file: weights hardly compress
FLOATS = {  # size: precision, exponent's place and size, mantissa's place and size, bias, as IEEE 754 has them
    2: (16, 10, 5, 0, 10, 15),
    4: (32, 23, 8, 0, 23, 127),
    8: (64, 52, 11, 0, 52, 1023),
}


Piece = tuple[tuple[int, ...], int, int, int]  # offset in the dataset, address, stored size, mask of filters left out


@dataclass
class Stored:
    """One dataset, checked but not read.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    where : str
        File and name, for errors.
    pieces : list of (offset in the dataset, address, stored size, mask of filters that were left out)
        Its chunks, or one piece.
    chunk : tuple of int
        Shape of a piece.
    filters : list of int
        In the order in which they were applied.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    where: str
    pieces: list[Piece]
    chunk: tuple[int, ...]
    filters: list[int]
    compact: bytes | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the values, unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, source: Hdf5Bytes) -> np.ndarray:
        """The values, in an array of their own."""
        if self.compact is not None:
            return np.frombuffer(self.compact, self.dtype).reshape(self.shape).copy()
        size = math.prod(self.chunk) * self.dtype.itemsize
        values = np.empty(self.shape, self.dtype)
        for offset, address, stored, mask in self.pieces:
            data = source.read(address, stored, f"the values of {self.where}")
            for i, kind in reversed(list(enumerate(self.filters))):
                if not mask >> i & 1:
                    data = self._undo(kind, data, size)
            if len(data) != size:
                raise self._broken(f"{len(data):,} bytes, not {size:,}")
            piece = np.frombuffer(data, self.dtype).reshape(self.chunk)
            inside = tuple(slice(at, at + step) for at, step in zip(offset, self.chunk, strict=True))
            values[inside] = piece[tuple(slice(0, n - at) for n, at in zip(self.shape, offset, strict=True))]
        return values

    def _undo(self, kind: int, data: bytes, size: int) -> bytes:
        limit = size + (4 if FLETCHER32 in self.filters else 0)
        if kind == GZIP:
            unpacker = zlib.decompressobj()
            try:
                data = unpacker.decompress(data, limit)
            except zlib.error as error:
                raise self._broken(str(error)) from None
            if not unpacker.eof:
                raise self._broken(f"more than {limit:,} bytes, or cut off")
            return data
        if kind == SHUFFLE:
            width = self.dtype.itemsize
            if len(data) % width:
                raise self._broken(f"{len(data):,} bytes")
            return np.frombuffer(data, np.uint8).reshape(width, -1).T.tobytes()
        if kind == LZF:
            return _unpack_lzf(data, limit, self)
        if len(data) < 4 or fletcher32(data[:-4]) != tuple(number(data, len(data) - at, 2) % 65535 for at in (4, 2)):
            raise self._broken("values that do not match their Fletcher-32 checksum")
        return data[:-4]

    def _broken(self, seen: str) -> WeightsError:
        return WeightsError("values that cannot be unpacked", called=self.where, seen=seen, hint="fetch the file again")


def fletcher32(data: bytes) -> tuple[int, int]:
    """The two sums of Fletcher's checksum, modulo 65535, over big-endian words of 16 bits."""
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2")
    first = second = 0
    for at in range(0, len(words), 2**16):  # a block at a time, which takes little memory and cannot overflow
        block = words[at : at + 2**16].astype(np.uint64)
        second += len(block) * first + int((block * np.arange(len(block), 0, -1, dtype=np.uint64)).sum())
        first += int(block.sum())
    return first % 65535, second % 65535


def _unpack_lzf(data: bytes, limit: int, stored: Stored) -> bytes:
    """Marc Lehmann's LZF: a control byte says how many bytes follow, or how far back they stood before."""
    out, at = bytearray(), 0
    while at < len(data) and len(out) <= limit:
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += number(data, at, 1)
            at += 1
        start = len(out) - ((control & 31) << 8) - number(data, at, 1) - 1
        at, length = at + 1, length + 2
        if start < 0:
            raise stored._broken("a reference before the beginning")
        if start + length <= len(out):
            out += out[start : start + length]
        else:  # it repeats what it writes
            run = bytes(out[start:])
            out += (run * (length // len(run) + 1))[:length]
    if at != len(data) or len(out) > limit:
        raise stored._broken(f"LZF of {limit:,} bytes, not {len(out):,}")
    return bytes(out)


def dataset(source: Hdf5Bytes, found: list[Message], where: str) -> Stored:
    """Check one dataset; nothing of its values is read."""
    parts = {message.kind: message.data for message in found}
    if EXTERNAL_FILES in parts:
        raise WeightsError("values in another file", called=where, rule="plain datasets")
    if not {DATASPACE, DATATYPE, LAYOUT} <= set(parts):
        raise WeightsError("neither a group nor a dataset", called=where)
    dtype = _number_type(parts[DATATYPE], where)
    shape = dataspace(source, parts[DATASPACE], where)
    filters = _filters(parts.get(FILTERS, b""), where)
    stored = Stored(shape, dtype, where, [], shape, filters)
    _layout(source, parts[LAYOUT], stored)
    if any(address == UNDEFINED for _, address, *_ in stored.pieces):
        raise WeightsError("values that were never written", called=where, hint="fetch the file again")
    for _, address, size, _ in stored.pieces:
        if address + size > source.size:
            raise WeightsError(
                "the shape declares more values than the file holds",
                called=where,
                seen=f"{shape}: {size:,} bytes at {address:,}, in a file of {source.size:,}",
            )
    return stored


def dataspace(source: Hdf5Bytes, data: bytes, where: str) -> tuple[int, ...]:
    """The shape; () for a single number."""
    version, rank = number(data, 0, 1), number(data, 1, 1)
    at = {1: 8, 2: 4}.get(version)
    kind = number(data, 3, 1) if version == 2 else 1
    if at is None or rank > MOST_AXES or kind > 1 or len(data) < at + 8 * rank:
        raise WeightsError("a dataset without a shape that can be", called=where, seen=f"{rank} axes, kind {kind}")
    shape = tuple(number(data, at + 8 * i) for i in range(rank))
    count_of(shape, where)
    return shape


def _number_type(data: bytes, where: str) -> np.dtype:
    data = data.ljust(24, b"\0")
    kind, size = number(data, 0, 1) & 15, number(data, 4, 4)
    order = ">" if data[1] & 1 else "<"
    place, precision = number(data, 8, 2), number(data, 10, 2)
    if kind == 0 and size in (1, 2, 4, 8) and place == 0 and precision == 8 * size:
        return np.dtype(f"{order}{'i' if data[1] & 8 else 'u'}{size}")
    if (
        kind == 1
        and not data[1] & 0x40
        and place == 0
        and FLOATS.get(size)
        == (
            precision,
            *data[12:16],
            number(data, 16, 4),
        )
    ):
        return np.dtype(f"{order}f{size}")
    names = {3: "text", 6: "a compound of fields", 7: "references", 8: "an enumeration", 9: "objects of any length"}
    raise WeightsError(
        "not an array of numbers",
        called=where,
        seen=names.get(kind, f"datatype class {kind} of {size:,} bytes"),
        rule="float16, float32, float64 or integers",
    )


def _filters(data: bytes, where: str) -> list[int]:
    if not data:
        return []
    version, count = data[0], number(data, 1, 1)
    at, found = (8 if version == 1 else 2), []
    for _ in range(min(count, 33)):
        kind = number(data, at, 2)
        named = version == 1 or kind >= 256
        length = number(data, at + 2, 2) if named else 0
        values = number(data, at + (6 if named else 4), 2)
        at += (8 if named else 6) + (-(-length // 8) * 8 if version == 1 else length)
        at += 4 * (values + values % 2 if version == 1 else values)
        found.append(kind)
    unknown = [kind for kind in found if kind not in (GZIP, SHUFFLE, FLETCHER32, LZF)]
    if unknown or len(set(found)) != len(found) or len(found) != count or version not in (1, 2):
        seen = ", ".join(FILTER_NAMES.get(kind, f"filter {kind}") for kind in (unknown or found)[:8])
        raise WeightsError(
            "unexpected filters", called=where, seen=seen, rule="gzip, shuffle, Fletcher-32, LZF; each once"
        )
    return found


def _layout(source: Hdf5Bytes, data: bytes, stored: Stored) -> None:
    """Fill in where the values stand."""
    version, kind = number(data, 0, 1), number(data, 1, 1)
    if kind == 3:
        raise WeightsError("a virtual dataset, which reads other files", called=stored.where, rule="plain datasets")
    if version not in (3, 4, 5) or kind > 2:
        raise source.unsupported(f"a layout of version {version}, class {kind}")
    if kind == 0:
        stored.compact = data[4 : 4 + number(data, 2, 2)]
        if len(stored.compact) != stored.nbytes:
            raise _too_much(stored, f"{len(stored.compact):,} bytes")
        return
    if kind == 1:
        size = number(data, 10)
        if size != stored.nbytes:
            raise _too_much(stored, f"{size:,} bytes")
        if size:
            stored.pieces = [((0,) * len(stored.shape), number(data, 2), size, 0)]
        return
    rank = len(stored.shape) + 1
    axes, at, width = (number(data, 2, 1), 11, 4) if version == 3 else (number(data, 3, 1), 5, number(data, 4, 1))
    chunk = tuple(number(data, at + width * i, width) for i in range(rank))
    whole = math.prod(chunk)
    if axes != rank or rank == 1 or not 1 <= width <= 8 or chunk[-1] != stored.dtype.itemsize or whole == 0:
        raise source.damaged(f"chunks of {axes} axes for {rank}")
    if whole > max(2**20, MOST_UNPACKED * source.size) or whole > max(2**20, 64 * stored.nbytes):
        raise _too_much(stored, f"chunks of {whole:,} bytes")
    stored.chunk = chunk[:-1]
    count = math.prod(-(-n // step) for n, step in zip(stored.shape, stored.chunk, strict=True))
    if count > MOST_CHUNKS:
        raise WeightsError("too many chunks", called=stored.where, seen=f"{count:,}", rule=f"at most {MOST_CHUNKS:,}")
    if version == 3:
        stored.pieces = _chunks_of_tree(source, number(data, 3), rank, stored.where, count)
    else:
        stored.pieces = _chunks_of_index(source, data, at + width * rank, stored, count)
    starts = {offset for offset, *_ in stored.pieces}
    # A filter that made a chunk no smaller is left out, and the mask says so; a checksum is never left out.
    checks = sum(1 << i for i, kind in enumerate(stored.filters) if kind == FLETCHER32)
    if any(mask & checks or mask >> len(stored.filters) for *_, mask in stored.pieces):
        raise WeightsError("a chunk without its checksum", called=stored.where)
    sound = all(
        start % step == 0 and start < n
        for offset in starts
        for start, step, n in zip(offset, stored.chunk, stored.shape, strict=True)
    )
    if len(starts) != count or len(stored.pieces) != count or not sound:
        raise WeightsError(
            "a chunk is missing or in a wrong place",
            called=stored.where,
            seen=f"{len(stored.pieces):,} chunks",
            rule=f"{count:,}",
        )


def _too_much(stored: Stored, seen: str) -> WeightsError:
    return WeightsError(
        "the shape declares other sizes than the file holds",
        called=stored.where,
        seen=f"{stored.shape}: {stored.nbytes:,} bytes; {seen}",
    )


def _chunks_of_tree(source: Hdf5Bytes, address: int, rank: int, where: str, most: int) -> list[Piece]:
    pieces: list[Piece] = []
    for key, child in tree_leaves(source, address, 1, 8 + 8 * rank):
        if len(pieces) == most:
            raise WeightsError("too many chunks", called=where, rule=f"{most:,}")
        pieces.append(
            (tuple(number(key, 8 + 8 * i) for i in range(rank - 1)), child, number(key, 0, 4), number(key, 4, 4))
        )
    return pieces


def _chunks_of_index(source: Hdf5Bytes, data: bytes, at: int, stored: Stored, count: int) -> list[Piece]:
    """Chunks of the newer form (libver="latest"): one alone, or a fixed array of them."""
    size = math.prod(stored.chunk) * stored.dtype.itemsize
    index, mask = number(data, at, 1), 0
    if index == 1:
        if data[2] & 2:
            size, mask, at = number(data, at + 1), number(data, at + 9, 4), at + 12
        return [((0,) * len(stored.shape), number(data, at + 1), size, mask)]
    if index != 3:
        raise source.unsupported("chunks of a dataset that can grow")
    if number(data, at + 2) == UNDEFINED:
        raise WeightsError("values that were never written", called=stored.where, hint="fetch the file again")
    head = source.block(number(data, at + 2), 28, "a list of chunks")
    width, entries, block = number(head, 6, 1), number(head, 8), number(head, 16)
    source.check(head[:24], number(head, 24, 4), "a list of chunks")
    if head[:4] != b"FAHD" or entries != count or not 8 <= width <= 24 or head[7] > 30 or count > 1 << head[7]:
        raise source.unsupported("a long list of chunks")
    body = source.block(block, 14 + count * width + 4, "a list of chunks")
    source.check(body[:-4], number(body, len(body) - 4, 4), "a list of chunks")
    steps = [-(-n // step) for n, step in zip(stored.shape, stored.chunk, strict=True)]
    pieces: list[Piece] = []
    for i, place in enumerate(np.ndindex(*steps)):
        entry = body[14 + i * width : 14 + (i + 1) * width]
        offset = tuple(k * step for k, step in zip(place, stored.chunk, strict=True))
        if stored.filters:
            size, mask = number(entry, 8, width - 12), number(entry, width - 4, 4)
        pieces.append((offset, number(entry, 0), size, mask))
    return pieces
