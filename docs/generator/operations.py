"""One page an operation: its formula beside the code of each algorithm, a picture, measurements, gradients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from generator.docstrings import as_markdown, module_docstring, without_table
from generator.measured import measured
from generator.pages import ROOT, Page, Site
from generator.pictures import picture
from minicnn.ops.registry import OPERATIONS, Operation

OPS = ROOT / "minicnn" / "ops"
DERIVATIONS = ROOT / "docs" / "derivations"
LANGUAGES = {".py": "python", ".cu": "cuda", ".cuh": "cuda"}
GROUPS = {
    "Layers": ("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "linear", "matmul"),
    "Normalisation and activation": ("batch_norm", "batch_norm_relu", "relu", "softmax", "dropout"),
    "Losses": ("cross_entropy", "mse"),
    "Through time": ("rnn", "lstm", "gru"),
    "Arrays": ("elementwise", "reduce", "shape"),
    "Optimizers": ("updates",),
}
GRADIENT = (
    r"For every array $a$, $\bar a = \partial L / \partial a$ is the gradient of the loss $L$; the code calls it `da`. "
    r"All that follows is the chain rule, $\bar x_j = \sum_i \bar y_i \, \partial y_i / \partial x_j$: whoever "
    "uses $x_j$ sends back its share, and the shares add up."
)

FUNCTIONS = """\
::: minicnn.ops.{name}
    options:
      show_root_heading: false
      show_root_toc_entry: false
      show_docstring_description: false
      heading_level: 3
      show_source: false
      filters: ["!^_", "!^check", "!^record$", "!^backward$", "!^[A-Z]"]
"""


def folders() -> list[Path]:
    """The folders of all operations."""
    return sorted(path.parent for path in OPS.glob("*/__init__.py"))


def operations_of(folder: Path) -> list[Operation]:
    """What a folder registers: one operation, several (`elementwise`), or none (`updates`)."""
    return [operation for operation in OPERATIONS.values() if operation.package == f"minicnn.ops.{folder.name}"]


def derivation(name: str) -> tuple[str, str]:
    """What the letters of an operation's formula mean, and the derivation of its gradients."""
    symbols, _, rest = (DERIVATIONS / f"{name}.md").read_text(encoding="utf-8").partition("\n\n")
    return symbols.strip(), rest.strip()


def add_operations(site: Site) -> None:
    """A page for each folder of `minicnn/ops`, and one that lists them."""
    missing = {folder.name for folder in folders()} ^ {name for names in GROUPS.values() for name in names}
    if missing:
        raise ValueError(f"GROUPS of {Path(__file__).name} and minicnn/ops differ: {', '.join(sorted(missing))}")
    for folder in folders():
        page = f"operations/{folder.name}.md"
        for place in ("", "/__init__.py", *(f"/{path.name}" for path in code_files(folder))):
            site.places[f"minicnn/ops/{folder.name}{place}"] = page
    for folder in folders():
        site.add(Page(f"operations/{folder.name}.md", folder.name, operation_page(folder)))
    site.add(Page("operations/index.md", "All operations", overview()))


def overview() -> str:
    """The page that lists the operations: name, formula, what it is."""
    lines = [
        "# Operations",
        "",
        "Each operation is one folder of `minicnn/ops`, in which the same mathematics stands several times, from the "
        "formula as printed to the fastest kernel. Its page has the formula beside the code of every algorithm, the "
        "measured ladder and the derivation of the gradients.",
    ]
    for group, names in GROUPS.items():
        lines += ["", f"## {group}", "", "| operation | formula | what it is |", "|---|---|---|"]
        for name in names:
            title = module_docstring(OPS / name / "__init__.py").splitlines()[0].rstrip(".")
            found = operations_of(OPS / name)
            formula = f"${found[0].formula}$" if len(found) == 1 else ", ".join(f"`{o.name}`" for o in found)
            lines.append(f"| [`{name}`]({name}.md) | {formula} | {title} |".replace("\\|", "&#124;"))
    return "\n".join(lines) + "\n"


