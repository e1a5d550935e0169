"""Sizes: `Resize`, `CenterCrop`, `Pad`. All sizes are (height, width), as in torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.data.checks import height_width, integer, integers, real
from minicnn.data.images import refuse_bomb
from minicnn.data.transforms.compose import Transform, as_image
from minicnn.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from PIL import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


class Resize(Transform):
    """Scale an image, smoothed where it shrinks (antialias), as torchvision does with PIL images.

    Parameters
    ----------
    size : int or (height, width)
        An integer is the length of the short side; the long side becomes int(size * long / short). A pair is exact.
    interpolation : str
        "bilinear", "bicubic" or "lanczos"; "box", "hamming"; "nearest" takes one pixel, without smoothing.
    antialias : bool
        False: "bilinear" weighs the 2 x 2 pixels at a place and "bicubic" the 4 x 4 there, however much the image
        shrinks, as some networks have learned it. (torchvision ignores its argument for PIL images.)
    """

    def __init__(self, size: int | tuple[int, int], interpolation: str = "bilinear", antialias: bool = True) -> None:
        is_pair = isinstance(size, (list, tuple)) and len(size) != 1
        self.size = height_width("Resize", size) if is_pair else integer("Resize", "size", only_number(size), 1)
        self.interpolation, self.antialias = interpolation, bool(antialias)
        sharp = INTERPOLATIONS[:3]
        allowed = INTERPOLATIONS if antialias else sharp
        if interpolation not in allowed:
            raise ArgumentError(
                "an unknown interpolation" if antialias else "this interpolation is made for smoothing",
                called="Resize",
                seen=f"interpolation={interpolation!r}",
                rule=f"one of {', '.join(allowed)}",
            )

    def __call__(self, image: Any) -> Image.Image:
        """The scaled image; the image itself where nothing changes."""
        from PIL import Image

        image = as_image("Resize", image)
        width, height = self._width_height(image.size)
        if (width, height) == image.size:
            return image
        # An image one pixel wide and very long: the long side may explode, or Pillow's array between its two passes.
        refuse_bomb("Resize", (width, max(height, image.height)))
        filter = Image.Resampling[self.interpolation.upper()]
        if self.antialias:
            return image.resize((width, height), filter)
        steps = image.width / width, image.height / height
        how: Any = filter  # of `Image.Resampling`, these three are also known to `transform`
        return image.transform((width, height), Image.Transform.AFFINE, (steps[0], 0, 0, 0, steps[1], 0), how)

    def _width_height(self, size: tuple[int, int]) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        width, height = size
        if width <= height:
            return self.size, int(self.size * height / width)
        return int(self.size * width / height), self.size


class CenterCrop(Transform):
    """Cut out the middle; where the image is smaller, pad it with black first.

    Parameters
    ----------
    size : int or (height, width)
        An integer means a square.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = height_width("CenterCrop", only_number(size))

    def __call__(self, image: Any) -> Image.Image:
        """The middle of the image."""
        image = as_image("CenterCrop", image)
        height, width = self.size
        missing = max(width - image.width, 0), max(height - image.height, 0)
        if any(missing):
            left, top = missing[0] // 2, missing[1] // 2
            image = pad(image, (left, top, missing[0] - left, missing[1] - top))
        # round() goes to the even neighbour (1.5 -> 2, 0.5 -> 0): torchvision's choice of the pixel
        return crop(image, round((image.height - height) / 2), round((image.width - width) / 2), height, width)


class Pad(Transform):
    """Add a border.

    Parameters
    ----------
    padding : int, (left and right, top and bottom) or (left, top, right, bottom)
        Widths of the border.
    fill : number or one number a channel
        The colour of a constant border.
    padding_mode : str
        "constant"; "edge" repeats the outermost pixel; "reflect" mirrors without it; "symmetric" mirrors with it.
    """

    def __init__(self, padding: int | tuple[int, ...], fill: float | tuple = 0, padding_mode: str = "constant") -> None:
        border("Pad", padding)
        self.padding = padding
        self.fill = check_fill("Pad", fill)
        self.padding_mode = check_padding_mode("Pad", padding_mode)

    def __call__(self, image: Any) -> Image.Image:
        """The image with its border."""
        image = as_image("Pad", image)
        return pad(image, border("Pad", self.padding), self.fill, self.padding_mode, called="Pad")


# ---- shared with the random transforms -----------------------------------------------------------------------------


def border(called: str, padding: Any) -> tuple[int, int, int, int]:
    """`padding` of an argument as (left, top, right, bottom)."""
    if not isinstance(padding, (list, tuple)):
        padding = (padding,)
    if len(padding) not in (1, 2, 4):
        raise ArgumentError(
            "padding has a wrong length",
            called=called,
            seen=f"padding={padding!r}",
            rule="an integer, (left and right, top and bottom) or (left, top, right, bottom)",
        )
    widths = integers(called, "padding", padding, 0)
    left, top, right, bottom = widths * (4 // len(widths))
    return left, top, right, bottom


def check_fill(called: str, fill: Any) -> Any:
    """The colour of a border as given, if it is a number or a list of numbers."""
    for value in fill if isinstance(fill, (list, tuple)) else (fill,):
        real(called, "fill", value)
    return tuple(fill) if isinstance(fill, list) else fill


def colour_of(called: str, image: Image.Image, fill: Any) -> Any:
    """`fill` as Pillow wants it for this image: a number for one channel, a tuple for several."""
    channels = len(image.getbands())
    colour = fill if isinstance(fill, tuple) else (fill,) * channels
    if len(colour) != channels:
        raise DataError(
            "fill and the image differ in channels",
            called=called,
            seen=f"fill={fill!r}, an image of mode {image.mode}",
            rule="one number, or one a channel",
        )
    return colour if channels > 1 else colour[0]


def check_padding_mode(called: str, padding_mode: Any) -> str:
    """The name of a padding mode as given, if there is one of that name."""
    if padding_mode not in PADDING_MODES:
        raise ArgumentError(
            "an unknown padding mode",
            called=called,
            seen=f"padding_mode={padding_mode!r}",
            rule=f"one of {', '.join(PADDING_MODES)}",
        )
    return padding_mode


def crop(image: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """The part of an image that begins at (top, left)."""
    return image.crop((left, top, left + width, top + height))


def pad(
    image: Image.Image,
    widths: tuple[int, int, int, int],
    fill: Any = 0,
    padding_mode: str = "constant",
    called: str = "pad",
) -> Image.Image:
    """The image with a border of (left, top, right, bottom) pixels."""
    from PIL import Image

    left, top, right, bottom = widths
    width, height = image.width + left + right, image.height + top + bottom
    refuse_bomb(called, (width, height))
    if padding_mode == "constant":
        padded = Image.new(image.mode, (width, height), colour_of(called, image, fill))
        padded.paste(image, (left, top))
        return padded
    largest = min(image.size) - (padding_mode == "reflect")
    if padding_mode != "edge" and max(widths) > largest:
        raise DataError(
            "a border wider than the image that it mirrors",
            called=called,
            seen=f"padding {widths}, image {image.height} x {image.width}",
            rule=f"at most {largest} pixels with padding_mode={padding_mode!r}",
        )
    array = np.asarray(image)
    spare = [(0, 0)] * (array.ndim - 2)
    mode: Any = padding_mode
    return Image.fromarray(np.pad(array, [(top, bottom), (left, right), *spare], mode))


def only_number(size: Any) -> Any:
    """The number of a list of one, which torchvision takes for a number; anything else as it is."""
    return size[0] if isinstance(size, (list, tuple)) and len(size) == 1 else size
