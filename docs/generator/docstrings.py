"""Docstrings as Markdown: what stands below a `::` becomes a block of code, and tables stand alone."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path


def module_docstring(path: Path) -> str:
    """The docstring of a Python file, without running it; "" if it has none."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def as_markdown(docstring: str) -> str:
    """Markdown of a docstring.

    A paragraph that ends in `::` is followed by a block of code, as in reStructuredText; all else is Markdown already.
    """
    lines, made, i = docstring.splitlines(), [], 0
    while i < len(lines):
        line = lines[i]
        i += 1
        if not line.rstrip().endswith("::"):
            made.append(line)
            continue
        depth = len(line) - len(line.lstrip())
        block: list[str] = []
        while i < len(lines) and (not lines[i].strip() or len(lines[i]) - len(lines[i].lstrip()) > depth):
            block.append(lines[i])
            i += 1
        if not any(part.strip() for part in block):
            made.append(line)
            continue
        said = line.rstrip()[:-1]
        if said.strip() != ":":  # a line of nothing but `::`
            made.append(said)
        code = textwrap.dedent("\n".join(block)).strip("\n")
        language = "python" if re.match(r"(import|from) ", code) else "text"
        pad = " " * depth
        made += ["", *(pad + text for text in (f"```{language}", *code.splitlines(), "```")), ""]
    return "\n".join(made)


def without_table(text: str, heading: str) -> tuple[str, str]:
    """Text without its table whose first cell is `heading`, and that table."""
    found = re.search(rf"^\| {re.escape(heading)} +\|.*?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        return text, ""
    return text[: found.start()] + text[found.end() :], found[0]
