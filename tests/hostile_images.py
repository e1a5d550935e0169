"""Image files that people should never have to meet, and a program that reads a folder of them under limits.

As a program (in a process of its own: a file that brings Python down must not take the tests with it)::

    python tests/hostile_images.py read FOLDER          one line of JSON a file
    python tests/hostile_images.py fuzz FOLDER COUNT SEED    COUNT random changes of each image in the folder
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

MEMORY = 100 * 2**20  # bytes that reading a file may take
REFUSED, READ = "refused", "read"
EITHER = "either"  # harmless, and depends on the version of Pillow


def photo(size: tuple[int, int] = (48, 64)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, data: bytes = bytes(1000)) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunks) + png_chunk(b"IDAT", zlib.compress(data, 9)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes = bytes(64), following: int = 0) -> bytes:
    """A little-endian TIFF with one directory at byte 8; tags {number: (type, count, value)}."""
    entries = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + data


def grey_tiff(width: int, height: int, **more: tuple[int, int, int]) -> dict[int, tuple[int, int, int]]:
    where = 8 + 2 + 12 * (9 + len(more)) + 4
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    tags |= {273: (4, 1, where), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, 64)}
    return tags | {int(tag[1:]): value for tag, value in more.items()}


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + jpeg[2:]


def painted_often() -> bytes:
    """A progressive JPEG whose last scan comes a thousand times."""
    whole = saved(Image.new("L", (1600, 1600), 77), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + 1000 * whole[last:-2] + whole[-2:]


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def frames(count: int) -> bytes:
    """A GIF of one pixel with so many pictures."""
    frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + count * frame + b";"


def huge_frame() -> bytes:
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;"


def directories_in_a_circle() -> bytes:
    return tiff(grey_tiff(8, 8, t34665=(4, 1, 8)), following=8)


def lying_bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 30, 0, 0, 54) + header + bytes(30)


def lying_webp() -> bytes:
    inner = saved(photo(), "WEBP", lossless=True)[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16383).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(inner)) + b"WEBP" + canvas + inner


def zipped() -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.jpg", saved(photo(), "JPEG"))
    return buffer.getvalue()


def file_contents() -> dict[str, tuple[str, bytes]]:
    """{name: (what must become of it, content)}."""
    jpeg, a_png = saved(photo(), "JPEG", quality=90), saved(photo(), "PNG")
    scan, table = jpeg.index(b"\xff\xda"), jpeg.index(b"\xff\xc4")
    frame = jpeg.index(b"\xff\xc0")
    text = zlib.compress(bytes(2**26), 9)
    return {
        "truncated.jpg": (REFUSED, jpeg[: len(jpeg) // 2]),
        "truncated.png": (REFUSED, a_png[: len(a_png) // 2]),
        "truncated.webp": (REFUSED, saved(photo(), "WEBP")[:600]),
        "truncated.gif.png": (REFUSED, saved(photo(), "GIF")[:1200]),
        "half-a-header.png": (REFUSED, a_png[:20]),
        "bomb-by-header.png": (REFUSED, png(100_000, 100_000)),
        "bomb-one-bit.png": (REFUSED, png(20_000, 4_000, depth=1, colour=0, data=bytes(2501 * 4000))),
        "bomb-one-wide.png": (REFUSED, png(1, 60_000_000)),
        "bomb-widest.png": (REFUSED, png(2**31 - 1, 1)),
        "bomb-tiles.tif": (REFUSED, tiff(grey_tiff(8, 8, t322=(4, 1, 60_000), t323=(4, 1, 60_000), t324=(4, 1, 8)))),
        "bomb-strips.tif": (REFUSED, tiff(grey_tiff(60_000, 60_000))),
        "bomb-strip.tif": (REFUSED, tiff(grey_tiff(9_000, 9_000))),
        "bomb-frame.gif.png": (REFUSED, huge_frame()),
        "bomb-lying.webp": (REFUSED, lying_webp()),
        "bomb-scans.jpg": (REFUSED, painted_often()),
        "million-frames.gif.png": (READ, frames(1_000_000)),
        "giant-text.png": (EITHER, png(8, 8, png_chunk(b"zTXt", b"a\0\0" + text), data=bytes(25 * 8))),
        "giant-profile.png": (EITHER, png(8, 8, png_chunk(b"iCCP", b"a\0\0" + text), data=bytes(25 * 8))),
        "many-texts.png": (
            EITHER,
            png(8, 8, 200 * png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6), 9)), data=bytes(25 * 8)),
        ),
        "postscript.jpg": (REFUSED, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"),
        "drawing.jpg": (REFUSED, b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
        "page.jpg": (REFUSED, b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        "archive.jpg": (REFUSED, zipped()),
        "pickle.png": (REFUSED, b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        "git-lfs.jpg": (REFUSED, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
        "empty.jpg": (REFUSED, b""),
        "one-byte.jpg": (REFUSED, b"\xff"),
        "torn-exif.jpg": (EITHER, with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40))),
        "exif-of-4-GiB.jpg": (
            EITHER,
            with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\xff\xff\xff\xff\x08\0\0\0\0\0\0\0"),
        ),
        "circle-of-directories.tif": (READ, directories_in_a_circle()),
        "tag-of-4-GiB.tif": (REFUSED, tiff(grey_tiff(8, 8) | {256: (4, 2**32 - 1, 8)})),
        "strip-elsewhere.tif": (REFUSED, tiff(grey_tiff(8, 8) | {273: (4, 1, 2**32 - 9)})),
        "corrupt-data.jpg": (EITHER, patched(jpeg, scan + 40, bytes(range(1, 200)))),
        "corrupt-table.jpg": (REFUSED, patched(jpeg, table + 5, b"\xff" * 16)),
        "no-table.jpg": (EITHER, jpeg[:table] + jpeg[scan:]),
        "zero-wide.png": (REFUSED, png(0, 8)),
        "zero-high.jpg": (REFUSED, patched(jpeg, frame + 5, b"\0\0")),
        "lying.bmp": (REFUSED, lying_bmp(8_000, 8_000)),
        "lying-huge.bmp": (REFUSED, lying_bmp(2**31 - 1, 2**31 - 1)),
        "negative.bmp": (REFUSED, lying_bmp(-8, -(2**31))),
        "float.tif": (REFUSED, saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")),
        "integers.tif": (REFUSED, saved(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF")),
        "lying.ppm": (REFUSED, b"P6 99999999999999 1 255\n" + bytes(9)),
        "endless.ppm": (REFUSED, b"P6 " + b"9" * 10**6),
        "palette-out-of-range.png": (
            EITHER,
            png(
                8, 8, png_chunk(b"PLTE", b"\1\2\3"), colour=3, data=b"".join(b"\0" + bytes([200] * 8) for _ in range(8))
            ),
        ),
    }


def write_all(folder: Path) -> dict[str, str]:
    """Put all files into a folder; {name: what must become of it}."""
    expected = {}
    for name, (outcome, content) in file_contents().items():
        (folder / name).write_bytes(content)
        expected[name] = outcome
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    return expected | dict.fromkeys(("folder.jpg", "pipe.jpg", "dangling.jpg", "itself.jpg", "device.jpg"), REFUSED)


# ---- the program ----------------------------------------------------------------------------------------------------


def limit_memory() -> None:
    """From now on, this process can have `MEMORY` more."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def outcome(read: object, *arguments: object) -> dict[str, object]:
    """What becomes of one file: read, refused by a `DataError`, or any other exception; and the time it took."""
    from minicnn.errors import DataError

    start = time.process_time()
    try:
        image = read(*arguments)  # type: ignore[operator]
        result, text = (READ, f"{image.mode} {image.size}") if image.mode == "RGB" else ("wrong mode", image.mode)
    except DataError as error:
        result, text = REFUSED, str(error)
    except BaseException as error:
        result, text = type(error).__name__, str(error)
    return {"outcome": result, "text": text, "seconds": time.process_time() - start}


