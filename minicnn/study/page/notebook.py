"""The page in Jupyter, VS Code, Colab or marimo: as a widget that asks the kernel, or with its numbers in it.

    minicnn.explore(model, images, labels)                 # the last line of a cell
    minicnn.explore(model, images, labels, embed=True)     # for notebooks that are exported, or read without a kernel

anywidget is imported only here.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.errors import ArgumentError, MinicnnError, MissingPackageError
from minicnn.study.explain.explaining import recorded
from minicnn.study.page import assets
from minicnn.study.page.html import LIMIT, check_limit, self_contained
from minicnn.study.page.numbers import Numbers

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def explore(
    model: nn.Module,
    images: Any,
    labels: Any = None,
    *,
    classes: Iterable[str] = (),
    title: str = "",
    about: str = "",
    loss_function: Callable[[Any, Any], Any] | None = None,
    embed: bool = False,
    limit: float = LIMIT,
) -> Any:
    """Walk through a run of a network in a notebook: windows, products, sums, and all of it backwards.

    The network runs as it is, in training or evaluation mode, and is left as it was. Outside of notebooks,
    `minicnn explore` shows the same page.

    Parameters
    ----------
    model : Module
    images : array or Tensor (N, C, H, W), float
        Or whatever the network takes; the page shows the first image.
    labels : array (N,) of integers, optional
        What the loss is taken against; without them there is no way back. A variational autoencoder needs none.
    classes : sequence of str, optional
        Names of the classes.
    title, about : str, optional
        Two lines at the top; the title is the network's class unless another is given.
    loss_function : callable, optional
        `loss_function(output, labels)`; by default cross-entropy, or the loss of a variational autoencoder.
    embed : bool
        Put the numbers into the notebook's file rather than ask the kernel for them: what is saved or exported can
        still be walked through, and anywidget is not needed.
    limit : float
        With `embed`, the largest size in MB; the steps that do not fit are shown without their numbers.

    Returns
    -------
    anywidget.AnyWidget or Embedded
        The last line of a cell displays it.

    Raises
    ------
    ArgumentError, ShapeError
        Not a network, images or labels that do not fit it; with `embed`, not even one step fits into the limit.
    MissingPackageError
        If anywidget is not installed.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError("not a network", called="explore", seen=type(model).__name__, rule="an nn.Module")
    if embed:
        check_limit(limit)
    else:
        _anywidget()
    numbers = Numbers(
        recorded(model, images, labels, loss_function),
        classes,
        title=title or type(model).__name__,
        about=about,
    )
    return Embedded(numbers, limit) if embed else explorer(numbers)


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
    anywidget, traitlets = _anywidget()

    def on_message(widget: Any, content: Any, _buffers: Any) -> None:
        reply, data = answer(numbers, content)
        widget.send(reply, [data])

    def shown(widget: Any, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the notebook keeps: the widget's number, and for readers without widgets a line of text."""
        view = {"version_major": 2, "version_minor": 1, "model_id": widget.model_id}
        return {WIDGET_VIEW: view, "text/plain": repr(widget)}, {}

    steps = len(numbers.description["steps"])
    line = f"{numbers.title}, {steps} steps to walk through: run this cell (with embed=True they stay in the file)"
    made = type(
        "Explorer",
        (anywidget.AnyWidget,),
        {
            "__module__": __name__,
            "__repr__": lambda _: line,
            "_repr_mimebundle_": shown,
            "_esm": assets.script(),
            "_css": assets.style(),
            "description": traitlets.Dict().tag(sync=True),
        },
    )
    widget = made(description=numbers.description)
    widget.on_msg(on_message)
    return widget


class Embedded:
    """The page, with its numbers, as a frame in a notebook; no kernel and no package is needed to read it.

    Parameters
    ----------
    numbers : Numbers
    limit : float
        Largest size in MB.
    """

    def __init__(self, numbers: Numbers, limit: float = LIMIT) -> None:
        self.title = numbers.title
        self.page, self.held = self_contained(numbers, limit)

    def __repr__(self) -> str:
        return f"{self.title}, {self.held} steps to walk through, {len(self.page) / 1e6:.1f} MB"

    def _repr_html_(self) -> str:
        """A frame that may run its script, and nothing else."""
        return (
            f'<iframe sandbox="allow-scripts" title="{escape(self.title)}" srcdoc="{escape(self.page)}" '
            'style="width:100%;height:52rem;border:0"></iframe>'
        )


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


def _anywidget() -> tuple[Any, Any]:
    try:
        return importlib.import_module("anywidget"), importlib.import_module("traitlets")
    except ImportError:
        raise MissingPackageError(
            "anywidget is not installed",
            called="explore",
            hint="pip install minicnn[notebook], or anywidget; or embed=True, which needs neither",
        ) from None
