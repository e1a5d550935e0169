"""The ladder of every operation: each pass by each algorithm of the CPU, and by PyTorch.

    python benchmarks/operations.py                              # all, some ten minutes; writes benchmarks/results/
                                                                 # operations.json, which the documentation shows
    python benchmarks/operations.py --only conv2d,softmax        # these; the others keep what was measured before
    python benchmarks/operations.py --only add --rounds 1 --dry-run   # a quick look; writes nothing

The work is that of `minicnn bench OPERATION`, float32. Algorithms take turns in one process (`minicnn/study/timing.py`)
after each has been held against the formula in float64, and again after their timing. Of PyTorch the faster layout of
images counts. Times of an operation are written as soon as all of its passes have been measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch  # before minicnn: see peers.py
from table import about
from tqdm import tqdm

from minicnn.files import write_atomically
from minicnn.ops.registry import OPERATIONS
from minicnn.study import bench
from minicnn.study.work import passes, work_of

RESULT = Path(__file__).resolve().parent / "results" / "operations.json"
UPDATES = "updates"  # the optimizers' steps: no operation, but a folder with algorithms
NAMES = (*sorted(OPERATIONS), UPDATES)
ROUNDS = 3

Row = dict[str, Any]


def measure(name: str, pass_name: str, rounds: int) -> Row:
    """One pass: milliseconds a call of each algorithm that was right, from the slowest to the fastest."""
    if name == UPDATES:
        from updates import measure_update

        return measure_update(pass_name, rounds)
    work = work_of(name, pass_name=pass_name)
    found = bench.measure(work, versus="torch", rounds=rounds)
    if wrong := [f"{row.name}: {row.verdict}" for row in found.rows if not row.ok]:
        raise SystemExit(f"{name} {pass_name}: {'; '.join(wrong)}")
    ours = [row for row in reversed(found.rows) if not row.peer]
    peer = next(row for row in found.rows if row.peer)
    return {
        "pass": pass_name,
        "work": work.title,
        "dtype": str(work.dtype),
        "view": work.view,
        "ms": {row.name: row.seconds * 1e3 for row in ours},
        "layouts": {row.name: row.layout for row in (*ours, peer) if row.layout},
        "torch_ms": peer.seconds * 1e3,
        "left_out": {key: rule for key, rule in found.left_out.items() if key not in work.op.cuda},
    }


def all_passes(name: str) -> list[str]:
    """Names of the passes of an operation, or of the optimizers' steps."""
    if name == UPDATES:
        from updates import STEPS

        return list(STEPS)
    return list(passes(name))


def line(row: Row) -> str:
    """A row for the terminal."""
    times = ", ".join(f"{name} {ms:.3g}" for name, ms in row["ms"].items())
    return f"{row['pass']}: {times} ms; PyTorch {row['torch_ms']:.3g} ms"


def run(names: Sequence[str], rounds: int, write: bool) -> None:
    """Measure the passes of these operations, print them, and write each operation when it is done."""
    said = {**about(), "threads": torch.get_num_threads()}
    todo = {name: all_passes(name) for name in names}
    with tqdm(total=sum(map(len, todo.values())), desc="measuring", disable=None) as bar:  # None: on a terminal
        for name, wanted in todo.items():
            rows = []
            for pass_name in wanted:
                bar.set_postfix_str(f"{name} {pass_name}")
                rows.append(measure(name, pass_name, rounds))
                tqdm.write(f"{name} {line(rows[-1])}")
                bar.update()
            if write:
                save(name, {**said, "rounds": rounds, "passes": rows})


def save(name: str, measured: dict[str, Any]) -> None:
    """Put what was measured of an operation into the result; the others stay as they are."""
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    result = {key: kept[key] for key in NAMES if key in kept} | {name: measured}
    write_atomically(RESULT, json.dumps(dict(sorted(result.items())), indent=1) + "\n")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(NAMES), help="operations with commas between")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"no operation is named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    run(names, args.rounds, not args.dry_run)


if __name__ == "__main__":
    main()
