"""The hook of MkDocs that makes most of the site: `mkdocs build` calls these functions, in the order in which they
stand.

Written by hand are `install.md`, `getting-started.md` and the derivations; all other pages come from docstrings, the
folders of the operations, the tutorials and the READMEs (`generator/`), so that they cannot say anything else than the
code.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import Abort
from mkdocs.structure.files import File, Files

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generator.commands import add_commands  # noqa: E402
from generator.mathematics import with_mathml  # noqa: E402
from generator.operations import GROUPS, add_operations  # noqa: E402
from generator.pages import ROOT, Page, Site  # noqa: E402
from generator.privacy import check_site  # noqa: E402
from generator.reference import PACKAGES, add_reference  # noqa: E402
from generator.tutorials import add_tutorials  # noqa: E402

READMES = {  # file of the repository: page, title
    "README.md": ("index.md", "Home"),
    "README.zh.md": ("zh.md", "中文"),
    "CONTRIBUTING.md": ("contributing.md", "Contributing"),
    "weights/README.md": ("weights.md", "Weights"),
    "tutorials/README.md": ("tutorials/index.md", "All tutorials"),
    "tutorials/documents/README.md": ("tutorials/documents/index.md", "The systems of the documents"),
    "minicnn/ops/conv2d/README.md": ("operations/conv2d_ladder.md", "conv2d: the ladder"),
}
_drawn = tempfile.TemporaryDirectory()
_site = Site()


def on_config(config: Any) -> Any:
    """Make all pages, and the navigation."""
    _site.__init__()  # `mkdocs serve` builds more than once
    site = _site
    present = {source: place for source, place in READMES.items() if (ROOT / source).is_file()}
    site.places |= {source: page for source, (page, _) in present.items()}
    add_operations(site)
    add_reference(site)
    add_commands(site)
    add_tutorials(site, Path(_drawn.name))
    for source, (page, title) in present.items():
        text = re.sub(r"<!--.*?-->\n?", "", (ROOT / source).read_text(encoding="utf-8"))
        head = "---\nhide:\n  - navigation\n---\n\n" if "/" not in source and source.startswith("README") else ""
        site.add(Page(page, title, head + site.linked(text, source, page)))
    config.nav = navigation(site)
    return config


def navigation(site: Site) -> list[Any]:
    """The table of contents."""

    def entries(paths: list[str]) -> list[Any]:
        return [{site.pages[path].title: path} for path in paths if path in site.pages]

    numbered = [path for path in site.pages if re.match(r"tutorials/\d\d_", path)]
    programs = [p for p in site.pages if p.startswith("tutorials/") and p.count("/") == 1 and p not in numbered]
    documents = [p for p in site.pages if p.startswith("tutorials/documents/") and not p.endswith("index.md")]
    documents.sort(key=lambda path: [int(n) for n in re.findall(r"^S(\d+)", site.pages[path].title)])
    operations: list[Any] = entries(["operations/index.md"])
    for group, names in GROUPS.items():
        pages = [page for name in names for page in (f"operations/{name}.md", f"operations/{name}_ladder.md")]
        operations.append({group: entries(pages)})
    return [
        {"Home": ["index.md", *entries(["zh.md"])]},
        {
            "Start": [
                {"Install": "install.md"},
                {"Getting started": "getting-started.md"},
                *entries(["weights.md", "contributing.md"]),
            ]
        },
        {
            "Tutorials": [
                *entries(["tutorials/index.md", *sorted(numbered)]),
                {"Programs": entries([p for p in programs if not p.endswith("index.md")])},
                {"The systems of the documents": entries(["tutorials/documents/index.md", *documents])},
            ]
        },
        {"Operations": operations},
        {"Reference": entries(["reference/index.md", *(f"reference/{name}.md" for name in PACKAGES), "commands.md"])},
    ]


def on_files(files: Files, config: Any) -> Files:
    """Add what was generated to what lies in this folder."""
    for page in _site.pages.values():
        files.append(File.generated(config, page.path, content=page.text))
    for place, path in _site.files.items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """LaTeX becomes MathML; wide tables are moved sideways in a frame of their own; no dash leads to no description."""
    html = with_mathml(html)
    html = re.sub(r'\u2013\s*<div class="doc-md-description">\s*</div>', "", html)
    return re.sub(r"<table>.*?</table>", r'<div class="table" tabindex="0">\g<0></div>', html, flags=re.DOTALL)


def on_post_build(config: Any) -> None:
    """Let the search work from files too; refuse a site whose pages would ask other machines for anything."""
    index = Path(config.site_dir) / "search" / "search_index.json"
    index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")
    found = check_site(Path(config.site_dir))
    if found:
        raise Abort("pages fetch from other hosts:\n" + "\n".join(found))
