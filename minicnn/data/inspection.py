"""Looking at a data set before training: sizes, balance, duplicates, leaks, broken files. `minicnn data check`."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minicnn.data.bad_images import in_threads
from minicnn.data.duplicates import Fingerprint, exact_groups, near_pairs
from minicnn.data.images import decode_image
from minicnn.data.samples import file_of, name_of, pixels_of, turns
from minicnn.errors import DataError

TINY = 32  # pixels: images with a shorter side have little to see
MOST_FOR_NEAR = 200_000  # images: more pairs than that would take hours to compare


@dataclass(frozen=True)
class Photo:
    """What is noted of one image."""

    part: str
    index: int
    name: str
    label: int
    problem: str
    width: int = 0
    height: int = 0
    kind: str = ""
    sums: tuple[float, ...] = ()
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found; printed, a report for people.

    Attributes
    ----------
    images : dict
        Number of images of each part and class: {"train": {"ants": 123, ...}, ...}.
    broken : list of (name, reason)
    sizes : dict
        Smallest, median and largest width and height, in pixels.
    kinds : dict
        How many images of each file format and mode: {"JPEG RGB": 397}.
    tiny : list of str
        Images with a side shorter than 32 pixels.
    mean, std : list of float
        Of the channels red, green, blue, in 0..1; every image counts the same, whatever its size.
    duplicates : list of lists of str
        Groups of images with the same content: the same pixels, whatever the file.
    near_duplicates : list of (name, name, distance)
        Pairs that look the same (another size, compression or brightness), with the bits of 64 in which they differ.
    leaks : list of (name, name)
        Those of all these pairs that stand in different parts: what is measured on one was trained on in the other.
    conflicts : list of (name, name)
        Those that have different classes.
    notes : list of str
        What was not looked at, and why.
    """

    images: dict[str, dict[str, int]]
    broken: list[tuple[str, str]]
    sizes: dict[str, list[float]]
    kinds: dict[str, int]
    tiny: list[str]
    mean: list[float]
    std: list[float]
    duplicates: list[list[str]]
    near_duplicates: list[tuple[str, str, int]]
    leaks: list[tuple[str, str]]
    conflicts: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is broken, leaks or contradicts itself."""
        return not (self.broken or self.leaks or self.conflicts)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "is_sound": self.is_sound}

    def __str__(self) -> str:
        lines = []
        for part, counts in self.images.items():
            values = sorted(counts.values())
            balance = f", {values[0]:,} to {values[-1]:,} a class" if len(values) > 1 else ""
            lines.append(f"{part or 'images'}: {sum(values):,} images, {len(values)} classes{balance}")
            shown = list(counts.items())
            lines += [f"  {count:7,}  {name}" for name, count in shown[:30]]
            lines += [f"  ... and {len(shown) - 30} classes more"] if len(shown) > 30 else []
        for side, (low, middle, high) in self.sizes.items():
            lines.append(f"{side}: {low:g} to {high:g}, median {middle:g} pixels")
        lines.append("kinds: " + ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items()))
        if self.mean:
            numbers = ["(" + ", ".join(f"{x:.4f}" for x in values) + ")" for values in (self.mean, self.std)]
            lines.append(f"mean {numbers[0]}, std {numbers[1]}")
        groups = [", ".join(group) for group in self.duplicates]
        near = [f"{a}, {b} ({bits} of 64 bits differ)" for a, b, bits in self.near_duplicates]
        lines += _listed("broken files", [reason for _, reason in self.broken])
        lines += _listed(f"tiny images (a side below {TINY} pixels)", self.tiny)
        lines += _listed("groups of duplicates", groups)
        lines += _listed("pairs of near-duplicates", near)
        lines += _listed("pairs across parts, LEAKS", [f"{a}, {b}" for a, b in self.leaks])
        lines += _listed("pairs with different classes", [f"{a}, {b}" for a, b in self.conflicts])
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def inspect(parts: Any, near: bool = True, progress: bool | None = None) -> Inspection:
    """Look at all images of a data set.

    Parameters
    ----------
    parts : data set, or dict of data sets
        {"train": dataset, "val": dataset}. Transforms are not applied.
    near : bool
        Look for near-duplicates too.
    progress : bool, optional
        None: a bar only if stderr is a terminal, and after two seconds.
    """
    parts = dict(parts) if isinstance(parts, Mapping) else {"": parts}
    places = [(part, i) for part, dataset in parts.items() for i in range(len(dataset))]
    if not places:
        raise DataError("no images", called="inspect", rule="at least one")

    def look(place: tuple[str, int]) -> Photo:
        part, index = place
        return _look(part, parts[part], index)

    photos = list(in_threads(look, places, "looking at the images", progress))
    sound = [photo for photo in photos if not photo.problem]
    prints = [photo.fingerprint for photo in sound if photo.fingerprint is not None]
    notes = []
    if near and len(sound) > MOST_FOR_NEAR:
        near = False
        notes.append(f"near-duplicates were not looked for among more than {MOST_FOR_NEAR:,} images")
    groups = exact_groups(prints)
    pairs = near_pairs(prints, progress) if near else []
    # Of a group of equals, each with the first: enough to see a leak, and not the square of their number.
    linked = [(group[0], other) for group in groups for other in group[1:]] + [(a, b) for a, b, _ in pairs]
    classes = {part: list(dataset.classes) for part, dataset in parts.items()}

    def class_of(i: int) -> str:
        return str(classes[sound[i].part][sound[i].label])

    mean, std = _statistics(sound)
    return Inspection(
        images={part: _counts(dataset) for part, dataset in parts.items()},
        broken=[(photo.name, photo.problem) for photo in photos if photo.problem]
        + [item for dataset in parts.values() for item in getattr(dataset, "skipped", [])],
        sizes={
            side: [min(values), statistics.median(values), max(values)]
            for side in ("width", "height")
            if (values := [getattr(photo, side) for photo in sound])
        },
        kinds=dict(Counter(photo.kind for photo in sound).most_common()),
        tiny=[photo.name for photo in sound if min(photo.width, photo.height) < TINY],
        mean=mean,
        std=std,
        duplicates=[[sound[i].name for i in group] for group in groups],
        near_duplicates=[(sound[a].name, sound[b].name, bits) for a, b, bits in pairs],
        leaks=[(sound[a].name, sound[b].name) for a, b in linked if sound[a].part != sound[b].part],
        conflicts=[(sound[a].name, sound[b].name) for a, b in linked if class_of(a) != class_of(b)],
        notes=notes,
    )


def _look(part: str, dataset: Any, index: int) -> Photo:
    from minicnn.data.transforms.compose import as_image

    name, label = name_of(dataset, index), int(dataset.targets[index])
    try:
        data = file_of(dataset, index)
        pixels = pixels_of(dataset, index) if data is None else decode_image(data, name, turns(dataset, index))
        image = as_image("inspect", pixels).convert("RGB")
    except DataError as error:
        return Photo(part, index, name, label, str(error))
    histogram = np.array(image.histogram(), np.int64).reshape(3, 256)
    levels = np.arange(256) / 255
    area = image.width * image.height
    sums = (*(histogram @ levels / area), *(histogram @ levels**2 / area))
    digest = hashlib.sha256(image.tobytes() + repr(image.size).encode()).digest()[:16]
    return Photo(
        part, index, name, label, "", image.width, image.height, _kind(data), sums, Fingerprint.of(image, digest)
    )


def _kind(data: bytes | None) -> str:
    """File format and mode, of the file as it is."""
    import io

    from PIL import Image

    if data is None:
        return "pixels"
    with Image.open(io.BytesIO(data)) as image:
        return f"{image.format} {image.mode}"


def _statistics(photos: list[Photo]) -> tuple[list[float], list[float]]:
    if not photos:
        return [], []
    sums = np.array([photo.sums for photo in photos]).mean(axis=0)
    return sums[:3].tolist(), np.sqrt(np.maximum(sums[3:] - sums[:3] ** 2, 0)).tolist()


def _counts(dataset: Any) -> dict[str, int]:
    counts = np.bincount(np.asarray(dataset.targets), minlength=len(dataset.classes))
    return {str(name): int(count) for name, count in zip(dataset.classes, counts, strict=True)}


def _listed(what: str, items: list[str]) -> list[str]:
    """A headline with the number of items, and the first ten of them."""
    lines = [f"{what}: {len(items):,}" if items else f"{what}: none"]
    lines += [f"  {item}" for item in items[:10]]
    return lines + ([f"  ... and {len(items) - 10:,} more"] if len(items) > 10 else [])
