"""`minicnn gradcheck`: are all gradients right on this machine?"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def gradcheck(
    operation: Annotated[str | None, typer.Option(help="Only this operation.", show_default="all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check every algorithm of every operation against central differences, in float64.

    Exit status 1 if a gradient is wrong. Example:  minicnn gradcheck --operation conv2d
    """
    from tqdm import tqdm

    from minicnn.study.check_operations import check_operation, names

    chosen = names(operation)
    rows = []
    with tqdm(chosen, desc="checking (kernels compile on first use)", file=sys.stderr, leave=False) as bar:
        for name in bar:
            bar.set_postfix_str(name)
            rows += check_operation(name)
    if as_json:
        print(json.dumps([{**row.as_dict(), "ok": row.ok} for row in rows]))
    else:
        print(f"{'operation':20} {'algorithm':10} {'cases':>5} {'entries':>8} {'rel. error':>11}")
        for row in rows:
            print(
                f"{row.operation:20} {row.algorithm:10} {row.cases:5} {row.entries:8} {row.worst:11.1e}  {row.verdict}"
            )
        wrong = sum(not row.ok for row in rows)
        print(f"{len(rows)} checked, {wrong} wrong")
    if not all(row.ok for row in rows):
        raise typer.Exit(1)
