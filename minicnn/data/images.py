"""One image, as people have them: grey, palette, transparent, 16 bits a pixel, lying on its side, truncated, hostile.

`read_image` (a file) and `decode_image` (its bytes) return an upright RGB image or raise one `DataError` that names the
file. No file makes them start a program, wait at a pipe, or allocate more than Pillow's limit for images
(`PIL.Image.MAX_IMAGE_PIXELS`, 89 million pixels).
"""

from __future__ import annotations

import functools
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np

from minicnn.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

# What may be inside a file, whatever its name says (a .jpg is often a PNG). Pillow knows some 40 formats more, among
# them PostScript, for which it starts another program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
ORIENTATION, TILE_SIZE = 0x0112, (322, 323)  # the tags of EXIF and TIFF
START_OF_SCAN = b"\xff\xda"  # of a JPEG; a progressive one paints the image some ten times, from coarse to fine
# A photograph has 2 to 20 pixels a byte; an image of one colour has thousands, and is refused above so many pixels.
COSTLY, MOST_PIXELS_A_BYTE = 2**23, 200
MOST_SCANS, MOST_PAINTED, SMALL_TILE = 30, 2**31, 4096


def read_image(path: str | os.PathLike[str], exif: bool = True) -> Image.Image:
    """Read an image file as RGB.

    As with torchvision: alpha is dropped, animations give their first picture. Other than there: a photograph that a
    camera noted as lying on its side (the EXIF tag Orientation) is turned upright; and 16-bit grey is scaled to 8 bits,
    not clipped, which makes most of it white.

    Parameters
    ----------
    path : str or path
        The file.
    exif : bool
        Turn the image as its EXIF data say. False: the pixels as they are stored, torchvision's way.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, decoded.
    """
    name = shown(path)
    with _one_error(name), open_image(path) as file:
        return _decode(file, name, exif)


def decode_image(data: bytes, called: str = "decode_image", exif: bool = True) -> Image.Image:
    """Decode the bytes of an image file as RGB; all else as in `read_image`.

    Parameters
    ----------
    data : bytes
        The whole file.
    called : str
        Name of the image, for errors.
    exif : bool
        Turn the image as its EXIF data say.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, decoded.
    """
    with _one_error(called), io.BytesIO(data) as file:
        return _decode(file, called, exif)


