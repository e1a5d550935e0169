"""What each algorithm of conv2d would cost: the model by which the fastest is chosen.

Time is the larger part of two: arithmetic at the rate that the algorithm's inner loop reaches, and numbers moved
through memory that the caches do not hold. The model needs to be right only in its order: `minicnn bench conv2d`
measures, and `minicnn algorithms conv2d --shape ...` shows what the model said. The constants are those of one core
with AVX-512; of another machine both rates change alike, and the order stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.cpu import lanes_of
from minicnn.ops.registry import Problem

PEAK = 12e9 * 16  # floating point operations a second of one core, 16 lanes
BYTES = 25e9  # bytes a second to and from the last cache, of one core
THREADS = 2  # of the model: a choice that followed the number of threads would change the bits of results
CALL = 15e-6  # seconds of a kernel that does next to nothing, for each parallel loop
COMPILE = 2e-4  # seconds a call by which Winograd must be faster to be worth the time in which its kernels compile

PANELS_BYTES = 3 * 2**20
PANELS_TILES, PANELS_TILES_PREPARED = 512, 40  # with more tiles it pays to store them
WEIGHT_OPERATIONS = {
    2: 130.0,
    4: 330.0,
}  # of the transform of one 3x3 kernel, at the rate of products
RATES = {"direct": 0.9, "winograd2": 0.9, "winograd4": 0.9, "im2col": 0.2, "loops": 0.01, "formula": 0.002}


def cost(name: str, problem: Problem, *, prepared: bool = False) -> float:
    """Estimated seconds of an algorithm that supports the problem; `prepared`: its weights are packed already."""
    if problem.pass_name == "grad_bias":  # one kernel, which all share
        return {"im2col": 0.0, "loops": 1.0, "formula": 2.0}.get(name, 0.5)
    if name not in RATES:
        return float("inf")
    n, c, k, out, kernel, _ = sizes(problem)
    seconds = CALL + direct_operations(problem) / (PEAK * THREADS * RATES[name])
    if name in ("im2col", "loops", "formula"):
        return seconds
    if problem.dtype != np.float32:  # float64 is for checking: the plainer algorithms come first
        return {"direct": 1e6, "winograd2": 2e6, "winograd4": 3e6}[name]
    if name == "direct":
        return CALL + _direct(problem, n, c, k, out, kernel)
    return (2 * CALL if prepared else COMPILE) + _winograd(problem, int(name[-1]), n, c, k, out, prepared)


def direct_operations(problem: Problem) -> float:
    """Floating point operations of the formula: two for each product."""
    n, c, k, out, kernel, groups = sizes(problem)
    return 2.0 * n * k * out[0] * out[1] * (c // groups) * kernel[0] * kernel[1]


def sizes(problem: Problem) -> tuple[int, int, int, tuple[int, int], tuple[int, int], int]:
    """N, C, K, (P, Q), (R, S), groups of any pass."""
    options: dict[str, Any] = problem.options
    first, second = problem.shapes[0], problem.shapes[1]
    if first is None or second is None:
        raise ValueError("a convolution has two arrays")
    if problem.pass_name == "forward":
        n, c, height, width = first
        k, _, r, s = second
        out = [
            (size + 2 * options["padding"][a] - options["dilation"][a] * (kernel - 1) - 1) // options["stride"][a] + 1
            for a, (size, kernel) in enumerate(((height, r), (width, s)))
        ]
        return n, c, k, (out[0], out[1]), (r, s), options["groups"]
    n, k, p, q = first
    if problem.pass_name == "grad_input":
        return n, options["x_shape"][1], k, (p, q), (second[2], second[3]), options["groups"]
    return n, second[1], k, (p, q), tuple(options["w_shape"][2:]), options["groups"]


def _direct(problem: Problem, n: int, c: int, k: int, out: tuple[int, int], kernel: tuple[int, int]) -> float:
    rate = PEAK * THREADS * RATES["direct"]
    inner, outer = (k, c) if problem.pass_name == "grad_input" else (c, k)
    inner = inner if inner < 16 else -(-inner // 16) * 16  # few channels are read from a compact copy
    outer = -(-outer // lanes_of(problem.dtype)) * lanes_of(problem.dtype)
    width = out[1] if problem.pass_name != "grad_weight" else 8
    # low register tiles load more for each product; the last tile of a row overlaps the one before
    rounded = 1.0 if width % 7 == 0 else -(-width // 8) * 8 / width
    idle = max(1.1, 4 / width) if width < 8 else rounded
    work = 2.0 * n * outer * inner * out[0] * out[1] * kernel[0] * kernel[1] * idle
    moved = 4.0 * (n * out[0] * out[1] * (k + c) + 3 * k * c * kernel[0] * kernel[1])
    sums = (
        8.0 * n * k * c * kernel[0] * kernel[1] if problem.pass_name == "grad_weight" else 0.0
    )  # fetched for each image
    return work / rate + (0.4 * moved + sums) / (BYTES * THREADS)


def _winograd(problem: Problem, m: int, n: int, c: int, k: int, out: tuple[int, int], prepared: bool) -> float:
    rate = PEAK * THREADS * RATES[f"winograd{m}"]
    points, tiles = (m + 2) ** 2, n * -(-out[0] // m) * -(-out[1] // m)
    c, k = -(-c // 16) * 16, -(-k // 16) * 16
    whole = -(-tiles // 8) * 8 if problem.pass_name != "grad_weight" else tiles
    operations = 2.0 * points * whole * c * k + 40.0 * points * tiles * (c + k)  # products; adds, loads and stores
    weights = 4.0 * points * c * k  # bytes
    moved = 0.0 if weights <= 3 * 2**20 else 12.0 * points * tiles * (c + k)
    if problem.pass_name == "grad_weight":
        moved += weights if weights > 3 * 2**20 else 8 * weights  # dU in blocks that stay in a cache, or in parts
    elif by_panels(int(weights), tiles, prepared):
        operations += WEIGHT_OPERATIONS[m] * c * k
        moved += 36.0 * c * k * (THREADS / 0.7 if prepared else 1)
    elif prepared:  # once through memory: the weights of a whole network stay in no cache
        moved += weights * THREADS / 0.7
    else:  # written, fetched and read
        moved += 6 * weights
    return operations / rate + moved / (BYTES * THREADS) * 0.7


def by_panels(weights: int, tiles: int, prepared: bool) -> bool:
    """Whether Winograd transforms weights (bytes) a panel at a time, when it needs them, and stores them nowhere."""
    return weights > PANELS_BYTES and 0 < tiles <= (PANELS_TILES_PREPARED if prepared else PANELS_TILES)
