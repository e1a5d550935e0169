"""`minicnn algorithms`: the versions of each operation."""

from __future__ import annotations

from typing import Annotated

import typer


def algorithms(
    operation: Annotated[str | None, typer.Argument(help="Only this operation.", show_default="all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the algorithms of each operation.

    The preferred one stands first.

    \b
    Examples:
      minicnn algorithms
      minicnn algorithms conv2d
    """
    import minicnn.ops  # noqa: F401 (registers all operations)
    from minicnn.cli.printing import print_json
    from minicnn.ops.registry import OPERATIONS
    from minicnn.ops.registry import operation as find

    chosen = sorted(OPERATIONS) if operation is None else [find(operation).name]
    if as_json:
        print_json({name: OPERATIONS[name].names() for name in chosen})
        return
    for name in chosen:
        print(f"{name:20} {', '.join(OPERATIONS[name].names())}")
