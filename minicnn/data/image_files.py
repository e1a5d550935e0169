"""What `ImageFolder` and `CSVImages` share: a list of image files with labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minicnn.data.bad_images import without_bad
from minicnn.data.images import open_image, read_image, shown
from minicnn.errors import MinicnnError


class ImageFiles:
    """A data set of image files; `dataset[i]` is (transformed image, label).

    Parameters
    ----------
    samples : list of (path, label)
    classes : sequence of str
        Name of each class.
    transform : callable, optional
        From an RGB `PIL.Image` to what the network wants; see `minicnn.data.transforms`.
    exif, skip_bad, progress
        As in `ImageFolder`.

    Attributes
    ----------
    samples : list of (path, label)
    classes : list of str
    targets : list of int
    skipped : list of (path, reason)
        Files that `skip_bad` left out, and why.
    """

    def __init__(
        self,
        samples: list[tuple[str, int]],
        classes: Sequence[str],
        transform: Callable[[Any], Any] | None = None,
        *,
        exif: bool = True,
        skip_bad: bool = False,
        progress: bool | None = None,
    ) -> None:
        self.classes = list(classes)
        self.transform = transform
        self.exif = bool(exif)
        self.samples = samples
        self.skipped: list[tuple[str, str]] = []
        if skip_bad:
            self.samples, self.skipped = without_bad(samples, progress)
        self.targets = [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        image = read_image(path, self.exif)
        if self.transform is None:
            return image, label
        try:
            return self.transform(image), label
        except MinicnnError as error:
            error.called = f"{shown(path)}: {error.called}"
            raise

    def __repr__(self) -> str:
        return f"ImageFiles({self._counts()})"

    def encoded(self, index: int) -> bytes:
        """The bytes of an image file, not decoded and not checked."""
        with open_image(self.samples[index][0]) as file:
            return file.read()

    def _counts(self) -> str:
        skipped = f", {len(self.skipped)} files that cannot be read skipped" if self.skipped else ""
        return f"{len(self)} images, {len(self.classes)} classes{skipped}"