def check_image(source: str | os.PathLike[str] | bytes, called: str = "check_image") -> None:
    """Raise the `DataError` that `read_image` (for a path) or `decode_image` (for bytes) would raise, in less time.

    All of the data is read, but a JPEG is decoded to an eighth of its size.
    """
    name = called if isinstance(source, bytes) else shown(source)
    opened = io.BytesIO(source) if isinstance(source, bytes) else open_image(source)
    with _one_error(name), opened as file, _identified(file, name) as image:
        image.draft(image.mode, (max(image.width // 8, 1), max(image.height // 8, 1)))
        image.load()
        _refuse_numbers(name, image)


def open_image(path: str | os.PathLike[str]) -> IO[bytes]:
    """The file, opened here: Pillow would map some, and a process dies if a mapped file gets shorter."""
    name = shown(path)
    with _one_error(name):
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait forever
            raise DataError("not a file", called=name, rule="a regular file", hint="remove it from the folder")
        return open(path, "rb")


def _decode(file: IO[bytes], name: str, exif: bool) -> Image.Image:
    with _identified(file, name) as image:
        image.load()
        return _as_rgb(name, _upright(image) if exif else image)


def _identified(file: IO[bytes], name: str) -> Image.Image:
    """The image, of which only the header is read, so that it can be refused for what decoding it would cost."""
    from PIL import Image

    try:
        opened = Image.open(file, formats=_formats())
    except Image.UnidentifiedImageError:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        raise DataError(
            "not an image that can be read",
            called=name,
            seen=f"{size} bytes that begin with {file.read(12)!r}",
            rule=f"the content is one of {', '.join(_formats())}",
            hint="save it again as PNG or JPEG, remove it, or leave it out: skip_bad",
        ) from None
    refuse_bomb(name, opened.size)
    _refuse_costly(file, name, opened)
    return opened


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data say; EXIF data that cannot be read say nothing."""
    from PIL import ImageOps

    if not ("exif" in image.info or "xmp" in image.info or "Raw profile type exif" in image.info):
        return image  # asking Pillow would cost more than decoding a small image
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
        turned = ImageOps.exif_transpose(image) if orientation in range(2, 9) else image
    except Exception:  # the pixels are sound: a torn note about them is no reason to lose the photograph
        return image
    turned.format = image.format  # type: ignore[attr-defined]  # what `_as_rgb` asks for
    return turned


@contextmanager
def _one_error(name: str) -> Iterator[None]:
    """Whatever goes wrong becomes one `DataError` that names the file."""
    from PIL import Image

    try:
        yield
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(name, str(error)) from None
    except FileNotFoundError:
        raise DataError(
            "no such file", called=name, hint="check the path, or that the link's target is there"
        ) from None
    except PermissionError:
        raise DataError("may not be read", called=name, hint="check the permissions of the file") from None
    except Exception as error:  # a decoder may raise anything at all on a broken file
        raise DataError(
            "a broken image",
            called=name,
            seen=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            rule="the whole file can be decoded",
            hint="copy or download the file again, or leave it out: skip_bad",
        ) from None


def shown(path: str | os.PathLike[str]) -> str:
    """A path for an error of one line: names with line breaks or broken encoding are escaped."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def refuse_bomb(called: str, size: tuple[int, int]) -> None:
    """Raise where (width, height) is more than Pillow's limit."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS  # None: the user has lifted the limit
    if limit is not None and size[0] * size[1] > limit:
        raise _bomb(called, f"{size[0]} x {size[1]} pixels")


def _refuse_costly(file: IO[bytes], called: str, image: Image.Image) -> None:
    """Raise for small files that take long to decode, or much memory, although their pixels are within the limit."""
    from PIL import Image

    width, height = image.size
    if not (width and height):
        raise DataError("an image without pixels", called=called, seen=f"{width} x {height}")
    tile = [image.tag_v2.get(tag, 0) for tag in TILE_SIZE] if image.format == "TIFF" else ()  # type: ignore[attr-defined]
    if any(not isinstance(side, int) or side > max(width, height, SMALL_TILE) for side in tile):
        raise _bomb(
            called,
            f"{width} x {height} pixels in tiles of {' x '.join(map(str, tile))[:50]}",
            "tiles no larger than the image",
        )
    if width * height <= 2**20 or Image.MAX_IMAGE_PIXELS is None:
        return
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    scans = file.read().count(START_OF_SCAN) if image.format in ("JPEG", "MPO") else 1
    file.seek(here)
    seen = f"{width} x {height} pixels in {size:,} bytes"
    if width * height > max(COSTLY, MOST_PIXELS_A_BYTE * size):
        raise _bomb(called, seen, f"at most {MOST_PIXELS_A_BYTE} pixels a byte")
    if scans > MOST_SCANS and scans * width * height > MOST_PAINTED:
        raise _bomb(called, f"{seen}, painted {scans:,} times", f"at most {MOST_SCANS} times")


def _bomb(called: str, seen: str, rule: str = "") -> DataError:
    from PIL import Image

    return DataError(
        "an image too large to be decoded safely",
        called=called,
        seen=seen,
        rule=rule or f"at most {Image.MAX_IMAGE_PIXELS} pixels",
        hint=f"shrink the image; if you trust it, {'set' if rule else 'raise'} PIL.Image.MAX_IMAGE_PIXELS"
        + (" = None" if rule else ""),
    )


def _as_rgb(name: str, image: Image.Image) -> Image.Image:
    from PIL import Image

    _refuse_numbers(name, image)
    if image.mode.startswith("I"):  # 16-bit grey; as "I" from PGM and from older Pillows
        values = np.array(image, np.int32)
        values += 128
        values //= 257  # in place: a large image has many of them
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:  # by way of RGBA: from a palette straight to RGB, Pillow warns
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _refuse_numbers(name: str, image: Image.Image) -> None:
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DataError(
            "an image of numbers without a range",
            called=name,
            seen=f"mode {image.mode} (32 bits a pixel)",
            rule="8 or 16 bits a pixel",
            hint="scale its values and save it as an 8-bit PNG",
        )


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
