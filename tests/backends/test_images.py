"""Images in memory: round trips, the halo, finding what is behind an array, buffers that are used again."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from compare import assert_close

from minicnn.backends.images import CHANNELS, HALO, TILE, Images
from minicnn.backends.scratch import POOL
from minicnn.ops import conv2d, relu

SHAPES = [(1, 1, 1, 1), (2, 3, 5, 7), (3, 16, 4, 8), (1, 17, 9, 1), (2, 5, 1, 13), (1, 33, 3, 3), (0, 3, 4, 4)]


def draw(shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def outside(images: Images) -> np.ndarray:
    """Everything in memory that is no pixel: the halo and the spare channels."""
    n, c, h, w = images.shape
    memory = images.flat[: n * images.image].reshape(n, images.rows, images.columns, images.channels).copy()
    memory[:, HALO : HALO + h, HALO : HALO + w, :c] = 0
    return memory


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_round_trip(shape, dtype):
    x = draw(shape, dtype)
    images = Images.of(x)
    y = images.array
    assert (y.shape, y.dtype) == (shape, dtype)
    assert np.array_equal(x, y)
    assert not outside(images).any()
    n, c, h, w = shape
    assert images.channels % CHANNELS == 0
    assert c <= images.channels < c + CHANNELS
    assert images.rows % TILE == images.columns % TILE == 2 * HALO
    assert images.rows >= h + 2 * HALO
    assert images.columns >= w + 2 * HALO
    assert images.flat.size == n * images.rows * images.columns * images.channels


@pytest.mark.parametrize("shape", SHAPES)
def test_positions(shape):
    images = Images.of(draw(shape))
    for n, c, h, w in np.ndindex(*shape):
        at = images.origin + n * images.image + h * images.row + w * images.channels + c
        assert images.flat[at] == images.array[n, c, h, w]


@pytest.mark.parametrize("view", ["every second", "negative strides", "turned", "broadcast", "read only"])
def test_copies_arrays_of_any_strides(view):
    x = draw((4, 6, 8, 10))
    seen = {
        "every second": x[::2, ::2, ::2, ::2],
        "negative strides": x[::-1, ::-1, ::-1, ::-1],
        "turned": x.transpose(3, 2, 1, 0),
        "broadcast": np.broadcast_to(x[:1, :1], (3, 5, 8, 10)),
        "read only": x,
    }[view]
    seen.flags.writeable = False
    assert np.array_equal(Images.of(seen).array, seen)


def test_what_is_behind_an_array():
    images = Images.of(draw((2, 3, 5, 7)))
    y = images.array
    assert Images.behind(y) is images
    assert Images.of(y) is images
    assert Images.behind(y[...]) is images
    assert Images.behind(y.view()) is images
    assert Images.behind(y[:]) is images


def test_nothing_is_behind_other_arrays():
    y = Images.of(draw((4, 6, 6, 6))).array
    others = {
        "fewer images": y[:2],
        "other images": y[1:],
        "fewer channels": y[:, :3],
        "turned": y.transpose(0, 1, 3, 2),
        "turned images": y[::-1],
        "backwards": y[..., ::-1],
        "a crop": y[:, :, 1:, 1:],
        "bits": y.view(np.int32),
        "another shape": y[:, :, None],
        "a copy": y.copy(),
        "plain": np.zeros((4, 6, 6, 6), np.float32),
        "part of plain": np.zeros((5, 6, 6, 6), np.float32)[:4],
    }
    assert {name for name, x in others.items() if Images.behind(x) is not None} == set()
    assert all(np.array_equal(Images.of(x).array, x) for name, x in others.items() if x.ndim == 4 and name != "bits")


def test_nothing_is_behind_moved_pixels_of_the_same_strides():
    """A window of the same shape and strides that begins one pixel later."""
    images = Images((1, 2, 2, 2), np.float32)
    y = images.array
    moved = np.lib.stride_tricks.as_strided(y[:, :, :, 1:], y.shape, y.strides)
    assert moved.strides == y.strides
    assert Images.behind(moved) is None


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 17, 6, 9), (2, 16, 8, 8)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_leave_the_halo_and_spare_channels_zero(shape, dtype):
    """Results of every operation that writes images, and their inputs after it."""
    x, w, b = draw(shape, dtype), draw((5, shape[1], 3, 3), dtype), np.ones(5, dtype)
    first = Images.of(x)
    y = conv2d.forward(first.array, w, b, padding=1)
    results = [first.array, y, relu.forward(y), conv2d.grad_input(y, w, shape, padding=1), relu.grad_input(y, y)]
    found = [Images.behind(result) for result in results if isinstance(result, np.ndarray)]
    assert first in found
    assert [images for images in found if images is not None and outside(images).any()] == []


def test_a_buffer_comes_back_when_the_last_array_is_gone():
    gc.collect()  # what earlier tests left in cycles would come back later
    POOL.clear()
    images = Images.of(draw((2, 3, 5, 7)))
    y, address, size = images.array, images.flat.ctypes.data, images.flat.nbytes
    part = y[0, 0]
    del images, y
    gc.collect()
    assert POOL.waiting == 0  # `part` shows some of it
    assert_close(part, draw((2, 3, 5, 7))[0, 0])
    del part
    gc.collect()
    assert POOL.waiting == size
    again = Images((2, 3, 5, 7), np.float32)
    assert again.flat.ctypes.data == address
    assert not outside(again).any()
    assert Images((2, 3, 5, 7), np.float64).flat.dtype == np.float64
    assert Images((2, 3, 7, 5), np.float32).flat.ctypes.data != address


def test_like():
    images = Images.of(draw((2, 3, 5, 7), np.float64))
    other = images.like()
    assert (other.shape, other.flat.dtype) == (images.shape, np.float64)
    assert not np.shares_memory(other.flat, images.flat)


def test_threads_do_not_share_buffers():
    wrong = []

    def work(number: int) -> None:
        for _ in range(200):
            y = Images.of(np.full((1, 3, 4, 4), number, np.float32)).array
            if (y != number).any():
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
