"""One step of a recurrent network, as a composition of small operations, and the layers that make one step.

Here the tape does backpropagation through time by itself: a step is a few lines, and calling it T times records T times
as many nodes. The layers in `recurrent.py` run the same mathematics as one operation for the whole sequence
(`minicnn.ops.rnn`, `lstm`, `gru`), and can be told to use these steps instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.functions import zeros
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.ops.rnn import check_nonlinearity
from minicnn.ops.windows import is_whole

State = tuple[Tensor, ...]


def rnn_step(x: Tensor, state: State, *weights: Tensor | None, nonlinearity: str = "tanh") -> State:
    """h = s(x w_ih^T + b_ih + h w_hh^T + b_hh): from x (N, I) and (h,) (N, H) the next (h,)."""
    total = _of_input(x, *weights) + _of_state(state[0], *weights)
    return (F.tanh(total) if nonlinearity == "tanh" else F.relu(total),)


def lstm_step(x: Tensor, state: State, *weights: Tensor | None) -> State:
    """c = f c + i g, h = o tanh(c): from x (N, I) and (h, c) the next (h, c)."""
    total = _of_input(x, *weights) + _of_state(state[0], *weights)
    i, f, g, o = _blocks(total, 4)
    c = F.sigmoid(f) * state[1] + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(c), c


def gru_step(x: Tensor, state: State, *weights: Tensor | None) -> State:
    """h = (1 - z) n + z h, n = tanh(x part + r (h part)): from x (N, I) and (h,) the next (h,)."""
    (h,) = state
    a_r, a_z, a_n = _blocks(_of_input(x, *weights), 3)
    u_r, u_z, u_n = _blocks(_of_state(h, *weights), 3)
    r, z = F.sigmoid(a_r + u_r), F.sigmoid(a_z + u_z)
    n = F.tanh(a_n + r * u_n)
    return ((1.0 - z) * n + z * h,)


def _of_input(x: Tensor, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    return F.linear(x, w_ih, b_ih)


def _of_state(h: Tensor, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    return F.linear(h, w_hh, b_hh)


def _blocks(x: Tensor, many: int) -> list[Tensor]:
    wide = x.shape[1] // many
    return [x[:, i * wide : (i + 1) * wide] for i in range(many)]


def check_sizes(called: str, **sizes: Any) -> None:
    """Raise unless all are whole numbers >= 1."""
    for name, value in sizes.items():
        if not is_whole(value) or value < 1:
            raise ArgumentError(f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule=f"{name} >= 1")


def check_state(called: str, name: str, state: Any, shape: tuple[int, ...], like: Tensor, rule: str) -> None:
    """Raise unless it is a tensor of that shape; its dtype is checked by the operation."""
    if not isinstance(state, Tensor):
        raise DTypeError(
            f"the initial state {name} is not a tensor", called=called, seen=type(state).__name__, rule=rule
        )
    if state.shape != shape:
        seen = f"{name} {state.shape}, x {like.shape}"
        raise ShapeError(
            f"the initial state {name} does not fit", called=called, seen=seen, rule=f"{rule}, here {shape}"
        )


class _Cell(Module):
    """One step: `weight_ih: (gates * hidden, input)`, `weight_hh: (gates * hidden, hidden)` and two biases."""

    gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        for name, parameter in new_weights(self.gates, input_size, hidden_size, bias):
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values: uniform in +-1/sqrt(hidden_size)."""
        for parameter in self.parameters():
            init.fan_in_uniform_(parameter, self.hidden_size)

    def _weights(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _prepared(self, x: Tensor, states: tuple[Tensor, ...] | None, many: int) -> tuple[Tensor, State]:
        """The input and the states with a batch axis; zeros where no state is given."""
        called = type(self).__name__
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                "the input does not fit", called=called, seen=f"x {x.shape}", rule=f"x: (N, {self.input_size})"
            )
        shape = (*x.shape[:-1], self.hidden_size)
        if states is None:
            states = (zeros(shape, dtype=x.dtype).to(x.device),) * many
        for name, state in zip(("h", "c"), states, strict=False):
            check_state(called, name, state, shape, x, f"(N, {self.hidden_size})")
        if x.ndim == 2:
            return x, states
        return x.reshape(1, -1), tuple(state.reshape(1, -1) for state in states)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


def new_weights(gates: int, inputs: int, hidden: int, bias: bool) -> list[tuple[str, Parameter | None]]:
    """The parameters of one layer in one direction by name, uninitialised; None for biases that are not wanted."""
    shapes = {"weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, hidden)}
    made: list[tuple[str, Parameter | None]] = []
    for name, shape in (shapes | {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}).items():
        wanted = bias or not name.startswith("bias")
        made.append((name, Parameter(np.empty(shape, np.float32)) if wanted else None))
    return made


class RNNCell(_Cell):
    """One step of Elman's network: h = tanh(x w_ih^T + b_ih + h w_hh^T + b_hh), or relu (formula D4.3)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh") -> None:
        check_nonlinearity(nonlinearity, "RNNCell")
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        """(N, I) and (N, H) -> (N, H); zeros without `hx`; all without N for a single one."""
        given, state = self._prepared(x, None if hx is None else (hx,), 1)
        (h,) = rnn_step(given, state, *self._weights(), nonlinearity=self.nonlinearity)
        return h.reshape(*x.shape[:-1], self.hidden_size)


class LSTMCell(_Cell):
    """One step of an LSTM (`minicnn.ops.lstm`)."""

    gates = 4

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """(N, I) and (h, c), each (N, H) -> (h, c); zeros without `hx`; all without N for a single one."""
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise ArgumentError("hx is not a pair", called="LSTMCell", seen=type(hx).__name__, rule="(h, c)")
        given, state = self._prepared(x, hx, 2)
        h, c = lstm_step(given, state, *self._weights())
        shape = (*x.shape[:-1], self.hidden_size)
        return h.reshape(*shape), c.reshape(*shape)


class GRUCell(_Cell):
    """One step of a GRU (`minicnn.ops.gru`)."""

    gates = 3

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        """(N, I) and (N, H) -> (N, H); zeros without `hx`; all without N for a single one."""
        given, state = self._prepared(x, None if hx is None else (hx,), 1)
        (h,) = gru_step(given, state, *self._weights())
        return h.reshape(*x.shape[:-1], self.hidden_size)
