"""Random changes of a file: of its bytes, and of its structure under checksums and lengths that are right again."""

from __future__ import annotations

import io
import pickletools
import random
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from making import Entry, zipped

NUMBERS = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to three changes anywhere: bits, bytes, runs, numbers; pieces left out, doubled, exchanged; the end cut."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        size = len(changed)
        if not size:
            break
        at, other, run = rng.randrange(size), rng.randrange(size), rng.randrange(1, 65)
        kind = rng.randrange(12)
        if kind < 3:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind < 4:
            changed[at] = rng.choice((0, 255, rng.randrange(256)))
        elif kind < 5:
            changed[at : at + run] = rng.choice((bytes(run), b"\xff" * run, rng.randbytes(run)))
        elif kind < 8:
            width = rng.choice((1, 2, 4, 8))
            old = int.from_bytes(changed[at : at + width], "little")
            new = rng.choice((*NUMBERS, old + 1, old - 1, old * 2, -old, size)) % 2 ** (8 * width)
            changed[at : at + width] = new.to_bytes(width, "little")
        elif kind < 9:
            changed[at : at + run] = changed[other : other + run]
        elif kind < 10:
            del changed[at : at + run]
        elif kind < 11:
            changed[at:at] = changed[other : other + run]
        else:
            del changed[at:]
    return bytes(changed)


def of_values(content: bytes, rng: random.Random, values: bytes) -> bytes:
    """A bit of the values themselves."""
    at = content.index(values) + rng.randrange(len(values))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def of_pickle(content: bytes, rng: random.Random) -> bytes:
    """Instructions of one of the pickles exchanged, doubled, left out, or with other arguments."""
    starts = [match.start() for match in re.finditer(b"\x80\x02", content)]
    start = rng.choice(starts)
    front, content = content[:start], content[start:]
    try:
        places = [place for _, _, place in pickletools.genops(content)]
    except ValueError:  # these bytes stood among values
        return of_bytes(front + content, rng)
    places.append(places[-1] + 1)
    i, j = rng.randrange(len(places) - 1), rng.randrange(len(places) - 1)
    first, second = content[places[i] : places[i + 1]], content[places[j] : places[j + 1]]
    kind = rng.randrange(5)
    if kind == 0:
        new = second
    elif kind == 1:
        new = first * rng.choice((0, 2, 300))
    elif kind == 2:
        new = bytes([rng.randrange(256)]) + first[1:]
    elif kind == 3:
        new = of_bytes(first, rng)
    else:
        new = rng.choice(
            (b"\x8a\x09" + rng.choice(NUMBERS).to_bytes(9, "little"), b"N", b")", b"h\0", b"K\0", b"]", b"}")
        )
    return front + content[: places[i]] + new + content[places[i + 1] :]


def of_zip(content: bytes, rng: random.Random) -> bytes:
    """An entry changed under a right CRC-32, or what the headers say of it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [Entry(item.filename, archive.read(item)) for item in archive.infolist()]
    entry = rng.choice([entry for entry in entries if entry.data] if rng.random() < 0.5 else entries[:1])
    kind = rng.randrange(8)
    if kind < 5:
        pickled = entry.name.endswith(".pkl") and rng.random() < 0.7
        entry.data = of_pickle(entry.data, rng) if pickled else of_bytes(entry.data[:400], rng) + entry.data[400:]
    elif kind == 5:
        lie = rng.choice(("size", "packed", "checksum", "method", "flags"))
        setattr(entry, lie, rng.choice(NUMBERS) % (2**16 if lie in ("method", "flags") else 2**32))
    elif kind == 6:
        entry.name = rng.choice(("../x", "a/data.pkl", entries[-1].name, "", "x" * 500, entry.name + "\0"))
    else:
        entries += [entry] * rng.choice((1, 3))
    return zipped(*entries)


def of_tar(content: bytes, rng: random.Random) -> bytes:
    """A file of the archive changed, under a right header."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = {item.name: archive.extractfile(item).read() for item in archive}
    name = rng.choice(list(members))
    changed = of_pickle(members[name], rng) if rng.random() < 0.5 else of_bytes(members[name], rng)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for key, data in {**members, name: changed}.items():
            item = tarfile.TarInfo(key)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return out.getvalue()


