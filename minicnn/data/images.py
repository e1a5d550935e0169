"""One image file, as people have them: grey, palette, transparent, 16 bits a pixel, truncated, hostile.

`read_image` returns an RGB image or raises one `DataError` that names the file. No file makes it start a program, wait
at a pipe or allocate more than Pillow's limit for images (`PIL.Image.MAX_IMAGE_PIXELS`, 89 million pixels).
"""

from __future__ import annotations

import functools
import os
import stat
from typing import TYPE_CHECKING

import numpy as np

from minicnn.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

# What may be inside a file, whatever its name says (a .jpg is often a PNG). Pillow knows some 40 formats more, among
# them PostScript, for which it starts another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file as RGB.

    As with torchvision: alpha is dropped, animations give their first picture, a rotation noted in EXIF data is not
    applied. Other than there: 16-bit grey is scaled to 8 bits, not clipped, which makes most of it white.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, decoded.
    """
    from PIL import Image

    name = shown(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait forever
            raise DataError("not a file", called=name, rule="a regular file", hint="remove it from the folder")
        with Image.open(path, formats=_formats()) as image:
            refuse_bomb(name, image.size)
            image.load()
            return _as_rgb(name, image)
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
    except Image.UnidentifiedImageError:
        raise DataError(
            "not an image that can be read",
            called=name,
            seen=f"{os.path.getsize(path)} bytes that begin with {_beginning(path)!r}",
            rule=f"the content is one of {', '.join(_formats())}",
            hint="remove the file, or save it again as PNG or JPEG",
        ) from None
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


def _beginning(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        return file.read(12)
