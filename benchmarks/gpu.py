"""How fast are minicnn's CUDA kernels next to cuDNN? And first: are they right?

    python benchmarks/gpu.py                  # verify, sanitize, time; writes benchmarks/results/gpu.json, and the
                                              # README's table and picture
    python benchmarks/gpu.py --only verify    # these parts: verify, sanitize, convolutions, networks
    python benchmarks/gpu.py --tables         # the table and the picture again, from the JSON
    python benchmarks/gpu.py --emulate --out tried       # the program itself, on the emulated GPU and tiny shapes

Needs an NVIDIA GPU, CuPy and PyTorch with CUDA. All timing is by the GPU's events, in turns, medians; results are held
against float64 before and after.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
PICTURE = RESULT.with_suffix(".png")
START, END = "<!-- gpu: made by benchmarks/gpu.py -->", "<!-- end of gpu -->"
PARTS = ("verify", "sanitize", "convolutions", "networks")
NOT_YET = (
    "No GPU was at hand yet: how fast these kernels are on one is not measured. `python benchmarks/gpu.py` does it."
)
# share of cuDNN's speed at the same precision, median over the 3x3 layers of ResNet-18, that each rung is to reach
GOALS = {
    "cuda_naive": 0.03,
    "cuda_tiled": 0.12,
    "cuda_registers": 0.45,
    "cuda_vectorised": 0.60,
    "cuda_warps": 0.80,
    "cuda_winograd": 1.0,
    "cuda_tf32": 0.40,
    "cuda_bf16": 0.45,
}

Row = dict[str, Any]


# ---- parts -----------------------------------------------------------------------------------------------------------


def verify(folder: Path) -> Row:
    """All gradients of all operations in float64, then the tests of every kernel, on the device."""
    from minicnn.study.check_operations import check_operation, names

    start = time.perf_counter()
    rows = [row for name in names() for row in check_operation(name, "cuda")]
    wrong = [f"{row.operation} {row.algorithm}: {row.verdict}" for row in rows if not row.ok]
    tests = _tests([sys.executable], folder / "tests.txt", ["tests/cuda", "-k", "device"])
    seconds = time.perf_counter() - start
    return {"group": "verify", "gradients": len(rows), "wrong": wrong, "tests": tests, "seconds": seconds}


def sanitize(folder: Path) -> Row:
    """Small shapes of every kernel under compute-sanitizer: memory, then races in shared memory."""
    found = shutil.which("compute-sanitizer")
    if found is None:
        return {"group": "sanitize", "tests": "compute-sanitizer is not installed"}
    said = {}
    for tool in ("memcheck", "racecheck"):
        words = [found, "--tool", tool, "--error-exitcode", "9", sys.executable]
        said[tool] = _tests(words, folder / f"{tool}.txt", ["tests/cuda/test_every_operation.py", "-k", "device"])
    return {"group": "sanitize", **said}


def _tests(python: list[str], log: Path, words: list[str]) -> str:
    """The last line that pytest prints."""
    command = [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as file:
        status = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    lines = log.read_text().strip().splitlines() or ["no output"]
    summary = next((line for line in reversed(lines) if " passed" in line or " failed" in line), lines[-1])
    return f"{summary.strip('= ')} (exit {status})"


def about() -> Row:
    """GPU, driver, versions, date and commit."""
    import importlib.metadata

    from minicnn.backends import cuda

    versions = {"python": platform.python_version()}
    for name in ("numpy", "torch", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    try:
        import torch

        versions["cudnn"] = str(torch.backends.cudnn.version())
    except ImportError:
        pass
    return {"gpu": cuda.describe(), "versions": versions, "date": date.today().isoformat(), "commit": _commit()}


def _commit() -> str:
    try:
        words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("MINICNN_COMMIT", "")


# ---- tables ----------------------------------------------------------------------------------------------------------


def shares(rows: list[Row]) -> dict[str, dict[str, float]]:
    """For each rung and pass, the share of cuDNN's speed at its precision: median over the 3x3 layers.

    Of the two layouts the faster one counts. cuDNN's float32 is that with TF32 off.
    """
    fastest: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row["who"].startswith("cuDNN"):
            key = row["layer"], row["pass"], row["precision"]
            fastest[key] = min(fastest.get(key, float("inf")), row["ms"])
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["who"].startswith("cuDNN") or "downsample" in row["layer"] or row["layer"] == "resnet18.conv1":
            continue
        peer = fastest[row["layer"], row["pass"], row["precision"]]
        found.setdefault(row["who"], {}).setdefault(row["pass"], []).append(peer / row["ms"])
    return {who: {p: statistics.median(values) for p, values in passes.items()} for who, passes in found.items()}


def table(result: Row | None) -> str:
    """The README's text about the GPU."""
    rows = [] if result is None else [row for row in result["rows"] if row["group"] == "convolutions"]
    if result is None or not rows:
        return NOT_YET
    gpu = result["gpu"]
    lines = [
        f"{gpu['name']}, driver {gpu.get('driver', 'none')}; {result['date']}, commit {result['commit']}; cuDNN "
        f"{result['versions'].get('cudnn', '?')} through PyTorch {result['versions'].get('torch', '?')}; share of "
        "cuDNN's speed at the same precision, median over the 3x3 convolutions of ResNet-18, batch "
        f"{max(row['images'] for row in rows)}",
        "",
        "| rung | forward | grad_input | grad_weight | goal, forward |",
        "|---|---:|---:|---:|---:|",
    ]
    measured = shares(rows)
    for rung in sorted(measured, key=lambda name: list(GOALS).index(name) if name in GOALS else len(GOALS)):
        cells = [
            f"{measured[rung][p]:.0%}" if p in measured[rung] else "" for p in ("forward", "grad_input", "grad_weight")
        ]
        lines.append(f"| {rung} | {' | '.join(cells)} | {f'{GOALS[rung]:.0%}' if rung in GOALS else ''} |")
    networks = [row for row in result["rows"] if row["group"] == "networks"]
    if networks:
        lines += ["", "| ResNet-18, float32 | who | ms | images a second |", "|---|---|---:|---:|"]
        for row in networks:
            what = "forward" if row["what"] == "forward" else "training step"
            lines.append(
                f"| {what}, batch {row['batch']} | {row['who']} | {row['ms']:.2f} | {row['images_per_second']:,.0f} |"
            )
    return "\n".join(lines)


