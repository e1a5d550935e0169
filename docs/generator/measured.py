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
        return "Its ladder has not been measured yet."
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
    """Time of each pass by each algorithm, as a table, and of the first pass as a picture."""
    rows: list[Row] = result["passes"]
    algorithms = list(dict.fromkeys(name for row in rows for name in row["ms"]))  # the slowest in the first pass first
    lines = [
        f"| milliseconds | {' | '.join(f'`{name}`' for name in algorithms)} | PyTorch | gain | vs PyTorch |",
        "|---|" + "---:|" * (len(algorithms) + 3),
    ]
    for row in rows:
        slowest, fastest = max(row["ms"].values()), min(row["ms"].values())
        times = [_bold(row["ms"][name], fastest) if name in row["ms"] else "" for name in algorithms]
        ratios = [_times(slowest / fastest), _times(row["torch_ms"] / fastest)]
        lines.append(f"| {' | '.join([row['pass'], *times, _ms(row['torch_ms']), *ratios])} |")
    picture = bars(
        {**rows[0]["ms"], "PyTorch": rows[0]["torch_ms"]}, f"Time of {rows[0]['pass']}, {rows[0]['work']}; logarithmic."
    )
    return "\n".join([*lines, "", " ".join(_notes(rows, result)), "", picture])


def _notes(rows: list[Row], result: dict[str, Any]) -> list[str]:
    """On what, where and when; what the columns mean; what is missing, and what times of views mean."""
    notes = [
        f"{rows[0]['work']}, {rows[0]['dtype']}; {result['cpu']}, {result['threads']} threads; "
        f"PyTorch {result['versions']['torch']}; {result['date']}.",
        "Gain: how many times as fast the fastest is as the slowest; vs PyTorch: as PyTorch.",
    ]
    if any(row["layouts"] for row in rows):
        notes.append("Each, also PyTorch, in that layout of images (channels first or last) in which it is faster.")
    views = [f"`{row['pass']}`" for row in rows if row["view"]]
    if views:
        notes.append(f"In {' and '.join(views)} no number moves: the result shares memory, and the time is the call's.")
    notes += [f"`{key}`, {row['pass']}: {why}." for row in rows for key, why in row["left_out"].items()]
    return notes


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bold(value: float, fastest: float) -> str:
    return f"**{_ms(value)}**" if value == fastest else _ms(value)


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
        d.text(98 + width, y + 9, f"{_ms(value)} ms", "note", "start")
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