def operation_page(folder: Path) -> str:
    """Markdown of one operation's page."""
    name, found = folder.name, operations_of(folder)
    title, _, rest = module_docstring(folder / "__init__.py").partition("\n\n")
    rest, table = without_table(rest, "algorithm")
    symbols, gradient = derivation(name)
    formulas = [f"$${operation.formula}$$" for operation in found] if len(found) < 3 else []
    parts = [
        "---\nhide:\n  - toc\n---",
        f"# {name}",
        " ".join(title.split()),
        '<div class="beside" markdown>\n<div class="formula-side" markdown>',
        "## Formula",
        *formulas,
        symbols,
        picture(name),
        '</div>\n<div class="code-side" markdown>',
        *code(folder, found),
        "</div>\n</div>",
        "## Definition",
        as_markdown(rest),
        *(["## Algorithms", table] if table else []),
        *(["The first that fits runs, from the top; see them on your machine with", which(found)] if table else []),
        *ladder_of(folder),
        "## Measured",
        measured(name, found),
        f"## {'Derivation' if found else 'Where they come from'}",
        *([GRADIENT] if found else []),
        gradient,
        "## Functions",
        FUNCTIONS.format(name=name),
    ]
    return "\n\n".join(parts) + "\n"


def which(found: list[Operation]) -> str:
    """How to see the algorithms of an operation."""
    return "```console\n" + "\n".join(f"$ minicnn algorithms {operation.name}" for operation in found[:1]) + "\n```"


def ladder_of(folder: Path) -> list[str]:
    """A sentence about the page of the ladder, where the folder has one."""
    if not (folder / "README.md").is_file():
        return []
    return [f"What each rung gains, and when it does not help: [the ladder]({folder.name}_ladder.md)."]


def code_files(folder: Path) -> list[Path]:
    """All files with code of an operation but its `__init__.py`."""
    return sorted(path for path in folder.iterdir() if path.suffix in LANGUAGES and path.name != "__init__.py")


def code(folder: Path, found: list[Operation]) -> list[str]:
    """Tabs with the code of each file: those of the CPU, in the order of the ladder, and those of the GPU."""
    files = code_files(folder)
    gpu = [path for path in files if path.suffix != ".py" or path.name.startswith(("cuda", "tensor_cores"))]
    climb = [name for operation in found for name in reversed(operation.algorithms)] or ["formula", "loops"]
    rungs = {path.stem: path for path in files if path not in gpu}
    algorithms = [rungs[name] for name in dict.fromkeys(climb)]
    shared = [folder / "__init__.py", *(path for path in files if path not in gpu and path not in algorithms)]
    parts = ["## Code: CPU { data-search-exclude }", tabs(algorithms)]
    parts.append(folded("The interface, and what the algorithms share", tabs(shared)))
    if gpu:
        climb_gpu = ladder(found[0].cuda) if found else ["cuda"]
        launches = [path for name in climb_gpu for path in gpu if path.name == f"{name}.py"]
        kernels = by_kernel([path for path in gpu if path.suffix == ".cu"], launches)
        parts += ["## Code: GPU { data-search-exclude }", tabs(kernels)]
        if rest := [path for path in gpu if path not in kernels]:
            parts.append(folded("What the kernels share", tabs(rest)))
    return parts


def folded(title: str, text: str) -> str:
    """Text that is shown when its title is clicked."""
    return "\n".join([f'??? abstract "{title}"', "", *("    " + line if line else "" for line in text.splitlines())])


def ladder(names: Sequence[str]) -> list[str]:
    """Algorithms in the order in which one climbs: those that run unasked from the simplest up, then those to be named.

    An operation lists the preferred one first, `cuda_naive` after it, and what runs only if it is named behind that.
    """
    end = list(names).index("cuda_naive") + 1 if "cuda_naive" in names else len(names)
    return [*reversed(names[:end]), *names[end:]]


def by_kernel(kernels: list[Path], launches: list[Path]) -> list[Path]:
    """Each kernel before the Python file that launches it, in the order of the launches."""
    order: list[Path] = []
    for launch in launches:
        text = launch.read_text(encoding="utf-8")
        order += [path for path in kernels if path not in order and re.search(rf"\b{path.stem}\.cu\b", text)]
        order.append(launch)
    return order


def tabs(files: list[Path]) -> str:
    """Tabs, one a file, with its code; the theme knows no more than 20 of them."""
    if len(files) > 20:
        raise ValueError(f"too many tabs: {', '.join(path.name for path in files)}")
    made = []
    for path in files:
        text = path.read_text(encoding="utf-8").rstrip()
        block = [f"```{LANGUAGES[path.suffix]}", *text.splitlines(), "```"]
        made += [
            f'=== "{path.name.replace("__", "&#95;&#95;")}"',
            "",
            *("    " + line if line else "" for line in block),
            "",
        ]
    return "\n".join(made)