def read_folder(folder: Path) -> None:
    from minicnn.data import read_image
    from minicnn.data.images import check_image

    read_image(folder / "sound.png")  # whatever is loaded at the first use is loaded before the limit
    limit_memory()
    for path in sorted(folder.iterdir()):
        found = outcome(read_image, path)
        checked = outcome(lambda path: check_image(path) or Image.new("RGB", (1, 1)), path)
        print(json.dumps({"name": path.name, **found, "checked": checked["outcome"]}), flush=True)


def mutated(data: bytes, draw: random.Random) -> bytes:
    """A file with a few random changes, near its start (where headers are) more often."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = min(int(draw.random() ** draw.choice((1, 4)) * len(changed)), len(changed) - 1)
        kind = draw.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[at] = draw.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            changed[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff"))
        elif kind == 3:
            del changed[at : at + draw.choice((1, 2, 4, 100))]
        elif kind == 4:
            end = at + draw.choice((1, 4, 16, 100))
            changed[at:at] = changed[at:end] * draw.choice((1, 2, 50))
        else:
            changed[at:at] = draw.randbytes(draw.choice((1, 4, 16)))
        if not changed:
            return b""
    return bytes(changed)


def fuzz(folder: Path, count: int, seed: int) -> None:
    """Many changes of each file; a line of JSON for each file, and one for each mutant that is not handled well."""
    from minicnn.data import HDF5Images
    from minicnn.data.images import decode_image

    def read_set(data: bytes) -> Image.Image:
        return list(HDF5Images(folder / "current"))[-1][0]

    decode_image((folder / "sound.png").read_bytes())
    read = {path: read_set if path.suffix == ".h5" else decode_image for path in sorted(folder.iterdir())}
    for path in folder.glob("*.h5"):  # whatever is loaded at the first use is loaded before the limit
        (folder / "current").write_bytes(path.read_bytes())
        read_set(b"")
    limit_memory()
    for path in read:
        data, draw = path.read_bytes(), random.Random(f"{seed} {path.name}")
        counts = {READ: 0, REFUSED: 0}
        for number in range(count):
            mutant = mutated(data, draw)
            (folder / "current").write_bytes(mutant)  # what is left of it, if this process dies
            found = outcome(read[path], mutant)
            if found["outcome"] in counts and found["seconds"] < 1 and "MemoryError" not in found["text"]:  # type: ignore[operator]
                counts[found["outcome"]] += 1
            else:
                print(json.dumps({"bad": path.name, "number": number, **found, "data": mutant.hex()}), flush=True)
        print(json.dumps({"name": path.name, **counts}), flush=True)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")  # Pillow warns of many of these files, and goes on
    with contextlib.suppress(BrokenPipeError):
        if sys.argv[1] == "read":
            read_folder(Path(sys.argv[2]))
        else:
            fuzz(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
