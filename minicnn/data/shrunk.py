"""Photographs in memory, decoded once and no larger than a training needs: `Shrunk`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.data.arrays import Dataset
from minicnn.data.checks import integer
from minicnn.data.samples import name_of, pixels_of
from minicnn.data.transforms import Resize
from minicnn.data.transforms.compose import as_image
from minicnn.errors import MinicnnError

LIMIT = 2**30  # bytes


class Shrunk:
    """The images of a data set with another transform; `dataset[i]` is (transformed image, label).

    Decoding the photograph of a telephone takes longer than a training step on it, and a training sees each many times.
    Here each is decoded once, shrunk until its short side has `short_side` pixels, and kept; only the transform, random
    or not, is done each time.

    Parameters
    ----------
    dataset : Dataset
        Of image files or pixels; its own transform is passed over.
    short_side : int
        Pixels. Smaller images stay as they are.
    transform : callable, optional
        From an RGB `PIL.Image` to what the network wants.
    limit : int
        Bytes. If the images might need more, they are not kept, but decoded each time.
    show : bool or None
        Whether a progress bar is shown; None: on a terminal.

    Attributes
    ----------
    dataset : Dataset
    classes : list of str
    targets : array (N,) of int64
    is_kept : bool
        Whether the images are in memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        short_side: int,
        transform: Callable[[Any], Any] | None = None,
        *,
        limit: int = LIMIT,
        show: bool | None = None,
    ) -> None:
        self.dataset = dataset
        self.short_side = integer("Shrunk", "short_side", short_side, 1)
        self.transform = transform
        self.classes: list[str] = dataset.classes  # type: ignore[attr-defined]
        self.targets = np.asarray(dataset.targets, np.int64)  # type: ignore[attr-defined]
        # Photographs are up to twice as long as wide, most of them.
        self.is_kept = 2 * 3 * self.short_side**2 * len(dataset) <= limit
        self._pixels = self._read_all(show) if self.is_kept else None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        index = range(len(self))[index]
        image = self._shrunk(index) if self._pixels is None else Image.fromarray(self._pixels[index])
        label = int(self.targets[index])
        if self.transform is None:
            return image, label
        try:
            return self.transform(image), label
        except MinicnnError as error:
            error.called = f"{name_of(self.dataset, index)}: {error.called}"
            raise

    def __repr__(self) -> str:
        where = "in memory" if self.is_kept else "read each time"
        return f"Shrunk({len(self)} images, short side at most {self.short_side}, {where})"

    def _read_all(self, show: bool | None) -> list[np.ndarray]:
        from concurrent.futures import ThreadPoolExecutor

        from tqdm import tqdm

        with ThreadPoolExecutor(2, thread_name_prefix="minicnn-data") as pool:
            read = pool.map(lambda i: np.asarray(self._shrunk(i)), range(len(self)))
            disable = None if show is None else not show
            return list(tqdm(read, "reading images", len(self), disable=disable, leave=False, dynamic_ncols=True))

    def _shrunk(self, index: int) -> Any:
        image = as_image("Shrunk", pixels_of(self.dataset, index)).convert("RGB")
        return Resize(self.short_side)(image) if min(image.size) > self.short_side else image
