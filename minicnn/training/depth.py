r"""A network by its depth: lower learning rates for lower layers, and layers that begin to learn one after the other.

Low layers see edges and colours, which serve any task; what is special to the old task stands above. So with
*discriminative learning rates* a stage d below the head has the rate

.. math:: \eta_d = \eta f^d, \qquad 0 < f \le 1

and with *gradual unfreezing* the head learns first, and then one stage after the other from above joins it (Howard,
Ruder: Universal Language Model Fine-tuning for Text Classification, 2018, sections 3.2 and 3.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.training.freezing import head_of

POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass
class Stage:
    """Layers of about one depth.

    Attributes
    ----------
    name : str
        Path of the first of them.
    modules : list of Module
    """

    name: str
    modules: list[nn.Module] = field(default_factory=list)

    @property
    def parameters(self) -> list[Tensor]:
        """Their parameters, in the order of definition."""
        return [parameter for module in self.modules for parameter in module.parameters()]


def stages(model: nn.Module) -> list[Stage]:
    """The stages of a network, the head first, the stem last.

    A stage is a child of the network that has parameters; a `Sequential` of plain layers (VGG's `features`) is opened
    and cut at its poolings. Norms go with the convolution before them. The first stage is the head, with the second
    head that Inception-v3 has.

    Parameters
    ----------
    model : Module

    Returns
    -------
    list of Stage
        ResNet: fc, layer4, layer3, layer2, layer1, conv1.
    """
    names = {head_of(model)[0], *getattr(model, "heads", ())}
    head = Stage(head_of(model)[0], [model.get_submodule(name) for name in sorted(names)])
    found: list[Stage] = []
    joins = False  # whether a convolution goes with the one before it
    for path, module, is_opened in _layers(model, ""):
        if isinstance(module, POOLINGS):
            joins = False
        elif any(True for _ in module.parameters()) and not any(module is top for top in head.modules):
            is_norm = isinstance(module, nn.BatchNorm2d)
            if found and (is_norm or (joins and isinstance(module, nn.Conv2d))):
                found[-1].modules.append(module)
            else:
                found.append(Stage(path, [module]))
            joins = is_opened and (joins if is_norm else isinstance(module, nn.Conv2d))
    return [head, *reversed(found)]


def _layers(model: nn.Module, prefix: str, is_opened: bool = False) -> list[tuple[str, nn.Module, bool]]:
    """Children in order, a `Sequential` of plain layers opened: (path, module, whether it stood in such)."""
    layers = []
    for name, child in model.named_children():
        path = f"{prefix}{name}"
        if isinstance(child, nn.Sequential) and not any(True for layer in child for _ in layer.children()):
            layers += _layers(child, f"{path}.", True)
        else:
            layers.append((path, child, is_opened or isinstance(model, nn.Sequential)))
    return layers


def parameter_groups(model: nn.Module, lr: float, factor: float) -> list[dict[str, Any]]:
    """Groups for an optimizer, the head's first: what learns of each stage, with its rate.

    Parameters
    ----------
    model : Module
        What does not learn (`requires_grad`) comes in no group.
    lr : float
        Of the head.
    factor : float
        0 < factor <= 1: the rate of a stage over that of the stage above it.

    Returns
    -------
    list of dict
        {"params": [...], "lr": lr * factor**d}
    """
    check_factor("parameter_groups", factor)
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    for depth, stage in enumerate(stages(model)):
        learning = [p for p in stage.parameters if p.requires_grad and id(p) not in seen]
        seen.update(map(id, learning))
        if learning:
            groups.append({"params": learning, "lr": lr * factor**depth})
    left = [p for p in model.parameters() if p.requires_grad and id(p) not in seen]
    if left:  # parameters of the network itself, in none of its children
        groups.append({"params": left, "lr": groups[-1]["lr"] if groups else lr})
    return groups


def check_factor(called: str, factor: Any) -> None:
    """Raise unless this is a factor from stage to stage."""
    is_number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
    if not is_number or not (0 < factor <= 1):
        raise ArgumentError(
            "the factor of the learning rates is not valid",
            called=called,
            seen=f"rates_by_depth={factor!r}",
            rule="0 < factor <= 1, from a stage to the one below it",
        )


def opening_epochs(many: int, epochs: int) -> list[int]:
    """For each of `many` stages, the head first, the epoch in which it begins to learn.

    The head begins in epoch 1, the others follow one after the other; after half of the epochs all learn. A training
    of one epoch learns all at once.
    """
    return [min(epochs, 1 + math.ceil(depth * epochs / (2 * many))) for depth in range(many)]


def close(model: nn.Module, epoch: int, epochs: int) -> list[str]:
    """Freeze the stages that do not learn yet in this epoch of a gradual unfreezing; returns their names.

    It depends on nothing but the number of the epoch, so that a training that goes on freezes the same.
    """
    found = stages(model)
    closed = [s for s, first in zip(found, opening_epochs(len(found), epochs), strict=True) if epoch < first]
    for stage in closed:
        for module in stage.modules:
            module.freeze()
    return [stage.name for stage in closed]
