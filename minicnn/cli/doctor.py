"""`minicnn doctor`: what this machine has, and what it lacks."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print versions, CPU, threads, the kernels' cache, and the GPU or why there is none."""
    from minicnn.study.machine import describe

    found = describe()
    if as_json:
        print(json.dumps(found))
        return
    for section, rows in found.items():
        print(section)
        for name, value in rows.items():
            print(f"  {name:16} {value}")
