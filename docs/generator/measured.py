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
TABS = 2  # of more ladders on a page one is seen at a time

Row = dict[str, Any]


def measured(name: str, found: list[Operation]) -> str:
    """Markdown of all that was measured of an operation, and how to measure it."""
    names = [operation.name for operation in found]
    parts = [part for part in (_ladders(names or [name]), _libraries(name), _registers(name)) if part]
    if names:
        command = "\n".join(f"$ minicnn bench {n} --versus torch" for n in names)
        parts.insert(1, f"On your machine (`--pass` names a gradient):\n\n```console\n{command}\n```")
    return "\n\n".join(parts)


def _json(name: str) -> Any:
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _ladders(names: list[str]) -> str:
    """The ladder of each operation of a page; in tabs where there are many."""
    result = _json("operations.json") or {}
    ladders = {name: ladder(result[name]) for name in names if name in result}
    if not ladders:
        return "No measurement of this operation by itself is kept; it counts in those of whole networks."
    if len(ladders) == 1:
        return next(iter(ladders.values()))
    if len(ladders) <= TABS:
        return "\n\n".join(f"### {name}\n\n{text}" for name, text in ladders.items())
    tabs = [
        [f'=== "{name}"', "", *("    " + t if t else "" for t in text.splitlines()), ""]
        for name, text in ladders.items()
    ]
    return "\n".join(line for tab in tabs for line in tab)


def ladder(result: dict[str, Any]) -> str:
    """Time of each algorithm in each pass, as a table, and of the first pass as a picture."""
    rows: list[Row] = result["passes"]
    first = rows[0]["pass"]
    times: dict[str, dict[str, float]] = {}
    for row in rows:
        for algorithm, ms in {**row["ms"], "PyTorch": row["torch_ms"]}.items():
            times.setdefault(algorithm, {})[row["pass"]] = ms
    peer = times.pop("PyTorch")
    slowest = max((by_pass[first] for by_pass in times.values() if first in by_pass), default=math.nan)
    lines = [
        f"| algorithm | {' | '.join(row['pass'] for row in rows)} | gain | vs PyTorch |",
        "|---|" + "---:|" * (len(rows) + 2),
    ]
    for algorithm, by_pass in [*((f"`{key}`", t) for key, t in times.items()), ("PyTorch", peer)]:
        cells = [_time(by_pass[row["pass"]]) if row["pass"] in by_pass else "" for row in rows]
        own = by_pass.get(first)
        ratios = [_times(slowest / own), _times(peer[first] / own)] if own else ["", ""]
        lines.append(f"| {' | '.join([algorithm, *cells, *ratios])} |")
    chosen = {**{key: t[first] for key, t in times.items() if first in t}, "PyTorch": peer[first]}
    picture = bars(chosen, f"Time of {first}, {rows[0]['work']}; logarithmic scale.")
    return "\n".join([*lines, "", " ".join(_notes(rows, result)), "", picture])


def _notes(rows: list[Row], result: dict[str, Any]) -> list[str]:
    """On what, where and when; what the columns mean; what is missing, and what times of views mean."""
    first, work = rows[0]["pass"], rows[0]["work"]
    notes = [
        f"{work}, {rows[0]['dtype']}; {result['cpu']}, {result['threads']} threads; "
        f"PyTorch {result['versions']['torch']}; {result['date']}.",
        f"Gain: times as fast as the slowest, vs PyTorch: as PyTorch, both in `{first}`.",
    ]
    if any(row["layouts"] for row in rows):
        notes.append("Each, also PyTorch, in that layout of images (channels first or last) in which it is faster.")
    views = [f"`{row['pass']}`" for row in rows if row["view"]]
    if views:
        notes.append(f"In {' and '.join(views)} no number moves: the result shares memory, and the time is the call's.")
    notes += [f"`{key}`, {row['pass']}: {why}." for row in rows for key, why in row["left_out"].items()]
    return notes


def _time(ms: float) -> str:
    if ms < 0.1:
        return f"{ms * 1e3:.3g} µs"
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def bars(values: dict[str, float], title: str) -> str:
    """Bars on a logarithmic scale, in the order given, the shortest hatched."""
    d = Drawing(360, 16 + 24 * len(values), title)
    least, most = min(values.values()) / 2, max(values.values())
    for i, (name, value) in enumerate(values.items()):
        width = 190 * math.log(value / least) / math.log(most / least)
        y = 8 + i * 24
        d.text(84, y + 9, name, "number", "end")
        d.rect(92, y, width, 18, "hit" if value == 2 * least else "mark")
        d.text(98 + width, y + 9, _time(value), "note", "start")
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
