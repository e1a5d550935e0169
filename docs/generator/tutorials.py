"""Tutorials as pages: text and code of the sources, and pictures and prints where notebooks have been run.

`python tutorials/build.py` runs the numbered tutorials and writes notebooks. Where a notebook has the cells of its
source, what they printed and drew stands on the page too; a build of the documentation runs nothing itself.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from generator.docstrings import as_markdown
from generator.pages import ROOT, Page, Site

TUTORIALS = ROOT / "tutorials"
DOCUMENTS = TUTORIALS / "documents"
NOTEBOOKS = TUTORIALS / "notebooks"


def add_tutorials(site: Site, drawn: Path) -> None:
    """Pages of all tutorials; pictures of notebooks are written into the folder `drawn`."""
    numbered = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))
    others = [path for path in sorted(TUTORIALS.glob("*.py")) if path not in numbered and path.name != "build.py"]
    documents = [path for path in sorted(DOCUMENTS.glob("*.py")) if path.name != "page.py"]
    for path in (*numbered, *others, *documents):
        site.places[str(path.relative_to(ROOT))] = _page(path)
    site.places |= {
        "tutorials/README.md": "tutorials/index.md",
        "tutorials/documents/README.md": "tutorials/documents/index.md",
    }
    site.places |= {"tutorials": "tutorials/index.md", "tutorials/documents": "tutorials/documents/index.md"}
    for path in numbered:
        text = numbered_page(site, path, drawn)
        site.add(Page(_page(path), _heading(text) or path.stem, text))
    for path in (*others, *documents):
        site.add(Page(_page(path), program_title(path), program_page(site, path)))


def _page(path: Path) -> str:
    return f"{path.relative_to(ROOT).with_suffix('.md')}"


def _heading(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return re.sub(r"[`*$]", "", found[1]) if found else ""


def numbered_page(site: Site, path: Path, drawn: Path) -> str:
    """A tutorial in jupytext's percent format as Markdown."""
    place = str(path.relative_to(ROOT))
    cells = percent_cells(path.read_text(encoding="utf-8"))
    results = outputs(cells, NOTEBOOKS / f"{path.stem}.ipynb")
    parts = []
    for (kind, text), shown in zip(cells, results, strict=True):
        if kind == "markdown":
            parts.append(site.linked(text, place, _page(path)))
        elif text:
            parts.append(f"```python\n{text}\n```")
        parts += [_shown(site, output, path, drawn) for output in shown]
    parts.append(
        f"---\n\nRun it yourself: `{place}`, as a program, or as a notebook made by `python tutorials/build.py`."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def percent_cells(text: str) -> list[tuple[str, str]]:
    """("markdown" or "code", text) of each cell, by jupytext."""
    import jupytext

    notebook = jupytext.reads(text, fmt="py:percent")
    return [(cell.cell_type, cell.source.strip("\n")) for cell in notebook.cells]


def outputs(cells: list[tuple[str, str]], notebook: Path) -> list[list[dict[str, Any]]]:
    """What each cell printed and drew, if the notebook has just these cells; otherwise nothing."""
    nothing: list[list[dict[str, Any]]] = [[] for _ in cells]
    if not notebook.is_file():
        return nothing
    ran = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    if [(c["cell_type"], "".join(c["source"]).strip("\n")) for c in ran] != cells:
        return nothing
    return [joined(c.get("outputs", [])) for c in ran]


def joined(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs of a cell; what was printed in several goes is one."""
    made: list[dict[str, Any]] = []
    for output in shown:
        if made and output["output_type"] == made[-1]["output_type"] == "stream" and output["name"] == made[-1]["name"]:
            made[-1] = {**made[-1], "text": "".join(made[-1]["text"]) + "".join(output["text"])}
        else:
            made.append(output)
    return made


def _shown(site: Site, output: dict[str, Any], path: Path, drawn: Path) -> str:
    """Markdown of one output of a cell."""
    if output["output_type"] == "stream":
        return _printed("".join(output["text"]))
    data = output.get("data", {})
    for kind, suffix in (("image/svg+xml", "svg"), ("image/png", "png")):
        if kind in data:
            content = "".join(data[kind])
            raw = base64.b64decode(content) if suffix == "png" else content.encode()
            name = f"{path.stem}-{hashlib.sha256(raw).hexdigest()[:12]}.{suffix}"
            (drawn / name).write_bytes(raw)
            site.files[f"tutorials/pictures/{name}"] = drawn / name
            said = output.get("metadata", {}).get(kind, {}).get("alt") or "drawn by the cell above"
            said = said.replace("[", "").replace("]", "")
            return f"![{said}](pictures/{name})"
    if "text/html" in data:  # an explanation, which has its own style; on one line it is raw HTML for Markdown
        return " ".join("".join(data["text/html"]).split())
    return _printed("".join(data.get("text/plain", "")))


def _printed(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()
    return f"```text\n{text}\n```" if text else ""


def program_title(path: Path) -> str:
    """Name of a program, with the number of the system that it is ("S4: ..." begins its docstring)."""
    number = re.match(r'r?"""(S\d+)\b', path.read_text(encoding="utf-8"))
    name = path.stem.replace("_", " ")
    return f"{number[1]} {name}" if number else name


def program_page(site: Site, path: Path) -> str:
    """A program: its docstring as text, what it gave when it was run, and its code."""
    place = str(path.relative_to(ROOT))
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree) or ""
    first, _, rest = docstring.partition("\n\n")
    parts = [f"# {program_title(path)}", " ".join(first.split())]
    for name, found in _results().items():
        if name.split()[-1] == path.name or name.endswith(f" {path.name}"):
            parts.append(f"When it was last run: {found['result']}, in {found['seconds']:.0f} s.")
            if found["picture"]:
                picture = site.link(f"pictures/{found['picture']}", place, _page(path))
                parts.append(f"![What the program draws]({picture})")
    code = text.rstrip()
    if docstring and isinstance(tree.body[0], ast.Expr):
        code = "\n".join(text.splitlines()[tree.body[0].end_lineno or 0 :]).strip("\n")
    parts += [site.linked(as_markdown(rest), place, _page(path)), f"```python\n{code}\n```"]
    kernel = path.with_suffix(".cu")
    if kernel.is_file():
        parts.append(f"`{kernel.name}`:\n\n```cuda\n{kernel.read_text(encoding='utf-8').rstrip()}\n```")
        site.places[str(kernel.relative_to(ROOT))] = _page(path)
    return "\n\n".join(part for part in parts if part) + "\n"


def _results() -> dict[str, dict[str, Any]]:
    path = DOCUMENTS / "results.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
