"""Memory of training steps of ResNet-18: `python benchmarks/memory.py minicnn|torch [batch] [steps]` prints bytes.

Above what the process has after the imports, a small warm-up (which loads kernels) and the building of the network.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

import numpy as np


def main(library: str, batch: int = 16, steps: int = 3) -> None:
    """Train, and print the growth of the largest resident size."""
    make = {"minicnn": _minicnn, "torch": _torch}[library]
    make(8, 2, 64)()
    step = make(64, batch, 224)
    before = _resident()
    for _ in range(steps):
        loss = step()
    if not np.isfinite(loss):
        raise SystemExit("the loss is not a number")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


def _data(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 3, size, size), dtype=np.float32), rng.integers(0, 1000, batch)


def _minicnn(width: int, batch: int, size: int) -> Any:
    from rows import step_of

    from minicnn.models import resnet18

    return step_of(resnet18(width=width), *_data(batch, size))


def _torch(width: int, batch: int, size: int) -> Any:
    import peers

    return peers._step(peers.ResNet18(width=width), *_data(batch, size), peers.torch.contiguous_format, False)


def _resident() -> int:
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
    except OSError:  # no Linux: the largest size so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
