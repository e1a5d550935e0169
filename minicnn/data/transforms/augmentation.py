"""Random transforms: a picture that is never quite the same twice. They draw from `sample_generator()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minicnn.data.checks import height_width
from minicnn.data.randomness import sample_generator
from minicnn.data.transforms.compose import Transform, as_image
from minicnn.data.transforms.geometry import border, check_fill, check_padding_mode, crop, only_number, pad
from minicnn.data.transforms.sampling import probability
from minicnn.errors import DataError

if TYPE_CHECKING:
    from PIL import Image


class RandomCrop(Transform):
    """Cut out a part at a random place.

    Parameters
    ----------
    size : int or (height, width)
        Size of the part; an integer means a square.
    padding : int or tuple, optional
        A border that is added first, as in `Pad`. `RandomCrop(28, padding=4)` moves a 28x28 image by up to 4 pixels.
    pad_if_needed : bool
        Pad images that are smaller than `size`; otherwise they are an error.
    fill, padding_mode
        As in `Pad`.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | tuple[int, ...] | None = None,
        pad_if_needed: bool = False,
        fill: float | tuple = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = height_width("RandomCrop", only_number(size))
        if padding is not None:
            border("RandomCrop", padding)
        self.padding = padding
        self.pad_if_needed = bool(pad_if_needed)
        self.fill = check_fill("RandomCrop", fill)
        self.padding_mode = check_padding_mode("RandomCrop", padding_mode)

    def __call__(self, image: Any) -> Image.Image:
        """A part of the image."""
        image = as_image("RandomCrop", image)
        height, width = self.size
        if self.padding is not None:
            image = self._pad(image, border("RandomCrop", self.padding))
        if self.pad_if_needed:  # on both sides, as torchvision does: every place of the image stays possible
            x, y = max(width - image.width, 0), max(height - image.height, 0)
            image = self._pad(image, (x, y, x, y))
        if image.height < height or image.width < width:
            raise DataError(
                "the image is smaller than the part to cut out",
                called="RandomCrop",
                seen=f"image {image.height} x {image.width}, size {height} x {width}",
                rule="image >= size, padding included",
                hint="pad_if_needed=True, or a Resize before it",
            )
        generator = sample_generator()
        top = int(generator.integers(image.height - height + 1))
        left = int(generator.integers(image.width - width + 1))
        return crop(image, top, left, height, width)

    def _pad(self, image: Image.Image, widths: tuple[int, int, int, int]) -> Image.Image:
        return pad(image, widths, self.fill, self.padding_mode, called="RandomCrop") if any(widths) else image


class RandomHorizontalFlip(Transform):
    """Mirror left and right, with probability `p`.

    Parameters
    ----------
    p : float
        Between 0 and 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability("RandomHorizontalFlip", p)

    def __call__(self, image: Any) -> Image.Image:
        """The image or its mirror image."""
        from PIL import Image

        image = as_image("RandomHorizontalFlip", image)
        if sample_generator().random() < self.p:
            return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image


class RandomVerticalFlip(Transform):
    """Mirror top and bottom, with probability `p`.

    Parameters
    ----------
    p : float
        Between 0 and 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability("RandomVerticalFlip", p)

    def __call__(self, image: Any) -> Image.Image:
        """The image or its mirror image."""
        from PIL import Image

        image = as_image("RandomVerticalFlip", image)
        if sample_generator().random() < self.p:
            return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return image
