"""Writing TOML, so that `tomllib` (which only reads) gives back what was written.

Settings of a run are tables of text, numbers, truth values and lists of these; that much of TOML 1.0 is written here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dumps(table: Mapping[str, Any]) -> str:
    """A mapping as a TOML document.

    Parameters
    ----------
    table : mapping
        Values: str, bool, int, float, lists and tuples, paths, and mappings again. TOML has no null: a key whose value
        is None is left out.
    """
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """A table: first its own values, since a header claims all lines after it; then the tables in it."""
    values = {key: value for key, value in table.items() if value is not None}
    own = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    inner = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    header = ["", f"[{'.'.join(map(_key, path))}]"] if path and (own or not inner) else []
    return header + own + [line for key, value in inner.items() for line in _lines(value, (*path, key))]


def _key(key: Any) -> str:
    key = str(key)
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"{value}"  # "inf", "-inf" and "nan" are TOML's names too
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{{', '.join(pairs)}}}"
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if isinstance(value, str):
        return _text(value)
    raise ArgumentError(
        "no TOML for this value",
        called="toml.dumps",
        seen=f"{value!r} ({type(value).__name__})",
        rule="text, numbers, truth values, lists and mappings of these",
    )


def _text(text: str) -> str:
    """A basic string. JSON's escapes are TOML's, except that TOML wants DEL escaped too."""
    text = text.encode("utf-8", "backslashreplace").decode()  # file names may hold bytes that are no text
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
