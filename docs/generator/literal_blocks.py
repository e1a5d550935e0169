"""An extension of griffe, which reads docstrings for mkdocstrings: all of them become Markdown."""

from __future__ import annotations

from typing import Any

import griffe

from generator.docstrings import as_markdown


class LiteralBlocks(griffe.Extension):
    """Docstrings as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
