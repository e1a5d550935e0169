"""The layers of `minicnn.training.compiled`: Keras's names and arguments, made into modules of `nn`.

A layer is told the shape of one input, without the batch axis, when the network is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minicnn import nn
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.windows import pair

Shape = tuple[int, ...]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Layer:
    """Base of the layers."""

    input_shape: Shape | None = None

    def modules(self, shape: Shape) -> list[nn.Module]:
        """The modules for inputs of this shape."""
        raise ArgumentError("this layer makes nothing", called=type(self).__name__)


@dataclass(frozen=True)
class Conv2D(Layer):
    """`nn.Conv2d` with `filters` outputs, and an activation. `padding`: "valid" (none) or "same" (strides of 1)."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    activation: str | None = None
    input_shape: Shape | None = None

    def modules(self, shape: Shape) -> list[nn.Module]:
        """Convolution, activation."""
        _check_images("Conv2D", shape)
        size = pair(self.kernel_size, "kernel_size", "Conv2D", least=1)
        strides = pair(self.strides, "strides", "Conv2D", least=1)
        if self.padding not in ("valid", "same"):
            raise ArgumentError(
                "padding is not valid", called="Conv2D", seen=repr(self.padding), rule="'valid' or 'same'"
            )
        if self.padding == "same" and (strides != (1, 1) or not all(side % 2 for side in size)):
            seen = f"kernel_size={size}, strides={strides}"
            raise ArgumentError("no padding='same' here", called="Conv2D", seen=seen, rule="odd kernels, strides of 1")
        around = (size[0] // 2, size[1] // 2) if self.padding == "same" else 0
        convolution = nn.Conv2d(shape[0], self.filters, size, strides, around)
        return [convolution, *_activation("Conv2D", self.activation)]


@dataclass(frozen=True)
class MaxPooling2D(Layer):
    """`nn.MaxPool2d`; strides are the pool size unless given."""

    pool_size: Any = 2
    strides: Any = None
    input_shape: Shape | None = None

    def modules(self, shape: Shape) -> list[nn.Module]:
        """Max pooling."""
        _check_images("MaxPooling2D", shape)
        return [nn.MaxPool2d(self.pool_size, self.strides)]


@dataclass(frozen=True)
class AveragePooling2D(Layer):
    """`nn.AvgPool2d`; strides are the pool size unless given."""

    pool_size: Any = 2
    strides: Any = None
    input_shape: Shape | None = None

    def modules(self, shape: Shape) -> list[nn.Module]:
        """Average pooling."""
        _check_images("AveragePooling2D", shape)
        return [nn.AvgPool2d(self.pool_size, self.strides)]


@dataclass(frozen=True)
class Flatten(Layer):
    """`nn.Flatten`."""

    input_shape: Shape | None = None

    def modules(self, shape: Shape) -> list[nn.Module]:
        """All axes but the batch's become one."""
        return [nn.Flatten()]


@dataclass(frozen=True)
class Dropout(Layer):
    """`nn.Dropout`."""

    rate: float
    input_shape: Shape | None = None

    def modules(self, shape: Shape) -> list[nn.Module]:
        """Dropout."""
        return [nn.Dropout(self.rate)]


@dataclass(frozen=True)
class Dense(Layer):
    """`nn.Linear` with `units` outputs, and an activation; "softmax" in the last layer only."""

    units: int
    activation: str | None = None
    input_shape: Shape | None = None

    def modules(self, shape: Shape) -> list[nn.Module]:
        """Linear layer, activation."""
        if len(shape) != 1:
            raise ShapeError(
                "Dense takes vectors",
                called="Dense",
                seen=f"inputs {shape}",
                rule="(features,)",
                hint="Flatten() before it",
            )
        return [nn.Linear(shape[0], self.units), *_activation("Dense", self.activation)]


def _activation(called: str, name: str | None) -> list[nn.Module]:
    if name in (None, "linear"):
        return []
    if name == "softmax":
        return [nn.Softmax(1)]
    if name not in ACTIVATIONS:
        rule = f"one of {', '.join(ACTIVATIONS)}, softmax, linear"
        raise ArgumentError("unknown activation", called=called, seen=repr(name), rule=rule)
    return [ACTIVATIONS[name]()]


def _check_images(called: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise ShapeError("not images", called=called, seen=f"inputs {shape}", rule="(C, H, W)")
