"""Random colours: `ColorJitter`, `RandomGrayscale`; on PIL images, with torchvision's results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minicnn.data.checks import real
from minicnn.data.randomness import sample_generator
from minicnn.data.transforms.compose import Transform, as_image
from minicnn.data.transforms.sampling import interval, probability
from minicnn.errors import ArgumentError

if TYPE_CHECKING:
    from PIL import Image

Range = tuple[float, float]


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue, in a random order.

    A number `a` means factors from max(0, 1 - a) to 1 + a (for hue, shifts from -a to a); a pair is the range itself.

    Parameters
    ----------
    brightness, contrast, saturation : float or (smallest, largest)
        Range of the factor; 1 leaves the image as it is. 0 gives black, uniform grey, and shades of grey.
    hue : float or (smallest, largest)
        Range of the shift on the circle of colours, within -0.5 .. 0.5; 0 leaves the image as it is.
    """

    def __init__(
        self,
        brightness: float | Range = 0,
        contrast: float | Range = 0,
        saturation: float | Range = 0,
        hue: float | Range = 0,
    ) -> None:
        self.brightness = _around("brightness", brightness, 1, 0, math.inf)
        self.contrast = _around("contrast", contrast, 1, 0, math.inf)
        self.saturation = _around("saturation", saturation, 1, 0, math.inf)
        self.hue = _around("hue", hue, 0, -0.5, 0.5)

    def __call__(self, image: Any) -> Image.Image:
        """The image in other colours."""
        from PIL import ImageEnhance

        image = as_image("ColorJitter", image)
        draw = sample_generator()
        for change in draw.permutation(4).tolist():
            if change == 3:
                if self.hue != (0, 0):
                    image = shift_hue(image, draw.uniform(*self.hue))
                continue
            kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[change]
            factors = (self.brightness, self.contrast, self.saturation)[change]
            if factors != (1, 1):
                image = kind(image).enhance(draw.uniform(*factors))
        return image


class RandomGrayscale(Transform):
    """Take the colours away, with probability `p`; the image keeps its number of channels.

    Parameters
    ----------
    p : float
        Between 0 and 1.
    """

    def __init__(self, p: float = 0.1) -> None:
        self.p = probability("RandomGrayscale", p)

    def __call__(self, image: Any) -> Image.Image:
        """The image, or the image in grey."""
        image = as_image("RandomGrayscale", image)
        return image.convert("L").convert(image.mode) if sample_generator().random() < self.p else image


def shift_hue(image: Image.Image, shift: float) -> Image.Image:
    """The image with its colours turned by `shift` of the whole circle (-0.5 .. 0.5); grey images stay as they are."""
    from PIL import Image

    if image.mode not in ("RGB", "RGBA"):
        return image
    hue, saturation, value = image.convert("RGB").convert("HSV").split()
    steps = int(shift * 255)  # torchvision's: towards zero, of 255 although the circle has 256 steps
    hue = hue.point([(step + steps) % 256 for step in range(256)])
    turned = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    if image.mode == "RGBA":
        turned.putalpha(image.getchannel("A"))
    return turned


def _around(name: str, value: Any, centre: float, low: float, high: float) -> Range:
    if isinstance(value, (list, tuple)):
        return interval("ColorJitter", name, value, low, high)
    width = real("ColorJitter", name, value)
    if width < 0 or centre + width > high:
        raise ArgumentError(
            f"{name} is out of range",
            called="ColorJitter",
            seen=f"{name}={value!r}",
            rule="0 or more" if high == math.inf else f"0 .. {high:g}",
        )
    return float(max(centre - width, low)), centre + width
