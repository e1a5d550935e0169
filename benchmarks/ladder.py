"""The ladder of conv2d: time and error of each algorithm, written into `minicnn/ops/conv2d/README.md`.

    python benchmarks/ladder.py

One layer of ResNet-18 (56 x 56 pixels, 64 channels to 64, 3 x 3), batch 8, all cores, float32. Algorithms take turns in
one process, after a short pause each; medians. Errors are against the same convolution in float64, relative to the
largest value, over four layers of ResNet-18. The same figures go to `benchmarks/results/ladder.json`.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends.images import Images
from minicnn.files import write_atomically
from minicnn.ops.registry import operation
from minicnn.study.machine import describe

CPU = describe()["cpu"]["model"]
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "minicnn" / "ops" / "conv2d" / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "ladder.json"
MARKERS = ("<!-- ladder: made by benchmarks/ladder.py -->", "<!-- end -->")
ERRORS = ("<!-- errors: made by benchmarks/ladder.py -->", "<!-- end -->")

PASSES = ("forward", "grad_input", "grad_weight")
LADDER = ("loops", "im2col", "direct", "winograd2", "winograd4")
LAYERS = ((64, 56), (128, 28), (256, 14), (512, 7))
OPTIONS: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
BATCH, ROUNDS, REPEATS, PAUSE = 8, 3, 3, 0.1


def calls(channels: int, size: int, dtype: Any, batch: int) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Arguments of each pass for one layer; the same numbers for both dtypes."""
    rng = np.random.default_rng(0)
    shape, w_shape = (batch, channels, size, size), (channels, channels, 3, 3)
    x, dy = (Images.of(rng.standard_normal(shape).astype(np.float32).astype(dtype)).array for _ in range(2))
    w = (rng.standard_normal(w_shape) / np.sqrt(9 * channels)).astype(np.float32).astype(dtype)
    return {
        "forward": ((x, w, None), OPTIONS),
        "grad_input": ((dy, w), {"x_shape": shape, **OPTIONS}),
        "grad_weight": ((dy, x), {"w_shape": w_shape, **OPTIONS}),
    }


def times() -> dict[str, dict[str, float]]:
    """Seconds of each algorithm and pass on the ladder's layer."""
    problem = calls(64, 56, np.float32, BATCH)
    readings: dict[tuple[str, str], list[float]] = {}
    for name in LADDER:
        for pass_name in PASSES:
            run(name, pass_name, problem)  # compiles
    for _ in range(ROUNDS):
        for name in LADDER:
            for pass_name in PASSES:
                time.sleep(PAUSE)
                run(name, pass_name, problem)
                block = []
                for _ in range(1 if name == "loops" else REPEATS):
                    start = time.perf_counter()
                    run(name, pass_name, problem)
                    block.append(time.perf_counter() - start)
                readings.setdefault((name, pass_name), []).append(statistics.median(block))
    return {n: {p: statistics.median(readings[n, p]) for p in PASSES} for n in LADDER}


def run(name: str, pass_name: str, problem: dict[str, Any]) -> np.ndarray:
    """One pass by one algorithm."""
    arrays, options = problem[pass_name]
    return operation("conv2d").algorithm(name).passes[pass_name](*arrays, **options)


def errors() -> dict[str, dict[str, list[float]]]:
    """For each fast algorithm and pass the error on each layer, batch 2."""
    found: dict[str, dict[str, list[float]]] = {n: {p: [] for p in PASSES} for n in LADDER[1:]}
    for channels, size in LAYERS:
        exact, single = calls(channels, size, np.float64, 2), calls(channels, size, np.float32, 2)
        for pass_name in PASSES:
            right = run("im2col", pass_name, exact)
            for name, by_pass in found.items():
                error = np.abs(run(name, pass_name, single) - right).max() / np.abs(right).max()
                if not np.isfinite(error):
                    raise SystemExit(f"{name} {pass_name}: not a finite number")
                by_pass[pass_name].append(float(error))
    return found


def time_table(seconds: dict[str, dict[str, float]], cpu: str = CPU) -> str:
    """The rungs in Markdown."""
    operations = 2 * BATCH * 64 * 64 * 9 * 56 * 56
    lines = [
        "| rung | forward | grad_input | grad_weight | forward, GFLOP/s | gain on the rung before | on loops |",
        "|---|---|---|---|---|---|---|",
    ]
    before = None
    for name in LADDER:
        t = seconds[name]
        gain = "" if before is None else f"{before / t['forward']:.1f}x"
        total = f"{seconds['loops']['forward'] / t['forward']:.0f}x"
        each = " | ".join(f"{t[p] * 1e3 / BATCH:.3g} ms" for p in PASSES)
        lines.append(f"| `{name}` | {each} | {operations / t['forward'] / 1e9:.3g} | {gain} | {total} |")
        before = t["forward"]
    note = f"Milliseconds an image, {BATCH} images, 56x56x64 to 64, 3x3, float32, {cpu}."
    return "\n".join([*lines, "", f"{note} GFLOP/s count the formula's operations, also where fewer are done."])


def error_table(found: dict[str, dict[str, list[float]]]) -> str:
    """Errors in Markdown."""
    head = " | ".join(f"{size}x{size}x{channels}" for channels, size in LAYERS)
    lines = [f"| algorithm | pass | {head} |", "|---|---|" + "---|" * len(LAYERS)]
    for name, by_pass in found.items():
        for pass_name, values in by_pass.items():
            lines.append(f"| `{name}` | {pass_name} | " + " | ".join(f"{v:.1e}" for v in values) + " |")
    return "\n".join(lines)


def put(text: str, markers: tuple[str, str], table: str) -> str:
    """The text with what stands between the markers replaced."""
    head, _, rest = text.partition(markers[0])
    _, _, tail = rest.partition(markers[1])
    return f"{head}{markers[0]}\n{table}\n{markers[1]}{tail}"


def main() -> None:
    """Measure, and write page and results."""
    found, seconds = errors(), times()
    result = {
        "cpu": CPU,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": seconds,
        "errors": found,
    }
    write_atomically(RESULTS, json.dumps(result, indent=1) + "\n")
    text = put(PAGE.read_text(), MARKERS, time_table(seconds))
    text = put(text, ERRORS, error_table(found))
    write_atomically(PAGE, text)
    print(time_table(seconds), error_table(found), sep="\n\n")


if __name__ == "__main__":
    main()
