"""Images in memory as the fast kernels want them: channels last, a border of zeros, buffers that are used again.

An image batch has the shape (N, C, H, W) wherever it is named. In memory, `Images` keeps it as

    flat[((n * rows + 1 + h) * columns + 1 + w) * channels + c]

- *channels last*: the channels of a pixel lie side by side, so vectors run over channels in every kernel, and the C
  numbers under one row of a convolution's window are one run; `channels` is C rounded up to a multiple of 16: whole
  vectors, of every width.
- *a halo of zeros* around each image: one row and column before it and one or more after, up to `rows = 4 ceil(H/4) +
  2`, so that a 3x3 convolution with padding, whole Winograd tiles included, needs no code for edges.
- The halo and the spare channels stay zero: kernels write pixels only (and zeros into spare channels; whole numbers, as
  the places of maxima are, may hold anything there).
- *Used again*: when the last array that shares a buffer is gone, the buffer waits for the next batch of the same shape.
  Fresh memory costs a page fault every 4 kB, which is more than many kernels take.

`Images.array` is a NumPy array of shape (N, C, H, W) onto those pixels. `Images.of(x)` finds the `Images` behind an
array, or copies it into new ones. All of this is a matter of speed: every operation accepts arrays of any strides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.backends.scratch import Key, pool
from minicnn.backends.simd import lanes, vstore, vstream, vzero

HALO = 1
TILE = 4
CHANNELS = 16
PART = 2**14  # numbers that a thread clears at a time
MANY = 2**20  # numbers of a batch; of more, those written first have left the second-level caches before they are read


class Images:
    """N images of C channels, H rows and W columns, channels last, with a halo of zeros.

    Attributes
    ----------
    shape : (N, C, H, W)
    flat : 1-D array
        All of the memory; kernels take it together with the numbers below.
    channels, columns, rows : int
        C rounded up; columns and rows of an image with its halo.
    row, image : int
        Distance in `flat` from one row, and from one image, to the next; from pixel to pixel it is `channels`.
    origin : int
        Position in `flat` of the first channel of the first pixel.
    """

    __slots__ = (
        "__weakref__",
        "_key",
        "_pool",
        "channels",
        "columns",
        "flat",
        "image",
        "origin",
        "row",
        "rows",
        "shape",
    )

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        n, c, h, w = shape
        self.shape = (n, c, h, w)
        self.channels = -(-c // CHANNELS) * CHANNELS
        self.rows, self.columns = (-(-size // TILE) * TILE + 2 * HALO for size in (h, w))
        self.row = self.columns * self.channels
        self.image = self.rows * self.row
        self.origin = HALO * self.row + HALO * self.channels
        self._key: Key = ("images", self.shape, np.dtype(dtype).char)
        self._pool = pool()
        self.flat = self._pool.take(self._key, n * self.image, dtype)  # zeros, or left by images of the same shape

    @property
    def __array_interface__(self) -> dict[str, Any]:
        size = self.flat.itemsize
        address = self.flat.__array_interface__["data"][0] + self.origin * size
        strides = (self.image * size, size, self.row * size, self.channels * size)
        return {
            "version": 3,
            "shape": self.shape,
            "strides": strides,
            "typestr": self.flat.dtype.str,
            "data": (address, False),
        }

    @property
    def array(self) -> np.ndarray:
        """The pixels, (N, C, H, W); the array keeps the buffer alive."""
        return np.asarray(self)

    @staticmethod
    def behind(x: Array) -> Images | None:
        """The `Images` whose pixels x shows, all of them and unchanged; None if there are none."""
        found: Any = x.base
        if isinstance(found, np.ndarray):
            found = found.base
        if not isinstance(found, Images) or found.shape != x.shape or found.flat.dtype != x.dtype:
            return None
        mine = found.__array_interface__
        return found if mine["data"][0] == x.__array_interface__["data"][0] and mine["strides"] == x.strides else None

    @staticmethod
    def of(x: Array) -> Images:
        """The `Images` behind x, or a copy of x in new ones."""
        return Images.behind(x) or Images.copy(x)

    @staticmethod
    def copy(x: Array) -> Images:
        """A copy of x, (N, C, H, W) with any strides, in new `Images`."""
        images = Images(x.shape, x.dtype)
        _fill(x, images.flat, images.channels, images.row, images.image, images.origin)
        return images

    def like(self) -> Images:
        """New images of the same shape and dtype; their pixels are not set."""
        return Images(self.shape, self.flat.dtype)

    def clear(self) -> None:
        """Set all pixels to zero."""
        _clear(self.flat)

    def __del__(self) -> None:
        if hasattr(self, "flat"):
            self._pool.give(self._key, self.flat)


@kernel(parallel=False)
def is_many(flat):
    """Whether images are so many that they are better written past the caches (`vstream`)."""
    return flat.size > MANY


@kernel(parallel=False)
def put(flat, i, v):
    """flat[i : i + lanes] = v, a whole vector of images that nobody reads soon."""
    if is_many(flat):
        vstream(flat, i, v)
    else:
        vstore(flat, i, v)


@kernel
def _clear(flat):
    # parallel over parts; all numbers, since the halo is zero anyway
    for part in prange((flat.size + PART - 1) // PART):
        for i in range(part * PART, min(flat.size, part * PART + PART), lanes(flat)):
            put(flat, i, vzero(flat))


@kernel
def _fill(x, flat, channels, row, image, origin):
    # flat[pixel (n, h, w), c] = x[n, c, h, w]; parallel over the rows of all images; inside: w, c
    N, C, H, W = x.shape
    for nh in prange(N * H):
        n, h = nh // H, nh % H
        at = n * image + h * row + origin
        for w in range(W):
            for c in range(C):
                flat[at + w * channels + c] = x[n, c, h, w]
            for c in range(C, channels):  # NaN, where the buffer last held the result of a product with NaN (0 * NaN)
                flat[at + w * channels + c] = 0
