"""`minicnn gradcheck`: are all gradients right on this machine?"""

from __future__ import annotations

from typing import Annotated

import typer


def gradcheck(
    operation: Annotated[str | None, typer.Option(help="Only this operation.", show_default="all")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda: whose algorithms.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that all gradients are right on this machine.

    Every algorithm of every operation against central differences, in float64. Exit status 1 if one is wrong.

    \b
    Examples:
      minicnn gradcheck
      minicnn gradcheck --operation conv2d
      minicnn gradcheck --device cuda
    """
    from tqdm import tqdm

    from minicnn.backends.arrays import check_device
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.study.check_operations import check_operation, names

    check_device(device)
    rows = []
    with compiling_shown(), tqdm(names(operation), desc="checking", disable=None, leave=False) as bar:
        for name in bar:
            bar.set_postfix_str(name)
            rows += check_operation(name, device)
    wrong = sum(not row.ok for row in rows)
    if as_json:
        print_json([{**row.as_dict(), "ok": row.ok} for row in rows])
    else:
        print(f"{'operation':20} {'algorithm':15} {'cases':>5} {'entries':>8} {'rel. error':>11}")
        for row in rows:
            numbers = f"{row.cases:5} {row.entries:8} {row.worst:11.1e}"
            print(f"{row.operation:20} {row.algorithm:15} {numbers}  {'ok' if row.ok else f'failed: {row.verdict}'}")
        print(f"{len(rows)} checked, {wrong} failed")
    if wrong:
        raise typer.Exit(1)