def of_safetensors(content: bytes, rng: random.Random) -> bytes:
    """A word or number of the header changed, under a right length."""
    size = int.from_bytes(content[:8], "little")
    header, values = content[8 : 8 + size], content[8 + size :]
    words = list(re.finditer(rb'\d+|"[^"]*"|[\[\]{},:]', header))
    word, other = rng.choice(words), rng.choice(words)
    number = str(rng.choice((*NUMBERS, -1, 10**30))).encode()
    new = rng.choice((number, number, other[0], b"", word[0] * 2, b"null", b"[" * 99, b'"\\ud800"', b"1.5", b"true"))
    header = header[: word.start()] + new + header[word.end() :]
    return struct.pack("<Q", len(header)) + header + values


def of_onnx(content: bytes, rng: random.Random, depth: int = 0) -> bytes:
    """A field of a message, or of one within it, changed, doubled or left out; lengths around it stay right."""
    fields: list[tuple[int, int, int, int]] = []  # beginning, beginning of the value, end, wire type
    at = 0
    try:
        while at < len(content):
            start = at
            tag, at = _varint(content, at)
            size = {0: 0, 1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 0:
                _, end = _varint(content, at)
            elif size is None:
                size, at = _varint(content, at)
                end = at + size
            else:
                end = at + size
            if end > len(content) or not tag >> 3:
                return of_bytes(content, rng)
            fields.append((start, at, end, tag & 7))
            at = end
    except IndexError:
        return of_bytes(content, rng)
    if not fields:
        return of_bytes(content, rng)
    start, value, end, wire = rng.choice(fields)
    kind = rng.randrange(8) if depth else 7
    if wire == 2 and kind >= 2:
        inner = content[value:end]
        inner = of_onnx(inner, rng, depth + 1) if depth < 4 and rng.random() < 0.8 else of_bytes(inner, rng)
        tag_end = _varint(content, start)[1]
        new = content[start:tag_end] + _packed(len(inner)) + inner
    elif wire == 0 and kind >= 2:
        new = content[start:value] + _packed(rng.choice(NUMBERS))
    else:
        new = rng.choice((b"", content[start:end] * rng.choice((2, 50)), of_bytes(content[start:end], rng)))
    return content[:start] + new + content[end:]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _packed(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def of_used_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few bytes near some that are not zero: most of a small HDF5 file is empty space."""
    used = _used(content)  # of the sound file
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = max(0, rng.choice(used) - rng.choice((0, 0, 1, 7)))
        width = rng.choice((1, 1, 2, 4, 8))
        new = of_bytes(content[at : at + width], rng)
        content = content[:at] + new.ljust(width, b"\0")[:width] + content[at + width :]
    return content


@cache
def _used(content: bytes) -> list[int]:
    return [at for at, byte in enumerate(content) if byte]


class Part(NamedTuple):
    """A part of an HDF5 file with a checksum over `start` to `end`: at `place`, which counts as zero within."""

    start: int
    end: int
    place: int
    first: int
    last: int


def of_hdf5(content: bytes, rng: random.Random, lookup3: Callable[[bytes], int]) -> bytes:
    """Bytes in a part of an object's header, or in a heap of attributes, changed, and the checksum made right."""
    part = rng.choice(_parts(content, lookup3))
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(part.first, part.last)
        width = min(rng.choice((1, 1, 2, 8)), part.last - at)
        changed[at : at + width] = of_bytes(bytes(changed[at : at + width]), rng).ljust(width, b"\0")[:width]
    return _made_right(changed, part, lookup3)


def _made_right(content: bytearray, part: Part, lookup3: Callable[[bytes], int]) -> bytes:
    content[part.place : part.place + 4] = bytes(4)
    checksum = lookup3(bytes(content[part.start : part.end]))
    content[part.place : part.place + 4] = checksum.to_bytes(4, "little")
    return bytes(content)


@cache
def _parts(content: bytes, lookup3: Callable[[bytes], int]) -> list[Part]:
    """Headers of objects, what they go on with, and blocks of heaps."""
    found = []
    for match in re.finditer(b"OHDR|OCHK|FHDB", content):
        at = match.start()
        if match[0] == b"OHDR":
            flags = content[at + 5]
            begin = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            end = begin + width + int.from_bytes(content[begin : begin + width], "little")
            found.append(Part(at, end, end, begin + width, end))
        elif match[0] == b"OCHK":  # its place and size stand in the first part of the header
            named = content.find(struct.pack("<Q", at))
            end = at + int.from_bytes(content[named + 8 : named + 16], "little") - 4
            found.append(Part(at, end, end, at + 4, end))
        else:
            for end in (at + 512, at + 1024, at + 2048, at + 4096):
                used = len(content[at:end].rstrip(b"\0"))
                found.append(Part(at, end, at + 18, at + 22, at + used))
    return [part for part in found if _made_right(bytearray(content), part, lookup3) == content]
