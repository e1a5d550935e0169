"""`minicnn doctor`: what this machine has, and what it lacks."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print versions, CPU, threads, cache, GPU or why not."""
    from minicnn.cli.compiling import compiling_shown
    from minicnn.cli.printing import print_json
    from minicnn.study.machine import describe

    with compiling_shown():
        found = describe()
    if as_json:
        print_json(found)
        return
    for section, rows in found.items():
        print(section)
        for name, value in rows.items():
            print(f"  {name:16} {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not installed" if value is None else str(value)
