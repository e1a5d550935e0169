"""`RandomResizedCrop`: a part of random size, shape and place, scaled to one size; torchvision's rule.

Source of the rule: Szegedy et al. 2015, "Going Deeper with Convolutions", section 6: parts of 8 % to 100 % of the area
and of a ratio 3/4 to 4/3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from minicnn.data.checks import height_width
from minicnn.data.images import refuse_bomb
from minicnn.data.randomness import sample_generator
from minicnn.data.transforms.compose import Transform, as_image
from minicnn.data.transforms.geometry import INTERPOLATIONS, crop, only_number
from minicnn.data.transforms.sampling import TRIES, interpolation_name, interval, positive

if TYPE_CHECKING:
    from PIL import Image


class RandomResizedCrop(Transform):
    """Cut out a random part and scale it to `size`.

    Parameters
    ----------
    size : int or (height, width)
        Size of the result; an integer means a square.
    scale : (smallest, largest)
        Area of the part, as a share of the image's area; uniform.
    ratio : (smallest, largest)
        Width / height of the part; its logarithm is uniform.
    interpolation : str
        As in `Resize`; smoothed where it shrinks (antialias).
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
    ) -> None:
        called = "RandomResizedCrop"
        self.size = height_width(called, only_number(size))
        self.scale = positive(called, "scale", interval(called, "scale", scale, 0, 1))
        self.ratio = positive(called, "ratio", interval(called, "ratio", ratio, 0, math.inf))
        self.interpolation = interpolation_name(called, interpolation, INTERPOLATIONS)
        refuse_bomb(called, self.size)

    def __call__(self, image: Any) -> Image.Image:
        """A part of the image, scaled."""
        from PIL import Image

        image = as_image("RandomResizedCrop", image)
        top, left, height, width = self.part(image.height, image.width)
        # First cut, then scale: Pillow's resize(box=...) would let pixels beyond the part into its border.
        if (height, width) != (image.height, image.width):
            image = crop(image, top, left, height, width)
        refuse_bomb("RandomResizedCrop", (self.size[1], max(self.size[0], image.height)))
        return image.resize(self.size[::-1], Image.Resampling[self.interpolation.upper()])

    def part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width) of a part of an image of `height` x `width` pixels."""
        draw = sample_generator()
        area = height * width
        low, high = (math.log(number) for number in self.ratio)
        for _ in range(TRIES):
            part_area, ratio = area * draw.uniform(*self.scale), math.exp(draw.uniform(low, high))
            w, h = round(math.sqrt(part_area * ratio)), round(math.sqrt(part_area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(draw.integers(height - h + 1)), int(draw.integers(width - w + 1)), h, w
        # the largest part in the middle whose ratio is allowed
        smallest, largest = self.ratio
        w, h = min(width, max(round(height * largest), 1)), min(height, max(round(width / smallest), 1))
        return (height - h) // 2, (width - w) // 2, h, w
