"""The directory of a zip file, checked before anything in it is read (PKWARE's APPNOTE 6.3.9, sections 4.3 to 4.5).

    entries "PK\\3\\4", 26 bytes, name, extra, data; the directory, a record "PK\\1\\2" an entry; "PK\\5\\6", 18 bytes

A zip file says everything twice, before each entry and in its directory, and the two may differ; entries may overlap,
have one name, or claim to unpack to terabytes. A file of `torch.save` or `numpy.savez` does nothing of that.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from minicnn.errors import WeightsError

STORED, DEFLATED = 0, 8
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
END64, LOCATOR64 = b"PK\6\6", b"PK\6\7"
LOCAL_SIZE, CENTRAL_SIZE, END_SIZE, END64_SIZE, LOCATOR64_SIZE = 30, 46, 22, 56, 20
MOST_ENTRIES, LONGEST_COMMENT, LARGEST_DIRECTORY, BLOCK = 10_000, 65_535, 8 * 2**20, 2**20
ENCRYPTED = 0x1
CHECKSUM = "CRC-32 of each entry"
MOST_UNPACKED, LARGEST_RATIO = 16 * 2**20, 50  # deflate reaches 1,000 on zeros; weights stay near 1


@dataclass(frozen=True)
class Entry:
    """One entry: `packed` bytes from `place` on, which unpack to `size` bytes."""

    name: str
    method: int
    checksum: int
    packed: int
    size: int
    header: int
    place: int


def entries(data: Any, called: str) -> dict[str, Entry]:
    """All entries by name, in the file's order.

    Raises
    ------
    NoDirectoryError
        The file ends before its directory.
    WeightsError
        Anything that a file of ours would not have.
    """
    place, size, count, end = _directory(data, called)
    if count > MOST_ENTRIES or size > LARGEST_DIRECTORY:
        raise WeightsError(
            "too many entries in a zip file", called=called, seen=f"{count:,}", rule=f"at most {MOST_ENTRIES:,}"
        )
    if place + size != end or place < 0:
        raise _damaged(called, f"a directory of {size:,} bytes at {place:,}, and its end at {end:,}")
    found: list[Entry] = []
    at = place
    for _ in range(count):
        record = bytes(data[at : at + CENTRAL_SIZE])
        if len(record) < CENTRAL_SIZE or record[:4] != CENTRAL:
            raise _damaged(called, f"no entry at byte {at:,} of the directory")
        lengths = struct.unpack("<3H", record[28:34])
        at += CENTRAL_SIZE
        if at + sum(lengths) > end:
            raise _damaged(called, "an entry beyond the end of the directory")
        name = bytes(data[at : at + lengths[0]])
        extra = bytes(data[at + lengths[0] : at + lengths[0] + lengths[1]])
        found.append(_entry(data, record, name, extra, place, called))
        at += sum(lengths)
    if at != end:
        raise _damaged(called, f"{end - at:,} bytes behind the directory's {count:,} entries")
    found.sort(key=lambda entry: entry.header)
    for before, after in pairwise(found):
        if before.place + before.packed > after.header:
            raise WeightsError("entries of a zip file that overlap", called=called, seen=f"{before.name}, {after.name}")
    named = {entry.name: entry for entry in found}
    if len(named) != len(found):
        raise WeightsError("two entries of one name in a zip file", called=called)
    return named


class NoDirectoryError(WeightsError):
    """A zip file without its end."""


def _directory(data: Any, called: str) -> tuple[int, int, int, int]:
    """(place, size, entries, end) of the directory."""
    start = max(0, len(data) - END_SIZE - LONGEST_COMMENT)
    tail = bytes(data[start:])
    at = tail.rfind(END)
    while at >= 0 and at + END_SIZE + int.from_bytes(tail[at + 20 : at + 22], "little") != len(tail):
        at = tail.rfind(END, 0, at) if at else -1
    if at < 0 or len(tail) - at < END_SIZE:
        raise NoDirectoryError("the zip file has no directory: it is cut off (half a download?)", called=called)
    disk, start_disk, here, count, size, place = struct.unpack("<4H2I", tail[at + 4 : at + 20])
    end = start + at
    if (
        0xFFFF in (here, count)
        or 0xFFFFFFFF in (size, place)
        or bytes(data[end - LOCATOR64_SIZE : end])[:4] == LOCATOR64
    ):
        locator = bytes(data[max(0, end - LOCATOR64_SIZE) : end])
        if locator[:4] != LOCATOR64:
            raise _damaged(called, "no zip64 locator")
        where = struct.unpack("<Q", locator[8:16])[0]
        end -= LOCATOR64_SIZE + END64_SIZE
        record = bytes(data[end : end + END64_SIZE]) if end >= 0 else b""
        if where != end or record[:4] != END64:
            raise _damaged(called, f"no zip64 end record at byte {where:,}")
        small = (here, count, size, place)
        disk, start_disk, here, count, size, place = struct.unpack("<2I4Q", record[16:56])
        for old, new, full in zip(
            small, (here, count, size, place), (0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1), strict=True
        ):
            if old not in (new, full):
                raise _damaged(called, f"two end records that differ: {old:,} and {new:,}")
    if disk or start_disk or here != count:
        raise _damaged(called, "a zip file in several parts")
    return place, size, count, end


def _entry(data: Any, record: bytes, name: bytes, extra: bytes, directory: int, called: str) -> Entry:
    """One entry, after a look at its own header in front of its data."""
    flags, method = struct.unpack("<2H", record[8:12])
    checksum, packed, size = struct.unpack("<3I", record[16:28])
    header = int.from_bytes(record[42:46], "little")
    wide = _zip64(extra)
    values = []
    for value in (size, packed, header):
        if value == 2**32 - 1:
            if len(wide) < 8:
                raise _damaged(called, "a zip64 entry without its sizes")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        values.append(value)
    size, packed, header = values
    text = _name(name, called)
    where = f"{called} at {text!r}"
    if flags & ENCRYPTED:
        raise WeightsError("an encrypted entry", called=where)
    if method not in (STORED, DEFLATED) or (method == STORED and size != packed):
        raise _damaged(where, f"method {method}, {packed:,} bytes for {size:,}")
    local = bytes(data[header : header + LOCAL_SIZE]) if header < directory else b""
    if local[:4] != LOCAL or len(local) < LOCAL_SIZE:
        raise _damaged(where, f"no entry at byte {header:,}")
    lengths = struct.unpack("<2H", local[26:30])
    place = header + LOCAL_SIZE + sum(lengths)
    own = bytes(data[header + LOCAL_SIZE : header + LOCAL_SIZE + lengths[0]])
    if own != name or struct.unpack("<H", local[8:10])[0] != method:
        raise _damaged(where, f"an entry that calls itself {ascii(own[:60])[1:]}")
    if place + packed > directory:
        raise WeightsError(
            "an entry that reaches out of the file",
            called=where,
            seen=f"{packed:,} bytes at {place:,}",
            rule=f"{directory:,}",
        )
    return Entry(text, method, checksum, packed, size, header, place)


def _zip64(extra: bytes) -> bytes:
    """The field of an entry that has sizes of 64 bits, or nothing."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack("<2H", extra[at : at + 4])
        if kind == 1:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _name(name: bytes, called: str) -> str:
    """The name as text; raises if it could mean a place outside a folder."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = ""
    parts = text.split("/")
    if (
        not text.isprintable()
        or not text
        or "\\" in text
        or ":" in text
        or ".." in parts
        or "" in parts[:-1]
        or len(text) > 300
    ):
        raise WeightsError(
            "an entry whose name cannot be", called=called, seen=ascii(name[:60])[1:], rule="a relative path"
        )
    return text


def check_sizes(found: dict[str, Entry], called: str) -> None:
    """Raise if entries would unpack to many times their size: a zip bomb."""
    size, packed = (sum(getattr(entry, word) for entry in found.values()) for word in ("size", "packed"))
    if size > max(MOST_UNPACKED, LARGEST_RATIO * packed):
        raise WeightsError(
            "a zip bomb",
            called=called,
            seen=f"{packed:,} bytes that unpack to {size:,}",
            rule=f"at most {LARGEST_RATIO} times as many",
        )


def check_sum(path: str, entry: Entry) -> None:
    """Raise unless the stored bytes of an entry match its CRC-32; reads them in blocks, and forgets them."""
    checksum, left = 0, entry.packed
    with open(path, "rb") as file:
        file.seek(entry.place)
        while left and (block := file.read(min(BLOCK, left))):
            checksum, left = zlib.crc32(block, checksum), left - len(block)
    if left or checksum != entry.checksum:
        raise _changed(path, entry)


def unpack(data: Any, entry: Entry, called: str) -> bytes:
    """The bytes of an entry, checked against its size and its CRC-32."""
    packed = data[entry.place : entry.place + entry.packed]
    content = bytes(packed)
    if entry.method == DEFLATED:
        machine = zlib.decompressobj(-15)
        try:
            content = machine.decompress(content, entry.size + 1)
        except zlib.error as error:
            raise _damaged(f"{called} at {entry.name!r}", str(error)) from None
    if len(content) != entry.size or zlib.crc32(content) != entry.checksum:
        raise _changed(called, entry)
    return content


def _changed(called: str, entry: Entry) -> WeightsError:
    return WeightsError(
        "the contents do not match their CRC-32 checksum",
        called=f"{called} at {entry.name!r}",
        hint="fetch the file again",
    )


def _damaged(called: str, seen: str) -> WeightsError:
    return WeightsError("a damaged zip file", called=called, seen=seen, hint="fetch the file again")
