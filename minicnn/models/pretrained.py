"""Making a network: new, or from a weights file, which says which network it is for; a report says what was loaded.

All functions of `minicnn.models` end in `make`; so heads, channels and sizes are changed in one way.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

from minicnn import weights as weight_files
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, MinicnnError, ShapeError, WeightsError
from minicnn.nn import Conv2d, Module
from minicnn.ops.windows import is_whole
from minicnn.weights.adaptation import adapted

Shape = tuple[int, ...]
LARGEST: dict[str, Callable[..., dict[str, Shape]]] = {}  # for each architecture: arguments to its largest weights
LEAST_SIZE: dict[str, int] = {}  # for each architecture that does not take images of any size: least height and width


def make(
    architecture: str,
    build: Callable[..., Module],
    weights: str | PathLike | None,
    *,
    heads: tuple[str, ...],
    input_size: int | None = None,
    **given: Any,
) -> Any:
    """A network with new values, or, with `weights`, as the file describes it and with what the file holds.

    Parameters
    ----------
    architecture : str
        The name that a file must carry.
    build : callable
        Takes the architecture's arguments (`num_classes`, `in_channels`, `width`, ...), returns the module.
    weights : path or name of embedded weights, optional
    heads : tuple of str
        The last layers. If one's shape differs from the file's, it stays as initialised ("replaced" in the report).
    input_size : int, optional
        Height and width of the images; with `weights`, `weights_info` follows it.
    given : dict
        Arguments that the caller fixed, others are None; they go before the file's.

    Returns
    -------
    Module
        With `load_report` and `weights_info` if it was made from a file.
    """
    given = {name: value for name, value in given.items() if value is not None}
    check_input_size(architecture, input_size)
    if weights is None:
        return build(**given)
    path = weight_files.find(weights)
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
    info = adapted(info, given.get("in_channels"), input_size)
    model: Any = build(**{**info.arguments, **given})
    model.load_report = load_into(model, path, heads)
    model.weights_info = info
    return model


def load_into(model: Module, path: str | PathLike, heads: tuple[str, ...]) -> weight_files.LoadReport:
    """Load a file into a network whose heads, and whose number of channels, may be others than the file's."""
    first = next((name for name, module in model.named_modules() if isinstance(module, Conv2d)), "")
    return weight_files.load(model, path, head=tuple(f"{head}." for head in heads), first=f"{first}.weight")


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


def check_input_size(architecture: str, input_size: int | None) -> None:
    """Raise unless a network takes images of this height and width; None: no size is asked for."""
    least = LEAST_SIZE.get(architecture, 1)
    if input_size is not None and not (is_whole(input_size) and input_size >= least):
        raise ArgumentError(
            "input_size is not valid",
            called=architecture,
            seen=f"input_size={input_size!r}",
            rule=f"a whole number, {least} or more",
        )


def check_whole(called: str, **values: Any) -> None:
    """Raise unless all these are whole numbers, 1 or more."""
    for name, value in values.items():
        if not is_whole(value) or value < 1:
            raise ArgumentError(
                f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule="a whole number, 1 or more"
            )


def check_images(called: str, x: Tensor, smallest: int, why: str = "") -> None:
    """Raise where images (N, C, H, W) are too small for a network; other errors are the first layer's."""
    if x.ndim == 4 and min(x.shape[2:]) < smallest:
        raise ShapeError(
            "the images are too small",
            called=called,
            seen=f"x {x.shape}",
            rule=f"height and width of at least {smallest}{why}",
            hint=f"Resize({smallest}) before it",
        )
