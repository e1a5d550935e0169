"""Recurrent networks: `RNN`, `LSTM` and `GRU`, under PyTorch's names, arguments and shapes."""

from __future__ import annotations

import warnings
from typing import Any

from minicnn.autograd import Tensor, apply
from minicnn.errors import ArgumentError, ShapeError
from minicnn.functions import cat, zeros
from minicnn.nn import functional as F  # noqa: N812
from minicnn.nn import init
from minicnn.nn.module import Module
from minicnn.nn.recurrent_cells import State, check_sizes, check_state, gru_step, lstm_step, new_weights, rnn_step
from minicnn.ops.rnn import check_nonlinearity
from minicnn.ops.rnn.sequences import order


class _Recurrent(Module):
    """What the three share: several layers, two directions, initial states, dropout between layers.

    The parameters of layer k are `weight_ih_lk`, `weight_hh_lk`, `bias_ih_lk` and `bias_hh_lk`, with `_reverse` for the
    second direction; at first uniform in +-1/sqrt(hidden_size).

    Attributes
    ----------
    by_tape : bool
        False: backpropagation through time is an operation of its own. True: each step is recorded as a composition of
        small operations, to look at it on the tape; the same numbers, but for the last bits, and slower.
    """

    operation = ""
    gates = 1
    states: tuple[str, ...] = ("h",)
    by_tape = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        called = type(self).__name__
        check_sizes(called, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ArgumentError(
                "dropout is not a probability", called=called, seen=f"dropout={dropout!r}", rule="0 <= dropout <= 1"
            )
        if dropout and num_layers == 1:
            warnings.warn("dropout acts between layers, and there is one layer only", UserWarning, stacklevel=3)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self._ends = ["", "_reverse"] if bidirectional else [""]
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else hidden_size * len(self._ends)
            for end in self._ends:
                for name, parameter in new_weights(self.gates, inputs, hidden_size, bias):
                    self.register_parameter(f"{name}_l{layer}{end}", parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        for parameter in self.parameters():
            init.fan_in_uniform_(parameter, self.hidden_size)

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Run through sequences.

        Parameters
        ----------
        x : Tensor (T, N, input_size), (N, T, input_size) with `batch_first`, or one sequence (T, input_size)
        hx : Tensor (num_layers * directions, N, hidden_size), optional
            The states before the first step, zeros if left out; for an LSTM the pair (h, c); without N for one
            sequence.

        Returns
        -------
        output : Tensor (T, N, directions * hidden_size), or as x
            The states of the last layer after each step.
        hx : as the argument
            The states of all layers after the last step.
        """
        batched = self._check_input(x)
        sequence = x if batched else x.reshape(x.shape[0], 1, -1)
        if batched and self.batch_first:
            sequence = sequence.transpose(0, 1)
        initial = self._initial(x, hx, sequence.shape[1], batched)
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for end in self._ends:
                names = (f"{name}_l{layer}{end}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
                weights = [getattr(self, name) for name in names]
                run = self._by_tape if self.by_tape else self._fused
                output, state = run(sequence, tuple(s[len(last)] for s in initial), weights, bool(end))
                outputs.append(output)
                last.append(state)
            sequence = outputs[0] if len(outputs) == 1 else cat(outputs, 2)
            if self.dropout and layer < self.num_layers - 1:
                sequence = F.dropout(sequence, self.dropout, self.training)
        final = tuple(_stack([state[k] for state in last]) for k in range(len(self.states)))
        if not batched:
            sequence, final = sequence[:, 0], tuple(state[:, 0] for state in final)
        elif self.batch_first:
            sequence = sequence.transpose(0, 1)
        return sequence, final if len(final) > 1 else final[0]

    def _fused(self, x: Tensor, state: State, weights: list[Any], reverse: bool) -> tuple[Tensor, State]:
        """One layer in one direction, by one operation: the states after each step, and after the last."""
        y = apply(self.operation, x, *state, *weights, reverse=reverse, **self._options())
        end = 0 if reverse else -1
        if len(state) == 1:
            return y, (y[end],)
        return y[0], (y[0, end], y[1, end])

    def _by_tape(self, x: Tensor, state: State, weights: list[Any], reverse: bool) -> tuple[Tensor, State]:
        """The same, step by step."""
        outputs: list[Any] = [None] * len(x)
        for t in order(len(x), reverse):
            state = self._step(x[t], state, weights)
            outputs[t] = state[0]
        return _stack(outputs), state

    def _step(self, x: Tensor, state: State, weights: list[Any]) -> State:
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        return {}

    def _check_input(self, x: Tensor) -> bool:
        """Raise unless the sequences fit; whether there is a batch axis."""
        called = type(self).__name__
        axes = "(batch, length, features)" if self.batch_first else "(length, batch, features)"
        rule = f"x: {axes}, or (length, features) for one sequence; here {self.input_size} features"
        if x.ndim not in (2, 3):
            raise ShapeError("x does not hold sequences", called=called, seen=f"x {x.shape}", rule=rule)
        if x.shape[-1] != self.input_size:
            raise ShapeError("wrong number of features", called=called, seen=f"x {x.shape}", rule=rule)
        if x.shape[1 if self.batch_first and x.ndim == 3 else 0] == 0:
            raise ShapeError(
                "a sequence of length zero", called=called, seen=f"x {x.shape}", rule=f"{axes}, length >= 1"
            )
        return x.ndim == 3

    def _initial(self, x: Tensor, hx: Any, n: int, batched: bool) -> State:
        """The initial states with a batch axis, checked; zeros without `hx`."""
        called, many = type(self).__name__, self.num_layers * len(self._ends)
        if hx is None:
            return (zeros(many, n, self.hidden_size, dtype=x.dtype).to(x.device),) * len(self.states)
        given = hx if isinstance(hx, (tuple, list)) else (hx,)
        if len(given) != len(self.states):
            pair = "hx is the pair (h, c)" if len(self.states) > 1 else "hx is one tensor"
            raise ArgumentError("hx does not fit", called=called, seen=f"{len(given)} states", rule=pair)
        shape = (many, n, self.hidden_size) if batched else (many, self.hidden_size)
        for name, state in zip(self.states, given, strict=True):
            check_state(called, name, state, shape, x, "(layers * directions, batch, hidden)")
        return tuple(given) if batched else tuple(state.reshape(many, 1, -1) for state in given)

    def extra_repr(self) -> str:
        """Arguments."""
        changed = [f"num_layers={self.num_layers}"] if self.num_layers > 1 else []
        changed += [f"{name}=True" for name in ("batch_first", "bidirectional") if getattr(self, name)]
        changed += [] if self.bias else ["bias=False"]
        changed += [f"dropout={self.dropout}"] if self.dropout else []
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])


def _stack(states: list[Tensor]) -> Tensor:
    """(N, H) each -> (how many, N, H)."""
    rows = [state.reshape(1, *state.shape) for state in states]
    return rows[0] if len(rows) == 1 else cat(rows, 0)


class RNN(_Recurrent):
    """Elman's recurrent network (formula D4.3): h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu.

    Arguments as in PyTorch: `RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True,
    batch_first=False, dropout=0.0, bidirectional=False)`.
    """

    operation = "rnn"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        check_nonlinearity(nonlinearity, "RNN")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        self.nonlinearity = nonlinearity

    def _options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}

    def _step(self, x: Tensor, state: State, weights: list[Any]) -> State:
        return rnn_step(x, state, *weights, nonlinearity=self.nonlinearity)


class LSTM(_Recurrent):
    """Long short-term memory (`minicnn.ops.lstm`); `hx` is the pair (h, c)."""

    operation, gates, states = "lstm", 4, ("h", "c")

    def _step(self, x: Tensor, state: State, weights: list[Any]) -> State:
        return lstm_step(x, state, *weights)


class GRU(_Recurrent):
    """Gated recurrent units (`minicnn.ops.gru`)."""

    operation, gates = "gru", 3

    def _step(self, x: Tensor, state: State, weights: list[Any]) -> State:
        return gru_step(x, state, *weights)
