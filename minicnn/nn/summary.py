"""A table of a network: output shapes, parameters and multiply-adds of each layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.nn.conv import Conv2d, ConvTranspose2d
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module


@dataclass
class LayerRow:
    """One layer of a summary."""

    path: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    trainable: int
    multiply_adds: int


@dataclass
class Summary:
    """What `summary` found; printed, a table."""

    input_shape: tuple[int, ...]
    layers: list[LayerRow] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0

    @property
    def multiply_adds(self) -> int:
        """Products of one forward pass, each with its addition."""
        return sum(row.multiply_adds for row in self.layers)

    def __str__(self) -> str:
        head = f"{'layer':28} {'kind':18} {'output':>20} {'parameters':>12} {'multiply-adds':>15}"
        rows = [
            f"{row.path:28} {row.kind:18} {row.output!s:>20} {row.parameters:12,} {row.multiply_adds:15,}"
            for row in self.layers
        ]
        total = [
            f"input {self.input_shape}",
            f"{self.parameters:,} parameters, {self.trainable:,} of them trainable",
            f"{self.multiply_adds:,} multiply-adds",
        ]
        return "\n".join([head, "-" * len(head), *rows, "-" * len(head), *total])


def summary(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """Run one forward pass on zeros and note every layer without children.

    Parameters
    ----------
    model : Module
    input_shape : tuple
        With the batch axis: (1, 3, 224, 224).

    Returns
    -------
    Summary
    """
    result = Summary(tuple(input_shape))
    removers = []
    for path, module in model.named_modules():
        if not any(True for _ in module.children()):
            removers.append(module.register_forward_hook(_note(result, path)))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    try:
        with no_grad():
            model(Tensor(np.zeros(input_shape, dtype)))
    finally:
        for remove in removers:
            remove()
        for module, mode in modes.items():
            object.__setattr__(module, "training", mode)
    result.parameters = sum(p.numel() for p in model.parameters())
    result.trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return result


def _note(result: Summary, path: str) -> Any:
    def note(module: Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        own = list(module.parameters())
        result.layers.append(
            LayerRow(
                path or type(module).__name__,
                type(module).__name__,
                output.shape,
                sum(p.numel() for p in own),
                sum(p.numel() for p in own if p.requires_grad),
                _multiply_adds(module, inputs, output),
            )
        )

    return note


def _multiply_adds(module: Module, inputs: tuple[Any, ...], output: Tensor) -> int:
    """Each output of a convolution or a linear layer is a sum over one slice of the weight.

    Of a transposed convolution each input is multiplied by one slice (that some of it may be cut off is not counted).
    """
    if isinstance(module, (Conv2d, Linear)):
        return output.numel() * int(np.prod(module.weight.shape[1:]))
    if isinstance(module, ConvTranspose2d):
        return inputs[0].numel() * int(np.prod(module.weight.shape[1:]))
    return 0
