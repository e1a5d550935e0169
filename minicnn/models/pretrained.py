"""Building a network from a weights file: the file says which network, the report says what was loaded."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

from minicnn import weights as weight_files
from minicnn.errors import WeightsError
from minicnn.nn import Module


def load_pretrained(
    architecture: str,
    build: Callable[..., Module],
    source: str | PathLike,
    given: dict[str, Any] | None = None,
    head: str = "fc",
) -> Any:
    """Build a network as the weights file describes it and load the weights.

    Parameters
    ----------
    architecture : str
        The name that the file must carry.
    build : callable
        Takes the architecture's arguments (`num_classes`, `width`, `stem`), returns the module.
    source : path or name of embedded weights
    given : dict
        Arguments that the caller fixed; they go before the file's.
    head : str
        The last layer. If its shape differs from the file's it stays as initialised, which the report calls "replaced".

    Returns
    -------
    Module
        With `load_report` and `weights_info`.
    """
    path = weight_files.find(source)
    info = weight_files.describe(path)
    if info.architecture != architecture:
        raise WeightsError(
            "these weights are for another architecture",
            called=str(path),
            seen=info.architecture,
            rule=architecture,
            hint=f"use models.{info.architecture}(weights=...)",
        )
    model = build(**{**info.arguments, **(given or {})})
    model.load_report = weight_files.load(model, path, head=(f"{head}.",))
    model.weights_info = info
    return model
