"""What `benchmarks/results/` says about an operation: the ladder, other libraries, what its CUDA kernels need."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from generator.pages import ROOT
from generator.pictures.drawing import Drawing
from minicnn.ops.registry import Operation

RESULTS = ROOT / "benchmarks" / "results"
LIBRARIES = {"conv2d": ("conv3x3", "conv"), "matmul": ("matmul",)}  # groups of rows of speed.json
MEASURABLE = {"conv2d", "linear", "max_pool2d", "batch_norm", "relu", "add"}  # by `minicnn bench`
BATCH = 8  # images of the ladder


def measured(name: str, found: list[Operation]) -> str:
    """Markdown of all that was measured of an operation, or how to measure it."""
    parts = [part for part in (_ladder(name), _libraries(name), _registers(name)) if part]
    can = [operation.name for operation in found if operation.name in MEASURABLE]
    if can:
        parts.insert(
            0 if not parts else 1,
            "On your machine:\n\n```console\n" + "\n".join(f"$ minicnn bench {n}" for n in can) + "\n```",
        )
    if not parts:
        parts = ["No measurement of this operation by itself is kept; it counts in those of whole networks."]
    return "\n\n".join(parts)


def _json(name: str) -> Any:
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _ladder(name: str) -> str:
    """Time of each algorithm of the convolution, as table and picture."""
    result = _json("ladder.json") if name == "conv2d" else None
    if result is None:
        return ""
    seconds = {rung: {p: t * 1e3 / BATCH for p, t in by_pass.items()} for rung, by_pass in result["seconds"].items()}
    slowest = next(iter(seconds.values()))["forward"]
    lines = ["| algorithm | forward | grad_input | grad_weight | times as fast as loops |", "|---|---:|---:|---:|---:|"]
    for rung, t in seconds.items():
        lines.append(
            f"| `{rung}` | "
            + " | ".join(f"{t[p]:.3g} ms" for p in ("forward", "grad_input", "grad_weight"))
            + f" | {slowest / t['forward']:.0f} |"
        )
    note = (
        f"Milliseconds an image: {BATCH} images of 56 x 56 with 64 channels to 64, 3 x 3, float32; {result['cpu']}, "
        f"{result['date']}."
    )
    picture = bars(
        {rung: t["forward"] for rung, t in seconds.items()},
        f"Forward, milliseconds an image, logarithmic. {result['cpu']}.",
    )
    return "\n".join([*lines, "", note, "", picture])


def bars(values: dict[str, float], title: str) -> str:
    """Bars on a logarithmic scale, slowest first."""
    d = Drawing(360, 16 + 24 * len(values), title)
    least, most = min(values.values()) / 2, max(values.values())
    for i, (name, value) in enumerate(values.items()):
        width = 190 * math.log(value / least) / math.log(most / least)
        y = 8 + i * 24
        d.text(84, y + 9, name, "number", "end")
        d.rect(92, y, width, 18, "hit" if i == len(values) - 1 else "mark")
        d.text(98 + width, y + 9, f"{value:.3g} ms", "note", "start")
    return d.svg()


def _libraries(name: str) -> str:
    """Rows in which the operation is measured beside other libraries."""
    result = _json("speed.json")
    rows = [
        row for group in LIBRARIES.get(name, ()) for row in (result or {"rows": []})["rows"] if row["group"] == group
    ]
    if not rows:
        return ""
    lines = [
        f"Beside other libraries, in one process, taking turns ({result['cpu']}, {result['date']}):",
        "",
        "| problem | minicnn | fastest peer | | times as fast |",
        "|---|---:|---:|---|---:|",
    ]
    lines += [
        f"| {row['row']} | {row['ours_ms']:.3g} ms | {row['peer_ms']:.3g} ms | {row['peer']} | {row['ratio']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _registers(name: str) -> str:
    """What the operation's CUDA kernels need of a multiprocessor, folded away."""
    path = RESULTS / "cuda_resources.txt"
    row = re.compile(
        rf"^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\d+)\s+(\d+)\s+ops/{name}/(\S+) (\S+) ?(.*)$", re.MULTILINE
    )
    rows = row.findall(path.read_text(encoding="utf-8")) if path.is_file() else []
    if not rows:
        return ""
    lines = [
        '??? info "What the CUDA kernels need of a multiprocessor"',
        "",
        "    | kernel | compiled for | registers, sm_80 | sm_90 | threads | shared memory, bytes | spilled |",
        "    |---|---|---:|---:|---:|---:|---:|",
    ]
    for sm80, sm90, threads, shared, _, spilled, file, kernel, macros in rows:
        lines.append(f"    | `{file}` {kernel} | {macros} | {sm80} | {sm90} | {threads} | {shared} | {spilled} |")
    return "\n".join(lines)
