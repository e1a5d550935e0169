"""PyTorch runs on one thread and by deterministic algorithms: a case that fails, fails again."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
