"""Which part of a network learns: the head alone, everything, or everything after a named child.

What is meant is found by the network's own structure: the head is the last linear layer, and "before" is the order in
which the children are defined.
"""

from __future__ import annotations

import difflib

from minicnn import nn
from minicnn.errors import ArgumentError

RULE = "none, backbone, or until=NAME with NAME a child of the network"
BATCH_NORM = ("none", "statistics", "parameters", "all")  # what of batch norm can stay


def head_of(model: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the head: the last linear layer in the order of definition."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ArgumentError(
            "the network has no head", called=type(model).__name__, rule="a last layer nn.Linear that classifies"
        )
    return layers[-1]


def parse(freeze: str) -> str | None:
    """The name in "until=NAME"; None for "none" and "backbone"; anything else is an error."""
    if freeze in ("none", "backbone"):
        return None
    head, sign, name = freeze.partition("=")
    if head != "until" or not sign or not name:
        raise ArgumentError("freeze is not valid", called="freeze", seen=repr(freeze), rule=RULE)
    return name


def freeze(model: nn.Module, what: str) -> None:
    """Freeze parameters and running statistics of a part of a network.

    Parameters
    ----------
    model : Module
    what : str
        "none"; "backbone": all but the head; "until=layer3": the children up to `layer3`, itself included.
    """
    name = parse(what)
    if what == "backbone":
        model.freeze()
        head_of(model)[1].unfreeze()
    elif name is not None:
        children = dict(model.named_children())
        if name not in children:
            raise ArgumentError(
                f"no child is called {name!r}",
                called=f"freeze {what}",
                seen=type(model).__name__,
                rule=f"one of {', '.join(children)}",
                hint=_did_you_mean(name, list(children)),
            )
        for child, module in children.items():
            module.freeze()
            if child == name:
                break
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ArgumentError(
                "nothing is left to learn",
                called=f"freeze {what}",
                seen=f"{name} is the last child with parameters",
                rule="at least the head learns",
                hint="freeze backbone",
            )


def freeze_batch_norm(model: nn.Module, what: str) -> None:
    """Keep batch norm as the pretraining left it, while the other layers learn.

    The statistics of small batches are noisy; where the new images are like the old ones, the old statistics, of a
    million images, may serve better.

    Parameters
    ----------
    model : Module
    what : str
        "none"; "statistics": the running mean and variance stay, and are used in training too; "parameters": scale and
        shift stay; "all": both.
    """
    if what not in BATCH_NORM:
        raise ArgumentError(
            "freeze_bn is not valid", called="freeze_batch_norm", seen=repr(what), rule=" or ".join(BATCH_NORM)
        )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if what in ("statistics", "all"):
                module.frozen, module.training = True, False
            if what in ("parameters", "all"):
                module.requires_grad_(False)


def _did_you_mean(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names)
    return f"did you mean {' or '.join(near)}?" if near else ""
