"""The page as a widget in Jupyter, VS Code, Colab or marimo; anywidget is imported only here."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np

from minicnn.errors import MinicnnError, MissingPackageError
from minicnn.study.page import assets
from minicnn.study.page.numbers import Numbers


def explorer(numbers: Numbers) -> Any:
    """A widget that shows these numbers; the last line of a cell displays it.

    Parameters
    ----------
    numbers : Numbers

    Returns
    -------
    anywidget.AnyWidget

    Raises
    ------
    MissingPackageError
        If anywidget is not installed.
    """
    try:
        anywidget, traitlets = importlib.import_module("anywidget"), importlib.import_module("traitlets")
    except ImportError:
        raise MissingPackageError(
            "anywidget is not installed", called="explorer", hint="pip install minicnn[notebook], or anywidget"
        ) from None

    def on_message(widget: Any, content: Any, _buffers: Any) -> None:
        reply, data = answer(numbers, content)
        widget.send(reply, [data])

    made = type(
        "Explorer",
        (anywidget.AnyWidget,),
        {
            "_esm": assets.script(),
            "_css": assets.style(),
            "description": traitlets.Dict().tag(sync=True),
        },
    )
    widget = made(description=numbers.description)
    widget.on_msg(on_message)
    return widget


def answer(numbers: Numbers, content: Any) -> tuple[dict[str, Any], bytes]:
    """What a request of the page, `{id, key, ranges}`, gets: a reply, and the bytes of a block, or of JSON."""
    request = content if isinstance(content, dict) else {}
    number, key, ranges = request.get("id"), str(request.get("key")), request.get("ranges")
    try:
        if key.startswith("e"):
            told = numbers.explanation(key, [start for start, _ in ranges or ()])
            return {"id": number, "type": "json"}, json.dumps(told, allow_nan=False).encode()
        block = numbers.block(key, ranges)
    except (MinicnnError, TypeError, ValueError) as error:
        return {"id": number, "error": str(error)}, b""
    return {"id": number, "type": "int32" if block.dtype == np.int32 else block.dtype.name}, block.tobytes()
