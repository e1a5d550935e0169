"""Who wants to know that kernels are being compiled: `jit.CompileClock`s that run now, told by `cuda_kernels` too."""

from __future__ import annotations

from typing import Any

RUNNING: list[Any] = []
