"""What the CPU can do in one instruction: the width of its vectors, and the register tile that suits them."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding
from numba.core import config

AVX512_NAMES = ("skylake-avx512", "cascadelake", "icelake", "rocketlake", "tigerlake", "sapphirerapids", "znver4")
AVX2_NAMES = ("haswell", "broadwell", "skylake", "alderlake", "znver1", "znver2", "znver3")


def cpu_features() -> set[str]:
    """What Numba compiles for: this CPU, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say."""
    settings: Any = config  # made at run time, unseen by type checkers
    given, name = settings.CPU_FEATURES, settings.CPU_NAME
    if given:
        return {word[1:] for word in given.split(",") if word.startswith("+")}
    if not name or name == "host":
        return {word for word, there in binding.get_host_cpu_features().items() if there}
    if name.startswith(AVX512_NAMES):
        return {"avx512f", "avx2"}
    return {"avx2"} if name.startswith(AVX2_NAMES) else set()


def instruction_set(features: set[str]) -> str:
    """Name of the vector instructions that the kernels use: "AVX-512", "AVX2", "NEON" or "SSE"."""
    if "avx512f" in features:
        return "AVX-512"
    if "avx2" in features:
        return "AVX2"
    return "NEON" if "neon" in features else "SSE"


INSTRUCTIONS = instruction_set(cpu_features())
VECTOR_BYTES = {"AVX-512": 64, "AVX2": 32, "NEON": 16, "SSE": 16}[INSTRUCTIONS]
# Rows and vectors of the tile for a matrix product: the accumulators, NV vectors of b and one number of a must fit into
# the registers (32 of them, or 16 with AVX2 and SSE), and there must be 8 or more accumulators, because a multiply-add
# takes 4 cycles and two of them begin in each.
TILE = {"AVX-512": (8, 2), "AVX2": (6, 2), "NEON": (8, 2), "SSE": (6, 2)}[INSTRUCTIONS]


def lanes_of(dtype: Any) -> int:
    """Numbers of that dtype in one register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize
