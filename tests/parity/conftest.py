"""PyTorch runs on one thread and by deterministic algorithms: a case that fails, fails again."""

from __future__ import annotations

import importlib.util
import secrets

import numpy as np
import pytest

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.fixture
def rng():
    """A new seed at each run; pytest shows it when a test fails."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return np.random.default_rng(seed)
