"""`RandomRotation`: torchvision's, on PIL images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minicnn.data.checks import real
from minicnn.data.randomness import sample_generator
from minicnn.data.transforms.compose import Transform, as_image
from minicnn.data.transforms.geometry import INTERPOLATIONS, check_fill, colour_of
from minicnn.data.transforms.sampling import interpolation_name, interval
from minicnn.errors import ArgumentError

if TYPE_CHECKING:
    from PIL import Image


class RandomRotation(Transform):
    """Turn the image by a random angle, counter-clockwise.

    Parameters
    ----------
    degrees : float or (smallest, largest)
        Range of the angle, uniform; a number `d` means -d .. d.
    interpolation : str
        "nearest", "bilinear" or "bicubic".
    expand : bool
        Make the result large enough for the whole turned image; otherwise it has the size of the image.
    center : (x, y), optional
        The point to turn around, in pixels from the upper left corner; by default the middle.
    fill : number or one number a channel
        The colour of what was outside of the image.
    """

    def __init__(
        self,
        degrees: float | tuple[float, float],
        interpolation: str = "nearest",
        expand: bool = False,
        center: tuple[float, float] | None = None,
        fill: float | tuple = 0,
    ) -> None:
        called = "RandomRotation"
        if not isinstance(degrees, (list, tuple)):
            if real(called, "degrees", degrees) < 0:
                raise ArgumentError("degrees is negative", called=called, seen=f"degrees={degrees!r}", rule="0 or more")
            degrees = (-degrees, degrees)
        self.degrees = interval(called, "degrees", degrees, -math.inf, math.inf)
        self.interpolation = interpolation_name(called, interpolation, INTERPOLATIONS[:3])
        self.expand = bool(expand)
        if center is not None and (not isinstance(center, (list, tuple)) or len(center) != 2):
            raise ArgumentError("center is no point", called=called, seen=f"center={center!r}", rule="(x, y)")
        self.center = center and tuple(real(called, f"center[{i}]", number) for i, number in enumerate(center))
        self.fill = check_fill(called, fill)

    def __call__(self, image: Any) -> Image.Image:
        """The turned image."""
        from PIL import Image

        image = as_image("RandomRotation", image)
        angle = sample_generator().uniform(*self.degrees)
        resampling = Image.Resampling[self.interpolation.upper()]
        colour = colour_of("RandomRotation", image, self.fill)
        return image.rotate(angle, resampling, self.expand, self.center, fillcolor=colour)
