"""A sheet of pictures of a data set, before and after augmentation: `contact_sheet`. `minicnn data show`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.data.checks import integer
from minicnn.data.randomness import drawing_for_sample
from minicnn.data.samples import pixels_of
from minicnn.errors import ArgumentError

if TYPE_CHECKING:
    from PIL import Image

GAP, LINE, MARGIN = 4, 18, 8  # pixels between tiles, of a line of text, around everything
PAPER, INK = (255, 255, 255), (40, 40, 40)


def augmentation(name: str, size: int) -> Callable[[Any], Any] | None:
    """A usual augmentation by its name, up to the step before `ToTensor`; None for "none".

    Parameters
    ----------
    name : str
        "photographs": random part, mirrored, other colours; "small": moved by an eighth, mirrored (CIFAR's); "none".
    size : int
        Side of the result.
    """
    from minicnn.data import transforms

    if name == "photographs":
        return transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(0.35, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(0.2, 0.2, 0.2),
            ]
        )
    if name == "small":
        return transforms.Compose(
            [
                transforms.Resize(size),
                transforms.CenterCrop(size),
                transforms.RandomCrop(size, padding=max(size // 8, 1)),
                transforms.RandomHorizontalFlip(),
            ]
        )
    if name == "none":
        return None
    raise ArgumentError(
        "unknown augmentation", called="augmentation", seen=repr(name), rule="one of photographs, small, none"
    )


def contact_sheet(
    dataset: Any,
    augment: Callable[[Any], Any] | None = None,
    *,
    images: int = 8,
    versions: int = 5,
    size: int = 128,
    seed: int = 0,
) -> Image.Image:
    """Some images of a data set, one a row with the name of its class, and what augmentation makes of each.

    Parameters
    ----------
    dataset : data set
        With `classes` and `targets`. Its own transform is not applied.
    augment : callable, optional
        From a `PIL.Image` to a `PIL.Image` or a uint8 array; random transforms draw from (seed, version, sample), as in
        a `DataLoader` in epoch 0, 1, 2, ... Without, a sheet of the images alone.
    images, versions : int
        Rows, and versions of each after augmentation.
    size : int
        Side of a picture on the sheet.
    seed : int
        Of the choice of the images (each class in turn) and of the augmentation.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    images, size = integer("contact_sheet", "images", images, 1), integer("contact_sheet", "size", size, 8)
    versions = integer("contact_sheet", "versions", versions, 1) if augment is not None else 0
    chosen = _choose(np.asarray(dataset.targets), images, seed)
    if augment is None:  # a square of images
        columns = int(np.ceil(np.sqrt(len(chosen))))
        tiles = [(_picture(dataset, i, size), str(dataset.classes[dataset.targets[i]])) for i in chosen]
        return _sheet([tiles[at : at + columns] for at in range(0, len(tiles), columns)], size, "")
    rows = []
    for i in chosen:
        before = pixels_of(dataset, i)
        row = [(_picture(dataset, i, size), str(dataset.classes[dataset.targets[i]]))]
        for version in range(versions):
            with drawing_for_sample(seed, version, i):
                row.append((_fitted(augment(before), size), ""))
        rows.append(row)
    return _sheet(rows, size, "before, and after augmentation")


def _choose(targets: np.ndarray, count: int, seed: int) -> list[int]:
    """`count` samples, of each class in turn."""
    generator = np.random.Generator(np.random.PCG64(seed))
    queues = [generator.permutation(np.flatnonzero(targets == label)).tolist() for label in np.unique(targets)]
    chosen: list[int] = []
    while len(chosen) < min(count, len(targets)):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return chosen


def _picture(dataset: Any, index: int, size: int) -> Image.Image:
    return _fitted(pixels_of(dataset, index), size)


def _fitted(image: Any, size: int) -> Image.Image:
    """A square with the whole image in it; small images are made larger without smoothing, to see their pixels."""
    from PIL import Image

    from minicnn.data.transforms.compose import as_image

    image = as_image("contact_sheet", image).convert("RGB")
    scale = size / max(image.size)
    wanted = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    image = image.resize(wanted, Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST)
    square = Image.new("RGB", (size, size), PAPER)
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def _sheet(rows: list[list[tuple[Image.Image, str]]], size: int, title: str) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    columns, step = max(len(row) for row in rows), size + GAP
    top = MARGIN + (LINE if title else 0)
    sheet = Image.new("RGB", (2 * MARGIN + columns * step - GAP, top + len(rows) * (step + LINE) + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    if title:
        draw.text((MARGIN, MARGIN), title, INK, font)
    for i, row in enumerate(rows):
        for j, (picture, text) in enumerate(row):
            x, y = MARGIN + j * step, top + i * (step + LINE)
            draw.text((x, y), _short(text, draw, font, size), INK, font)
            sheet.paste(picture, (x, y + LINE))
    return sheet


def _short(text: str, draw: Any, font: Any, width: int) -> str:
    """As much of a name as fits, on one line."""
    text = " ".join(text.split())[:200]
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "...", font) > width:
        text = text[:-1]
    return text + "..."
