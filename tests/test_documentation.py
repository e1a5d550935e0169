"""The documentation: each operation has its picture and derivation, formulas convert, and no page asks another host."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "docs"))

from generator import measured, tutorials  # noqa: E402
from generator.docstrings import as_markdown  # noqa: E402
from generator.operations import GROUPS, OPS, code_files, derivation, folders, operation_page, operations_of  # noqa: E402
from generator.pages import BrokenLinkError, Site  # noqa: E402
from generator.pictures import picture  # noqa: E402
from generator.privacy import check_site, fetched_elsewhere  # noqa: E402

NAMES = [folder.name for folder in folders()]
SITE = ROOT / "site"


def latex(text: str) -> list[tuple[str, bool]]:
    """All LaTeX of a text, and whether it stands by itself."""
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return [(a or b, bool(a)) for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.DOTALL)]


def test_each_operation_has_a_page_with_everything_on_it() -> None:
    assert {name for names in GROUPS.values() for name in names} == set(NAMES)
    for name in NAMES:
        symbols, gradient = derivation(name)
        assert symbols
        assert len(latex(gradient)) >= 3, name
        svg = re.search(r"<svg.*</svg>", picture(name))
        assert svg is not None
        drawn = ET.fromstring(svg[0])
        assert drawn.get("role") == "img"
        assert len(drawn.get("aria-label", "")) > 40
        page = operation_page(OPS / name)
        for path in code_files(OPS / name):
            assert f'=== "{path.name}"' in page, (name, path.name)
            assert path.read_text().splitlines()[0] in page


def test_the_measured_ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"pass": "forward", "work": "a 2, b 2", "dtype": "float32", "view": False, "layouts": {}, "left_out": {}}
    row |= {"ms": {"loops": 8.0, "vector": 0.05}, "torch_ms": 0.1}
    other = {**row, "pass": "grad_a", "ms": {"vector": 250.0}, "view": True, "left_out": {"loops": "some 99 s a call"}}
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    found = operations_of(OPS / "elementwise")
    assert "$ minicnn bench add --versus torch\n" in measured.measured("elementwise", found)
    said = {"cpu": "A CPU", "threads": 2, "versions": {"torch": "9"}, "date": "2026-02-03", "passes": [row, other]}
    (tmp_path / "operations.json").write_text(json.dumps({"add": said}))
    page = measured.measured("elementwise", found)
    for line in (
        "| milliseconds | `loops` | `vector` | PyTorch | gain | vs PyTorch |",
        "| forward | 8 | **0.05** | 0.1 | 160 | 2 |",
        "| grad_a |  | **250** | 0.1 | 1 | 0.0004 |",
    ):
        assert line in page.splitlines()
    assert "a 2, b 2, float32; A CPU, 2 threads; PyTorch 9; 2026-02-03." in page
    assert "In `grad_a` no number moves" in page
    assert "`loops`, grad_a: some 99 s a call." in page
    picture = ET.fromstring(re.search(r"<svg.*</svg>", page)[0])  # type: ignore[index]
    assert [text.text for text in picture.iter() if text.tag.endswith("text")][:2] == ["loops", "8 ms"]
    assert not measured.measured("matmul", operations_of(OPS / "matmul")).startswith("|")


def test_formulas_convert() -> None:
    pytest.importorskip("math_core")
    from generator.mathematics import MathematicsError, mathml, with_mathml

    for name in NAMES:
        for formula in (operation.formula for operation in operations_of(OPS / name)):
            assert mathml(formula, True).startswith("<math")
        for formula, display in latex("\n\n".join(derivation(name))):
            assert mathml(formula, display).startswith("<math")
    with pytest.raises(MathematicsError, match="nosuchcommand"):
        mathml(r"\nosuchcommand{x}", True)
    made = with_mathml(r'<p>a <span class="arithmatex">\(x &lt; y\)</span></p>')
    assert "<math" in made
    assert "arithmatex" not in made


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img alt="" src="http://example/x.png">',
        '<img alt="" src="x.png" srcset="x.png 1x, https://example/x2.png 2x">',
        '<svg><image xlink:href="https://example/x.png"/></svg>',
        "<style>@font-face { src: url('https://example/f.woff2') }</style>",
        '<p style="background: url(//example/x.png)">',
    ],
)
def test_a_page_that_asks_another_host_is_found(text: str, tmp_path: Path) -> None:
    assert fetched_elsewhere(text)
    (tmp_path / "page.html").write_text(text)
    (tmp_path / "style.css").write_text("body { margin: 0 }")
    assert len(check_site(tmp_path)) == 1


def test_a_page_that_asks_nobody_is_left_alone() -> None:
    text = '<a href="https://example/">x</a><link rel="canonical" href="https://example/"><img src="a.png">'
    assert not fetched_elsewhere(text)
    assert fetched_elsewhere("@import 'https://example/x.css';", ".css")


@pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="make docs has not been run")
def test_the_built_site() -> None:
    assert not check_site(SITE)
    for name in NAMES:
        page = (SITE / "operations" / f"{name}.html").read_text()
        assert "<math" in page
        assert 'class="arithmatex"' not in page
        assert "<svg viewBox" in page
    assert len(list(SITE.rglob("*.html"))) > len(NAMES) + 20
    assert "winograd" in (SITE / "search" / "search_index.json").read_text()


def test_docstrings_become_markdown() -> None:
    made = as_markdown("Formula::\n\n    y = x\n\n    z = y\n\n.. math:: a \\\\ b\n\nwith :math:`c`, done.")
    assert [line for line in made.splitlines() if line] == [
        "Formula:",
        *("```text", "y = x", "z = y", "```"),
        "$$a \\\\ b$$",
        "with $c$, done.",
    ]


def test_the_first_steps_run() -> None:
    page = (ROOT / "docs" / "getting-started.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "getting-started.md", "exec"), {})


def test_outputs_of_notebooks_stand_on_their_pages(tmp_path: Path) -> None:
    prints = [{"output_type": "stream", "name": "stdout", "text": [f"{i}\n"]} for i in range(2)]
    html = {"output_type": "display_data", "data": {"text/html": ["<div>\n\n<b>1</b>", "</div>"], "text/plain": "1"}}
    shown = [
        tutorials._shown(Site(), output, Path("01.py"), tmp_path)
        for output in tutorials.joined([*prints, html, prints[0]])
    ]
    assert shown == ["```text\n0\n1\n```", "<div> <b>1</b></div>", "```text\n0\n```"]  # HTML as it is, in one line


def test_links_lead_to_pages_or_files() -> None:
    site = Site(places={"minicnn/ops/conv2d": "operations/conv2d.md"})
    text = "[`a`](minicnn/ops/conv2d) `[b](c)` [d](LICENSE) [e](https://example/) [f](#g)"
    assert site.linked(text, "README.md", "tutorials/index.md") == (
        "[`a`](../operations/conv2d.md) `[b](c)` [d](../files/LICENSE) [e](https://example/) [f](#g)"
    )
    assert site.files == {"files/LICENSE": ROOT / "LICENSE"}
    for target in ("nowhere.md", "../outside.png"):
        with pytest.raises(BrokenLinkError, match=re.escape(target)):
            site.linked(f"[x]({target})", "README.md", "index.md")
