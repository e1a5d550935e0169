"""Which images are the same, or look the same: by their pixels, and by a perceptual hash.

The hash is dHash (N. Krawetz, "Kind of Like That", 2013): the image in grey, shrunk to 9 x 8; each of its 64 bits says
whether a pixel is darker than its right neighbour. It hardly changes with size, compression, brightness and contrast.
As images with little in them share hashes, a pair must also agree in a 16 x 16 thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.data.bad_images import in_threads

NEAR = 6  # bits of 64 that may differ
ALIKE = 8.0  # grey levels that thumbnails may differ in the mean, once brightness and contrast are taken out
FLAT = 4.0  # grey levels: a thumbnail that varies less says nothing
BLOCK = 2**21  # pairs that a thread compares at once


@dataclass(frozen=True)
class Fingerprint:
    """What an image is recognised by.

    Attributes
    ----------
    digest : bytes
        Of the pixels.
    bits : int
        dHash, 64 bits.
    thumbnail : bytes
        16 x 16, grey.
    """

    digest: bytes
    bits: int
    thumbnail: bytes

    @classmethod
    def of(cls, image: Any, digest: bytes) -> Fingerprint:
        """The fingerprint of a `PIL.Image`."""
        from PIL import Image

        grey = image.convert("L")
        rows = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
        bits = int.from_bytes(np.packbits(rows[:, :-1] < rows[:, 1:]).tobytes(), "big")
        return cls(digest, bits, grey.resize((16, 16), Image.Resampling.BOX).tobytes())


def exact_groups(prints: list[Fingerprint]) -> list[list[int]]:
    """Numbers of the images that have the same pixels, in groups of two or more."""
    groups: dict[bytes, list[int]] = {}
    for i, fingerprint in enumerate(prints):
        groups.setdefault(fingerprint.digest, []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(prints: list[Fingerprint], progress: bool | None = None) -> list[tuple[int, int, int]]:
    """Pairs that look the same and are not: (number, number, bits that differ)."""
    count = len(prints)
    if count < 2:
        return []
    hashes = np.array([fingerprint.bits for fingerprint in prints], np.uint64)
    thumbnails = np.array([np.frombuffer(fingerprint.thumbnail, np.uint8) for fingerprint in prints])
    spread = thumbnails.std(axis=1)

    def plain(i: int) -> np.ndarray:
        """The thumbnail without brightness and contrast."""
        return (thumbnails[i] - thumbnails[i].mean()) / spread[i]

    def compare(start: int) -> list[tuple[int, int, int]]:
        found = []
        distances = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, start:])
        for row, column in np.argwhere(distances <= NEAR):
            a, b = start + int(row), start + int(column)
            if a >= b or prints[a].digest == prints[b].digest or min(spread[a], spread[b]) < FLAT:
                continue
            if np.abs(plain(a) - plain(b)).mean() * np.sqrt(spread[a] * spread[b]) <= ALIKE:
                found.append((a, b, int(distances[row, column])))
        return found

    step = max(BLOCK // count, 1)  # images that are compared with all later ones at once
    blocks = in_threads(compare, range(0, count, step), "comparing the images", progress)
    return [pair for block in blocks for pair in block]
