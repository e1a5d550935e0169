"""`Compose`, and what all transforms share: how they print, and what counts as an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.errors import ArgumentError, DTypeError, ShapeError

if TYPE_CHECKING:
    from PIL import Image


class Transform:
    """A transform with settings: prints as the call that makes it, for instance `Resize(size=256)`."""

    def __call__(self, image: Any, /) -> Any:
        """The transformed image."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Compose(Transform):
    """One transform after the other.

    Parameters
    ----------
    transforms : sequence of callables
        Each takes what the one before it gives.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = check_transforms("Compose", transforms)

    def __call__(self, image: Any, /) -> Any:
        """The image after all transforms."""
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        lines = "".join(f"\n    {transform!r}," for transform in self.transforms)
        return f"Compose([{lines}\n])" if lines else "Compose([])"


def check_transforms(called: str, transforms: Any) -> list[Callable[..., Any]]:
    """A list or tuple of transforms as a list, or an error."""
    if not isinstance(transforms, (list, tuple)):
        raise ArgumentError(
            "transforms are not a list", called=called, seen=type(transforms).__name__, hint=f"{called}([...])"
        )
    for position, transform in enumerate(transforms):
        if not callable(transform) or isinstance(transform, type):
            raise ArgumentError(
                f"transforms[{position}] is not a transform",
                called=called,
                seen=repr(transform),
                rule="something that can be called with an image",
                hint=f"{transform.__name__}()" if isinstance(transform, type) else "",
            )
    return list(transforms)


def as_image(called: str, image: Any) -> Image.Image:
    """A `PIL.Image` as it is, a uint8 array (H, W) or (H, W, C) as a `PIL.Image`; anything else is an error."""
    from PIL import Image

    if isinstance(image, Image.Image):
        if image.mode in ("1", "P", "PA"):  # Pillow would resize these without smoothing, and fill with a wrong colour
            raise DTypeError(
                "an image of palette entries or bits",
                called=called,
                seen=f"mode {image.mode}",
                rule="a mode with grey or colour values: L, RGB, RGBA, ...",
                hint="image.convert('RGB')",
            )
        return image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        seen = f"array {image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DTypeError(
            "not an image",
            called=called,
            seen=seen,
            rule="a PIL image, or a uint8 array (H, W) or (H, W, C)",
            hint=f"put {called} before ToTensor" if isinstance(image, np.ndarray) else "",
        )
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))) or not image.size:
        raise ShapeError(
            "an array that is not an image",
            called=called,
            seen=f"shape {image.shape}",
            rule="(H, W), or (H, W, C) with 1, 3 or 4 channels last",
        )
    return Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
