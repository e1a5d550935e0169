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
ORIENTATION = 0x0112  # the EXIF tag


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
    with _one_error(name):
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait forever
            raise DataError("not a file", called=name, rule="a regular file", hint="remove it from the folder")
        with open(path, "rb") as file:  # not by its name: Pillow would map it, and die if it gets shorter meanwhile
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


def _decode(file: IO[bytes], name: str, exif: bool) -> Image.Image:
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
            hint="remove the file, or save it again as PNG or JPEG",
        ) from None
    with opened as image:
        refuse_bomb(name, image.size)
        image.load()
        return _as_rgb(name, _upright(image) if exif else image)


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
            seen=f"{type(error).__name__}: {error}",
            rule="the whole file can be decoded",
            hint="copy or download the file again, or remove it",
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


def _bomb(called: str, seen: str) -> DataError:
    from PIL import Image

    return DataError(
        "an image too large to be decoded safely",
        called=called,
        seen=seen,
        rule=f"at most {Image.MAX_IMAGE_PIXELS} pixels",
        hint="shrink the image; if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS",
    )


def _as_rgb(name: str, image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DataError(
            "an image of numbers without a range",
            called=name,
            seen=f"mode {image.mode} (32 bits a pixel)",
            rule="8 or 16 bits a pixel",
            hint="scale its values and save it as an 8-bit PNG",
        )
    if image.mode.startswith("I"):  # 16-bit grey; as "I" from PGM and from older Pillows
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:  # by way of RGBA: from a palette straight to RGB, Pillow warns
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
