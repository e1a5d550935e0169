"""Values: `ToTensor`, `Normalize`, `ReverseChannels`, `Grayscale`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.backends.arrays import FLOATS
from minicnn.data.checks import real
from minicnn.data.transforms.compose import Transform, as_image
from minicnn.errors import ArgumentError, DTypeError, ShapeError

if TYPE_CHECKING:
    from PIL import Image


class ToTensor(Transform):
    """An image as float32 (C, H, W), 0..255 divided by 255.

    Takes a PIL image, a uint8 array (H, W) or (H, W, C), or a float array of these shapes, which keeps its values and
    its dtype. Gives a NumPy array: the `DataLoader` makes one `Tensor` of a whole batch.
    """

    def __call__(self, image: Any) -> np.ndarray:
        """The image as an array (C, H, W)."""
        from PIL import Image

        if isinstance(image, Image.Image):
            image = self._array(image)
        if not isinstance(image, np.ndarray) or not (image.dtype == np.uint8 or image.dtype in FLOATS):
            raise DTypeError(
                "not an image",
                called="ToTensor",
                seen=f"array {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__,
                rule="a PIL image, a uint8 array (divided by 255) or a float array (kept)",
            )
        if image.ndim not in (2, 3) or not image.size:
            raise ShapeError(
                "not an image", called="ToTensor", seen=f"shape {image.shape}", rule="(H, W) or (H, W, C), not empty"
            )
        x = image[:, :, None] if image.ndim == 2 else image
        x = np.ascontiguousarray(x.transpose(2, 0, 1))
        # one pass: at 224 x 224, a second array between the two would cost three times as much as the division
        return np.divide(x, np.float32(255), dtype=np.float32) if x.dtype == np.uint8 else x

    def _array(self, image: Image.Image) -> np.ndarray:
        if image.mode == "1":
            image = image.convert("L")
        array = np.asarray(image)
        if image.mode in ("P", "PA") or (array.dtype != np.uint8 and array.dtype not in FLOATS):
            raise DTypeError(
                "an image without brightness 0..255",
                called="ToTensor",
                seen=f"mode {image.mode}",
                rule="8 bits a channel, or floats (mode F)",
                hint="image.convert('RGB')" if image.mode in ("P", "PA") else "scale it to uint8",
            )
        return array


class Normalize(Transform):
    """(x - mean) / std, for each channel.

    Parameters
    ----------
    mean, std : sequence of float
        One number a channel, or one number for all. std is not zero.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean = _numbers("mean", mean)
        self.std = _numbers("std", std)
        if len(self.mean) != len(self.std):
            raise ArgumentError(
                "mean and std differ in length",
                called="Normalize",
                seen=f"mean={self.mean}, std={self.std}",
                rule="one number a channel in both",
            )
        if min(self.std) <= 0:
            raise ArgumentError(
                "std is not positive", called="Normalize", seen=f"std={self.std}", rule="std > 0 in every channel"
            )

    def __call__(self, x: Any) -> np.ndarray:
        """The normalised array (C, H, W), of the same dtype."""
        if not isinstance(x, np.ndarray) or x.dtype not in FLOATS:
            raise DTypeError(
                "not a float array",
                called="Normalize",
                seen=f"array {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__,
                rule="a float array (C, H, W)",
                hint="put ToTensor() before Normalize",
            )
        if x.ndim != 3 or len(self.mean) not in (1, x.shape[0]):
            raise ShapeError(
                "mean and std do not fit the image",
                called="Normalize",
                seen=f"image {x.shape}, mean of {len(self.mean)}",
                rule="image (C, H, W), mean and std of C numbers or one",
                hint=f"Grayscale({len(self.mean)}) before ToTensor" if x.shape[:1] == (1,) else "",
            )
        mean, std = (np.array(values, x.dtype).reshape(-1, 1, 1) for values in (self.mean, self.std))
        y = x - mean
        y /= std  # in place: large arrays are new memory each time, which costs more than the arithmetic
        return y


class ReverseChannels(Transform):
    """From RGB to BGR, the order in which networks from Caffe have learned colours; after `ToTensor`."""

    def __call__(self, x: Any) -> np.ndarray:
        """The array (C, H, W) with its channels in reverse order."""
        if not isinstance(x, np.ndarray) or x.dtype not in FLOATS or x.ndim != 3:
            raise DTypeError(
                "not a float array (C, H, W)",
                called="ReverseChannels",
                seen=f"array {x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__,
                hint="put ToTensor() before ReverseChannels",
            )
        return np.ascontiguousarray(x[::-1])


class Grayscale(Transform):
    """Brightness only: 0.299 R + 0.587 G + 0.114 B, in one channel or repeated in three.

    Parameters
    ----------
    num_output_channels : int
        1 or 3. `Grayscale(3)` lets a network for colour take grey images.
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3) or isinstance(num_output_channels, bool):
            raise ArgumentError(
                "a number of channels that grey images do not have",
                called="Grayscale",
                seen=f"num_output_channels={num_output_channels!r}",
                rule="1 or 3",
            )
        self.num_output_channels = int(num_output_channels)

    def __call__(self, image: Any) -> Image.Image:
        """The image in grey."""
        from PIL import Image

        grey = as_image("Grayscale", image).convert("L")
        return grey if self.num_output_channels == 1 else Image.merge("RGB", (grey, grey, grey))


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    values = tuple(values) if isinstance(values, (list, tuple, np.ndarray)) else (values,)
    if not values:
        raise ArgumentError(f"{name} is empty", called="Normalize", rule="one number a channel")
    return tuple(real("Normalize", name, value) for value in values)
