"""The one random generator that initialisation, dropout and shuffling draw from: same seed, same bits."""

from __future__ import annotations

import numpy as np

_generator = np.random.Generator(np.random.PCG64(0))


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the global generator from `seed` and return it."""
    global _generator
    _generator = np.random.Generator(np.random.PCG64(seed))
    return _generator


def generator() -> np.random.Generator:
    """The global generator in its present state."""
    return _generator
