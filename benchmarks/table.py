"""The project's main table: how fast is minicnn next to PyTorch, ONNX Runtime and OpenVINO on this machine?

    python benchmarks/table.py                         # everything, some twenty minutes; writes benchmarks/results/
                                                       # speed.json and speed.png, and the README's table
    python benchmarks/table.py --only forward,train    # these groups; the others keep what was measured before
    python benchmarks/table.py --rounds 1 --dry-run    # a quick look; writes nothing

All in one process, taking turns (`minicnn/study/timing.py`); results are checked before they are timed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "speed.json"
PICTURE = RESULT.with_suffix(".png")
START, END = "<!-- speed: made by benchmarks/table.py -->", "<!-- end -->"
PACKAGES = ("minicnn", "numpy", "numba", "torch", "onnx", "onnxruntime", "openvino", "threadpoolctl")
ORDER = ("forward", "train", "features", "vgg", "conv3x3", "conv", "matmul", "ladder", "memory")
TOGETHER = {
    "conv3x3": "3x3 convolutions of ResNet-18, stride 1, batch 8",
    "conv": "other convolutions of ResNet-18, batch 8",
}

Row = dict[str, Any]


def measure(groups: Sequence[str], rounds: int) -> list[Row]:
    """The rows of these groups, printed as they come."""
    from rows import GROUPS  # PyTorch and minicnn load here

    said, found = about(), []
    for group in groups:
        try:
            for row in GROUPS[group](rounds):
                found.append({**row, "date": said["date"], "commit": said["commit"], "rounds": rounds})
                print(line(found[-1]), flush=True)
        except ModuleNotFoundError as error:
            print(f"{group}: left out: {error.name} is not installed (pip install minicnn[bench])", flush=True)
    return found


def about() -> dict[str, Any]:
    """Machine, versions, date and commit."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"cpu": cpu(), "versions": versions, "date": date.today().isoformat(), "commit": commit()}


def cpu() -> str:
    """The CPU's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def commit() -> str:
    """The commit that was measured, with a + if files have changed since."""
    try:
        words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def values(row: Row) -> tuple[str, str, str]:
    """Ours, the peer's, and the ratio, as texts."""
    if "ours_mib" in row:
        return f"{row['ours_mib']:,.0f} MiB", f"{row['peer_mib']:,.0f} MiB", f"{row['ratio']:.2f}"
    peer = "" if row["peer_ms"] is None else _ms(row["peer_ms"])
    return _ms(row["ours_ms"]), peer, "" if row["ratio"] is None else f"{row['ratio']:.2f}"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def reached(row: Row) -> str:
    """Whether the row is at its goal, at least good enough, or below."""
    ratio, least, goal = row["ratio"], row["least"], row["goal"]
    if ratio is None:
        return ""
    if "ours_mib" in row:
        ratio, least, goal = 1 / ratio, 1 / least, 1 / goal
    return "goal" if ratio >= goal else "enough" if ratio >= least else "below"


def line(row: Row) -> str:
    """A row for the terminal."""
    ours, peer, ratio = values(row)
    limits = f"(least {row['least']:g}, goal {row['goal']:g}: {reached(row)})"
    notes = "".join(f"; {note}" for note in row["notes"])
    return f"{row['row']:58} {ours:>10} {peer:>10} {ratio:>7}  {row['peer'] or '':30} {limits}{notes}"


def summary(rows: list[Row]) -> list[Row]:
    """The rows of the short table: of the convolutions, the one that is farthest from what it should be."""
    short = []
    for group in ORDER:
        some = [row for row in rows if row["group"] == group]
        if group in TOGETHER and some:
            worst = min(some, key=lambda row: row["ratio"] / row["least"])
            short.append({**worst, "row": f"{TOGETHER[group]}: slowest of {len(some)}, {worst['row']}"})
        else:
            short += some
    return short


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = [
        f"{result['cpu']}; {result['date']}; PyTorch {result['versions']['torch']}, ONNX Runtime "
        f"{result['versions']['onnxruntime']}, OpenVINO {result['versions']['openvino'].split('-')[0]}, float32",
        "",
        "| | minicnn | fastest peer | | times faster |",
        "|---|---:|---:|---|---:|",
    ]
    for row in summary(result["rows"]):
        ours, peer, ratio = values(row)
        ratio = f"{ratio} of its memory" if "ours_mib" in row else ratio
        lines.append(f"| {row['row']} | {ours} | {peer} | {row['peer'] or ''} | {ratio} |")
    return "\n".join(lines)


def picture(result: dict[str, Any]) -> bytes:
    """Bars of the ratios, with a mark at what is enough and one at the goal."""
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if row["ratio"] is not None and row["group"] not in ("ladder", "memory")]
    figure = Figure(figsize=(10, 1.4 + 0.27 * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots()
    for at, row in enumerate(rows):
        axes.barh(at, row["ratio"], color="#00588f" if row["ratio"] >= row["least"] else "#b35900", height=0.7)
        axes.text(row["ratio"] + 0.03, at, f"{row['ratio']:.2f}", va="center", fontsize=8)
        axes.plot([row["least"]] * 2, [at - 0.42, at + 0.42], color="0.1", linewidth=1.2)
        axes.plot([row["goal"]] * 2, [at - 0.42, at + 0.42], color="0.1", linewidth=1.2, linestyle=":")
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, max([row["ratio"] for row in rows], default=1) * 1.1)
    axes.set_xlabel("times faster than the fastest peer (line: enough, dotted: goal)")
    axes.set_title(f"{result['cpu']}, {result['date']}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def into(page: Path, text: str) -> bool:
    """Put `text` between the markers of a page; False if it has none."""
    from minicnn.files import write_atomically

    content = page.read_text()
    if START not in content:
        return False
    before, rest = content.split(START)
    write_atomically(page, f"{before}{START}\n{text}\n{END}{rest.split(END, 1)[1]}")
    return True


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ORDER), help=f"groups with commas between: {', '.join(ORDER)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    args = parser.parse_args()
    groups = args.only.split(",")
    if unknown := set(groups) - set(ORDER):
        parser.error(f"no group is named {', '.join(sorted(unknown))}; there are {', '.join(ORDER)}")
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    rows = measure(groups, args.rounds)
    if args.dry_run:
        print("\n" + table({**about(), "rows": rows}))
        return
    kept = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    rows += [row for row in kept if row["group"] not in {row["group"] for row in rows}]
    rows.sort(key=lambda row: ORDER.index(row["group"]))
    result = {**about(), "rows": rows}
    print("\n" + table(result))

    from minicnn.files import write_atomically

    RESULT.parent.mkdir(exist_ok=True)
    write_atomically(RESULT, json.dumps(result, indent=1) + "\n")
    write_atomically(PICTURE, picture(result))
    for page in (ROOT / "README.md", ROOT / "README.zh.md"):
        if not into(page, table(result)):
            print(f"{page.name} has no line {START}: its table was not written")


if __name__ == "__main__":
    main()