def picture(result: Row) -> bytes:
    """The ladder: TFLOP/s of each rung and of cuDNN on each 3x3 layer, forward."""
    from matplotlib.figure import Figure

    rows = [r for r in result["rows"] if r["group"] == "convolutions" and r["pass"] == "forward"]
    layers = list(dict.fromkeys(r["layer"] for r in rows if "downsample" not in r["layer"]))
    names = list(dict.fromkeys(r["who"] for r in rows))
    figure = Figure(figsize=(10, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for i, who in enumerate(names):
        own = {r["layer"]: r["tflops"] for r in rows if r["who"] == who}
        style = {"linestyle": "--", "linewidth": 1} if who.startswith("cuDNN") else {"linewidth": 2}
        axes.plot([own.get(layer) for layer in layers], marker="osD^v<>ph*"[i % 10], label=who, **style)
    axes.set_xticks(range(len(layers)), [layer.removeprefix("resnet18.") for layer in layers], rotation=30, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("TFLOP/s of the direct formula")
    axes.set_title(f"{result['gpu']['name']}, {result['date']}: forward, batch {max(r['images'] for r in rows)}")
    axes.legend(fontsize=7, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def into_readme(result: Row | None) -> None:
    """Put the table between the markers of the README, in both its languages."""
    from minicnn.files import write_atomically

    for page in (ROOT / "README.md", ROOT / "README.zh.md"):
        before, rest = page.read_text().split(START)
        write_atomically(page, f"{before}{START}\n{table(result)}\n{END}{rest.split(END, 1)[1]}")


def main() -> None:
    """Verify, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts with commas between: {', '.join(PARTS)}")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULT.parent, help="folder of gpu.json and of the logs")
    parser.add_argument("--tables", action="store_true", help="only the README's table and the picture, from the JSON")
    parser.add_argument("--emulate", action="store_true", help="try this program without a GPU; give --out")
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    from minicnn.errors import MinicnnError
    from minicnn.study.emulator import emulated

    if args.emulate and args.out == RESULT.parent:
        parser.error("--emulate measures nothing: choose another folder with --out")
    try:
        with emulated() if args.emulate else contextlib.nullcontext():
            run(args, parser)
    except MinicnnError as error:
        parser.exit(2, f"{error}\n")


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """What the command line asks for."""
    from minicnn.files import write_atomically

    file = args.out / RESULT.name
    result: Row | None = json.loads(file.read_text()) if file.exists() else None
    if not args.tables:
        parts = args.only.split(",")
        if unknown := set(parts) - set(PARTS):
            parser.error(f"no part is named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
        import gpu_rows

        args.out.mkdir(parents=True, exist_ok=True)
        kept = [row for row in (result or {"rows": []})["rows"] if row["group"] not in parts]
        result = {**about(), "rows": kept}
        work = {
            "verify": lambda: [verify(args.out)],
            "sanitize": lambda: [sanitize(args.out)],
            "convolutions": lambda: gpu_rows.convolutions(args.batch, args.rounds),
            "networks": lambda: gpu_rows.networks((32, args.batch), args.rounds),
        }
        if args.emulate:
            work["convolutions"] = lambda: gpu_rows.convolutions(1, 1, gpu_rows.TINY)
            work["networks"] = lambda: gpu_rows.networks((2,), 1, side=32, width=4)
        for part in parts:
            for row in work[part]():
                result["rows"].append(row)
                print({key: value for key, value in row.items() if key != "group"}, flush=True)
                write_atomically(file, json.dumps(result, indent=1) + "\n")  # what was measured survives a time limit
    if args.out == RESULT.parent:
        into_readme(result)
        if result is not None and any(row["group"] == "convolutions" for row in result["rows"]):
            write_atomically(PICTURE, picture(result))
    print(f"\n{table(result)}")


if __name__ == "__main__":
    main()
