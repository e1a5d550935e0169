"""The reference: a page for each public package, with all that it exports, from the docstrings."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

from generator.docstrings import as_markdown
from generator.pages import Page, Site

PACKAGES = (
    "minicnn",
    "minicnn.nn",
    "minicnn.nn.functional",
    "minicnn.nn.init",
    "minicnn.nn.utils",
    "minicnn.optim",
    "minicnn.optim.lr_scheduler",
    "minicnn.data",
    "minicnn.data.transforms",
    "minicnn.models",
    "minicnn.weights",
    "minicnn.training",
    "minicnn.training.compiled",
    "minicnn.study",
    "minicnn.study.explain",
    "minicnn.study.graph",
    "minicnn.study.page",
    "minicnn.study.emulator",
    "minicnn.autograd",
    "minicnn.gradcheck",
    "minicnn.ops.registry",
    "minicnn.errors",
)


def add_reference(site: Site) -> None:
    """A page for each package, and one that lists them."""
    lines: dict[str, str] = {}
    told: set[str] = set()
    for name in sorted(PACKAGES, key=lambda name: name == "minicnn"):  # the top only refers to what stands elsewhere
        module = importlib.import_module(name)
        path = f"reference/{name}.md"
        site.places[(name.replace(".", "/") + ("" if hasattr(module, "__path__") else ".py"))] = path
        site.add(Page(path, name, package_page(module, told)))
        lines[name] = f"| [`{name}`]({name}.md) | {(inspect.getdoc(module) or '').splitlines()[0]} |"
    table = [
        "# Reference",
        "",
        "| package | |",
        "|---|---|",
        *(lines[name] for name in PACKAGES),
        "",
        "Functions of an operation stand on [its page](../operations/index.md), commands on [theirs](../commands.md).",
    ]
    site.add(Page("reference/index.md", "Packages", "\n".join(table) + "\n"))


def package_page(module: ModuleType, told: set[str]) -> str:
    """Markdown of a package's page: its own docstring, then each public name; `told` stand on other pages already."""
    name = module.__name__
    parts = [f"# {name}", as_markdown(inspect.getdoc(module) or "")]
    found = members(module)
    if name == "minicnn.study":
        found = studied()
    again = [f"- [`{member}`][{target}]" for member, target in found.items() if target in told]
    parts += ["\n".join(again)] if again else []
    for member, target in found.items():
        if target in told:
            continue
        told.add(target)
        parts.append(f"::: {target}\n    options:\n      heading: {member}\n      toc_label: {member}")
    return "\n\n".join(parts) + "\n"


def members(module: ModuleType) -> dict[str, str]:
    """Public names of a module, and where each is defined: what `__all__` says, or what the module defines itself."""
    listed = getattr(module, "__all__", None)
    names = listed or [n for n, value in vars(module).items() if not n.startswith("_") and _own(value, module)]
    found = {}
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            found[name] = f"{value.__module__}.{value.__qualname__}"
    return found


def studied() -> dict[str, str]:
    """What the modules of `minicnn.study` define, those that end users call."""
    found: dict[str, str] = {}
    for name in STUDY:
        module = importlib.import_module(f"minicnn.study.{name}")
        found |= {f"{name}.{member}": target for member, target in members(module).items()}
    return found


STUDY = (
    "recording",
    "figures",
    "subject",
    "bench",
    "check_operations",
    "roofline",
    "layers",
    "machine",
    "peak",
)  # modules


def _own(value: Any, module: ModuleType) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
