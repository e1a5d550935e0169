"""The page as HTML: one file that needs nothing else, with arrays in it or with the server's address.

A security policy allows just this script and this style, by their hashes; the file may not connect to anything, the
served page only to its own server. Data stand in a block that no browser runs, with every `<` written as \\u003c, so
that no name in them can end the block.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.arrays import moved
from minicnn.errors import ArgumentError
from minicnn.files import write_atomically
from minicnn.study.explain.terms import Index
from minicnn.study.page import assets
from minicnn.study.page.explained import entries
from minicnn.study.page.numbers import Numbers

LIMIT = 16.0  # MB of a file, unless another limit is given
LEAST_LIMIT, MOST_LIMIT = 0.2, 500.0
BASE64 = 4 / 3
ENTRIES, TERMS = 24, 16  # of an array whose explanations are in the file, and of each of them

Filed = dict[str, list[Index]]


class Written(NamedTuple):
    """What a file holds: its bytes, and how many of the steps of the run have their arrays in it."""

    bytes: int
    held: int
    steps: int


def write_page(
    path: str | os.PathLike[str], numbers: Numbers, *, limit: float = LIMIT, layers: Sequence[str] = ()
) -> Written:
    """Write one self-contained HTML file.

    Parameters
    ----------
    path : path
    numbers : Numbers
    limit : float
        Largest size in MB. Steps are put in from the first on as long as they fit; the page shows which are not there.
    layers : sequence of str
        Beginnings of paths of layers ("layer1"): only these.

    Raises
    ------
    ArgumentError
        If no step fits, or no layer is called so.
    """
    content, held = self_contained(numbers, limit, layers)
    data = content.encode()
    write_atomically(path, data)
    return Written(len(data), held, len(numbers.description["steps"]))


def self_contained(numbers: Numbers, limit: float = LIMIT, layers: Sequence[str] = ()) -> tuple[str, int]:
    """The page with the arrays in it, and how many steps have theirs; see `write_page`."""
    check_limit(limit)
    held, arrays, explained = _chosen(numbers, limit * 1e6, layers)
    description = _with_held(numbers.description, held)
    return page_of(numbers.title, {"description": description, "arrays": arrays, "explained": explained}), len(held)


def check_limit(limit: float) -> None:
    """Raise unless a file may be that large, in MB; before a network has run for it."""
    if not (isinstance(limit, (int, float)) and LEAST_LIMIT <= limit <= MOST_LIMIT):
        raise ArgumentError(
            "limit is not valid", called="write_page", seen=str(limit), rule=f"{LEAST_LIMIT} to {MOST_LIMIT} MB"
        )


def page_of(title: str, data: dict[str, Any], connect: str = "'none'") -> str:
    """The page; `data` is what its host script begins with, `connect` what it may reach."""
    text = _as_text(data)
    script, style = f"\n{assets.script()}\n{assets.host()}\n", f"\n{assets.style()}\n"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy(connect)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            '<main id="minicnn"></main>',
            "<noscript><p>This page computes its sums in the browser: it needs JavaScript.</p></noscript>",
            f'<script type="application/json" id="minicnn-data">{text}</script>',
            f'<script type="module">{script}</script>',
            "</body>",
            "</html>",
            "",
        ]
    )


def _as_text(data: Any) -> str:
    return json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def policy(connect: str = "'none'") -> str:
    """The Content-Security-Policy: this script, this style, and nothing else."""
    script, style = f"\n{assets.script()}\n{assets.host()}\n", f"\n{assets.style()}\n"
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            f"connect-src {connect}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ]
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _with_held(description: dict[str, Any], held: dict[int, Filed]) -> dict[str, Any]:
    steps = [
        {**step, "held": number in held, "filed": held.get(number, {})}
        for number, step in enumerate(description["steps"])
    ]
    return {**description, "steps": steps}


def _chosen(
    numbers: Numbers, most: float, layers: Sequence[str]
) -> tuple[dict[int, Filed], dict[str, dict[str, Any]], dict[str, Any]]:
    """The steps that fit into so many bytes with the entries that are explained, their arrays, and explanations."""
    steps = numbers.description["steps"]
    empty = {"description": numbers.description, "arrays": {}, "explained": {}}
    room = most - len(page_of(numbers.title, empty).encode()) - 20 * len(steps)
    wanted = [
        number
        for number, step in enumerate(steps)
        if not layers or any(step["layer"] == name or step["layer"].startswith(f"{name}.") for name in layers)
    ]
    if not wanted:
        known = list(dict.fromkeys(step["layer"] for step in steps))
        raise ArgumentError("no such layer", called="write_page", seen=", ".join(layers), rule=", ".join(known)[:300])
    held: dict[int, Filed] = {}
    keys: dict[str, None] = {}
    explained: dict[str, Any] = {}
    for number in wanted:
        new = [key for key in numbers.keys_of(number) if key not in keys]
        size = sum(math.prod(numbers.shape(key)) * 4 * BASE64 + 100 for key in new)
        if size > room:
            continue
        filed, found = _explained(numbers, number)
        more = len(_as_text({"filed": filed, "explained": found}))
        if size + more <= room:
            room -= size + more
            held[number] = filed
            keys.update(dict.fromkeys(new))
            explained.update(found)
    if not held:
        raise ArgumentError("not even one step fits", called="write_page", seen=f"{most / 1e6} MB", hint="raise limit")
    return held, {key: _encoded(numbers, key) for key in keys}, explained


def _explained(numbers: Numbers, number: int) -> tuple[Filed, dict[str, Any]]:
    """Which entries of a step the file explains, and their explanations by key and index, `"e7:y 0,3,2"`."""
    filed: Filed = {}
    found = {}
    for name in numbers.description["steps"][number]["terms"]:
        key = f"e{number}:{name}"
        filed[name] = entries(moved(numbers.values_of(key), "cpu"), ENTRIES)
        for index in filed[name]:
            found[f"{key} {','.join(map(str, index))}"] = numbers.explanation(key, index, TERMS)
    return filed, found


def _encoded(numbers: Numbers, key: str) -> dict[str, Any]:
    """An array in base64: float32, or int32 for whole numbers."""
    shape = numbers.shape(key)
    pieces = []
    rows = max(1, (2**22) // max(1, math.prod(shape[1:]))) if shape else 1
    starts = range(0, shape[0], rows) if shape else [0]
    for start in starts:
        ranges = [(start, min(start + rows, shape[0])), *((0, size) for size in shape[1:])] if shape else []
        block = numbers.block(key, ranges)
        pieces.append(block if block.dtype == np.int32 else block.astype("<f4"))
    data = b"".join(piece.tobytes() for piece in pieces)
    dtype = "int32" if pieces and pieces[0].dtype == np.int32 else "float32"
    return {"shape": list(shape), "type": dtype, "data": base64.b64encode(data).decode()}
