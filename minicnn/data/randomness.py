"""Where random transforms get their numbers from: every sample has a generator of its own.

A transform is a plain callable, `transform(image) -> image`. A random one asks `sample_generator()` for a
`numpy.random.Generator`. While a `DataLoader` reads sample `i` of epoch `e`, that is a generator seeded by
(seed, e, i): the result then depends neither on the order of the samples, nor on the batch size, nor on the number of
workers. A transform of whole batches, such as `MixUp`, gets the generator of (seed, e, number of the batch). Outside of
a loader it is the global generator of `minicnn.backends.random`.

A random transform of one's own needs one line::

    def salt(image):                                     # image: (C, H, W) float32, after ToTensor
        noise = sample_generator().random(image.shape, dtype=np.float32)
        return np.where(noise < 0.01, np.float32(1), image)

To draw from a known generator by hand::

    with drawing_from(np.random.default_rng(7)):
        flipped = flip(image)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import numpy as np

from minicnn.backends import random

# Streams of one seed. The first number of a key keeps them apart.
_ORDER, _SAMPLE, _BATCH = 0, 1, 2

_generator: ContextVar[Callable[[], np.random.Generator] | None] = ContextVar("sample_generator", default=None)


def sample_generator() -> np.random.Generator:
    """The generator of the sample that is being read; outside of a loader the global generator."""
    make = _generator.get()
    return random.generator() if make is None else make()


@contextmanager
def drawing_from(generator: np.random.Generator) -> Iterator[None]:
    """Random transforms in this block draw from `generator`."""
    token = _generator.set(lambda: generator)
    try:
        yield
    finally:
        _generator.reset(token)


def drawing_for_sample(seed: int, epoch: int, index: int) -> AbstractContextManager[None]:
    """Random transforms in this block draw from the generator of sample `index` in `epoch`."""
    return _drawing_for(seed, _SAMPLE, epoch, index)


def drawing_for_batch(seed: int, epoch: int, batch: int) -> AbstractContextManager[None]:
    """Random transforms in this block draw from the generator of batch number `batch` in `epoch`."""
    return _drawing_for(seed, _BATCH, epoch, batch)


@contextmanager
def _drawing_for(seed: int, *key: int) -> Iterator[None]:
    made: list[np.random.Generator] = []

    def make() -> np.random.Generator:
        if not made:  # only where something is drawn: making a generator costs 15 microseconds
            made.append(_seeded(seed, *key))
        return made[0]

    token = _generator.set(make)
    try:
        yield
    finally:
        _generator.reset(token)


def order_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator that shuffles `epoch`."""
    return _seeded(seed, _ORDER, epoch)


def _seeded(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
