"""Which network a file of weights is of, by the names in it."""

from __future__ import annotations

import inspect
import os
from functools import cache
from typing import Any

from minicnn.errors import WeightsError
from minicnn.models.pretrained import LARGEST, Shape
from minicnn.nn import Module, init
from minicnn.weights.importers import Foreign
from minicnn.weights.importers.conventions import prepare
from minicnn.weights.importers.hdf5_tree import open_tree
from minicnn.weights.importers.plain_hdf5 import OWN
from minicnn.weights.importing import stranger
from minicnn.weights.kinds import first_bytes, kind_of
from minicnn.weights.matching import Match, match_names
from minicnn.weights.names import OPTIONAL


def is_home(path: str | os.PathLike[str]) -> bool:
    """Whether this is a weights file of minicnn, by its structure and its attributes; values are not read."""
    if kind_of(first_bytes(path)) != "hdf5":
        return False
    try:
        with open_tree(os.fspath(path)) as tree:  # the HDF5 library sees only files of sound structure
            return tree.attributes >= OWN
    except WeightsError:
        return False


def recognised(foreign: Foreign, called: str, prefix: str | None = None) -> str:
    """The architecture that the names in a file are of; raises unless it is one."""
    found = fitting(foreign, prefix)
    if len(found) == 1:
        return found[0]
    raise WeightsError(
        "the names in the file do not say which network they are of",
        called=called,
        seen=" or ".join(found) or ", ".join(list(foreign.arrays)[:4]),
        rule=f"one of {', '.join(LARGEST)}",
        hint="give the architecture (--arch)",
    )


def fitting(foreign: Foreign, prefix: str | None) -> list[str]:
    """Architectures all of whose names are in the file, and no others of their family; heads may be missing."""
    found = []
    for name in LARGEST:
        try:
            prepared = prepare(foreign, names_of(name)[0], "")
            match = match_of(prepared, name, "", prefix)
        except WeightsError:
            continue
        expected, heads = names_of(name)
        wanted = [x for x in expected if not x.endswith(OPTIONAL) and not x.startswith((*heads, "AuxLogits."))]
        if match.names.keys() >= set(wanted) and not stranger(prepared, match):
            found.append(name)
    return found


def match_of(foreign: Foreign, arch: str, called: str, prefix: str | None) -> Match:
    """Which names in the file stand for those of an architecture."""
    return match_names(
        foreign.arrays, list(names_of(arch)[0]), architecture=arch, layout=foreign.layout, prefix=prefix, called=called
    )


@cache
def names_of(arch: str) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """Names and shapes of a narrow network's parameters and buffers, and the beginnings of the names of its heads."""
    small = {"width": 2} if "width" in parameters_of(arch) else {}
    model = uninitialized(arch, small)
    return shapes_of(model), tuple(f"{head}." for head in model.heads)


def parameters_of(arch: str) -> list[str]:
    """Names of the arguments that say how large a network of this architecture is."""
    return list(inspect.signature(LARGEST[arch]).parameters)


def uninitialized(arch: str, arguments: dict[str, Any]) -> Any:
    """A network of this architecture, without values."""
    from minicnn.models import MODELS

    with init.uninitialized():
        return MODELS[arch](**arguments)


def shapes_of(model: Module) -> dict[str, Shape]:
    """Shape of each parameter and buffer; a state dict would copy the values, and so take memory for them."""
    return {name: tensor.shape for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
