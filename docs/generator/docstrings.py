"""Docstrings as Markdown: what stands below a `::` becomes a block of code, and LaTeX stays LaTeX."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path


def module_docstring(path: Path) -> str:
    """The docstring of a Python file, without running it; "" if it has none."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def as_markdown(docstring: str) -> str:
    """Markdown of a docstring: what it has of reStructuredText is converted.

    A paragraph that ends in `::` is followed by a block of code, `.. math::` by LaTeX; the role `math` marks LaTeX in a
    line.
    """
    lines, made, i = docstring.splitlines(), [], 0
    while i < len(lines):
        line = lines[i].rstrip()
        i += 1
        formula = re.match(r"\s*\.\. math::(.*)", line)
        if not formula and not line.endswith("::"):
            made.append(re.sub(r":math:`([^`]+)`", r"$\1$", line))
            continue
        depth = len(line) - len(line.lstrip())
        block: list[str] = []
        while i < len(lines) and (not lines[i].strip() or len(lines[i]) - len(lines[i].lstrip()) > depth):
            block.append(lines[i])
            i += 1
        content = textwrap.dedent("\n".join(block)).strip("\n")
        pad = " " * depth
        if formula:
            latex = " ".join([formula[1].strip(), *content.split()]).strip()
            made += ["", f"{pad}$${latex}$$", ""]
        elif content:
            if line.strip() != "::":
                made.append(line[:-1])
            language = "python" if re.match(r"(import|from) |\w+ = \w+[.(]", content) else "text"
            made += ["", *(pad + text for text in (f"```{language}", *content.splitlines(), "```")), ""]
        else:
            made.append(line)
    return "\n".join(made)


def without_table(text: str, heading: str) -> tuple[str, str]:
    """Text without its table whose first cell is `heading`, and that table."""
    found = re.search(rf"^\| {re.escape(heading)} +\|.*?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        return text, ""
    return text[: found.start()] + text[found.end() :], found[0]
