"""Building a network from a weights file: the file says which network, the report says what was loaded."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

from minicnn import weights as weight_files
from minicnn.errors import MinicnnError, WeightsError
from minicnn.nn import Module

Shape = tuple[int, ...]
LARGEST: dict[str, Callable[..., dict[str, Shape]]] = {}  # for each architecture: arguments to its largest weights


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
    check_arguments(path, info)
    model = build(**{**info.arguments, **(given or {})})
    model.load_report = weight_files.load(model, path, head=(f"{head}.",))
    model.weights_info = info
    return model


def check_arguments(path: str | PathLike, info: weight_files.WeightsInfo) -> None:
    """Raise unless the arguments that a file names are the architecture's, and fit the weights that it holds.

    A network is built from these arguments before its weights are loaded: a small file must not make us build a huge
    one. The largest weights of the network have to stand in the file, so that what is allocated stays near its size.
    """
    try:
        largest = LARGEST[info.architecture](**info.arguments)
    except (TypeError, MinicnnError) as error:
        raise WeightsError(
            f"the file's arguments are not those of {info.architecture}",
            called=str(path),
            seen=str(info.arguments),
            rule=str(error),
        ) from None
    found = weight_files.shapes(path)
    for name, shape in largest.items():
        if found.get(name) != shape:
            raise WeightsError(
                "the file's arguments do not fit its weights",
                called=str(path),
                seen=f"{info.arguments}, {name} {found.get(name, 'missing')}",
                rule=f"{name} {shape}",
            )
