"""Kernels whose threads run over channels: arrays as rows of channels, and how the work is cut into blocks.

An array (N, C, ...) is seen as a matrix of M rows, one a place of an image, and C columns, the channels, which lie
together in memory. Neighbouring threads of a block take neighbouring channels, a few at once (`pack.cuh`); the block's
second axis takes rows.

How the rows are cut depends on shapes alone, never on the GPU: sums come in the same order everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array

THREADS = 256  # of a block
WIDTH = 32  # threads along the channels, at most
BLOCKS = 1056  # at most: eight for each of the 132 processors of an H100 or H200
LEAST_ROWS = 8  # a thread, where there are enough
WIDE = 16  # bytes that a thread reads at once


class Split(NamedTuple):
    """Blocks and threads for M rows: block (i, j) takes the i-th part of the channels, rows j * per_block and on."""

    grid: tuple[int, int]
    block: tuple[int, int]
    per_block: int


def rows(x: Array) -> Array:
    """An array (N, C, ...) as a contiguous matrix (M, C): a view where the channels lie last in memory, else a copy."""
    last = x.transpose(0, *range(2, x.ndim), 1)
    return cuda_kernels.contiguous(last).reshape(x.size // x.shape[1], x.shape[1])


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array (N, C, ...) with its channels last in memory; its values are not set."""
    n, c, *places = shape
    axes = range(len(shape))
    return cuda.empty((n, *places, c), dtype).transpose(0, axes[-1], *axes[1:-1])


def lanes(*arrays: Array | None) -> int:
    """How many channels a thread takes at once: 16 bytes of them if the arrays (..., C) allow it, else one."""
    there = [x for x in arrays if x is not None]
    wide = WIDE // there[0].itemsize
    fits = there[0].shape[-1] % wide == 0 and all(_address(x) % WIDE == 0 for x in there)
    return wide if fits else 1


def _address(x: Array) -> int:
    return x.__cuda_array_interface__["data"][0]


def block(packs: int, others: int = THREADS) -> tuple[int, int]:
    """Threads of a block along the channels, taken in packs, and along another axis: powers of two."""
    across = min(WIDTH, _power_of_two(packs))
    return across, min(THREADS // across, _power_of_two(others))


def split(many: int, channels: int, lanes: int) -> Split:
    """Cut `many` rows among blocks."""
    packs = channels // lanes
    threads = block(packs)
    across = -(-packs // threads[0])
    down = min(-(-many // (threads[1] * LEAST_ROWS)), max(1, BLOCKS // across))
    per_block = max(1, -(-many // max(1, down)))
    per_block = -(-per_block // threads[1]) * threads[1]
    return Split((across, -(-many // per_block)), threads, per_block)


def of_pixels(shape: tuple[int, ...], lanes: int) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Grid and block for images (N, H, W, C): rows of all images, then pixels of a row, then channels."""
    n, height, width, channels = shape
    threads = block(channels // lanes, width)
    return (n * height, -(-width // threads[1]), -(-channels // (lanes * threads[0]))), threads


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not below it."""
    return 1 << max(0, number - 1).bit_length()
