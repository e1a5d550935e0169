"""Recurrent layers: both ways through time, gradients, names, bad input. (PyTorch's answers: tests/parity.)"""

from __future__ import annotations

import re

import determinism_work as work
import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.errors import MinicnnError
from minicnn.gradcheck import gradcheck

KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def draw(*shape, dtype=np.float64):
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def results(layer, x):
    """Output, states, and gradients of the input and of all parameters."""
    x = Tensor(x, requires_grad=True)
    layer.zero_grad()
    output, state = layer(x)
    states = list(state) if isinstance(state, tuple) else [state]
    total = sum((y * Tensor(draw(*y.shape))).sum() for y in [output, *states])
    total.backward()
    return [t.array for t in (output, *states, x.grad, *(p.grad for p in layer.parameters()))]


@pytest.mark.parametrize("name", KINDS)
def test_the_tape_and_the_operation_agree(name):
    minicnn.manual_seed(3)
    layer = KINDS[name](3, 5, 2, batch_first=True, bidirectional=True).double()
    x = draw(4, 6, 3)
    found = []
    for chosen in ("loops", "formula"):
        with minicnn.algorithm(**{name: chosen}), work.passes_that_run() as seen:
            found.append(results(layer, x))
        assert {(name, chosen, p) for p in ("forward", "grad_steps")} <= seen
    layer.by_tape = True
    with work.passes_that_run() as seen:
        found.append(results(layer, x))
    assert name not in {operation for operation, *_ in seen}
    for arrays in found[1:]:
        for a, b in zip(arrays, found[0], strict=True):
            assert_close(a, b, rtol=1e-12)


def test_gradients_of_two_layers_in_two_directions():
    layer = nn.GRU(2, 2, 2, bidirectional=True).double()
    assert gradcheck(
        lambda x, h: layer(x, h), [draw(3, 2, 2), draw(4, 2, 2)], parameters=dict(layer.named_parameters())
    )


def test_a_cell_is_one_step():
    for name, layer in KINDS.items():
        whole = layer(3, 4)
        cell = getattr(nn, f"{name.upper()}Cell")(3, 4)
        cell.load_state_dict({key.removesuffix("_l0"): value for key, value in whole.state_dict().items()})
        x, state = draw(3, 2, 3, dtype=np.float32), None
        for step in x:
            state = cell(Tensor(step), state)
        final = whole(Tensor(x))[1]
        pairs = zip(state, final, strict=True) if name == "lstm" else [(state, final)]
        for a, b in pairs:
            assert_close(a.array, b.array[0], rtol=1e-6)


def test_names_settings_and_an_empty_batch():
    layer = nn.LSTM(3, 4, 2, bias=False, bidirectional=True)
    assert list(layer.state_dict()) == [
        f"weight_{part}_l{k}{end}" for k in (0, 1) for end in ("", "_reverse") for part in ("ih", "hh")
    ]
    assert repr(layer.extra_repr()) == "'3, 4, num_layers=2, bidirectional=True, bias=False'"
    output, (h, c) = layer(Tensor(np.zeros((5, 0, 3), np.float32)))
    assert (output.shape, h.shape, c.shape) == ((5, 0, 8), (4, 0, 4), (4, 0, 4))
    with pytest.warns(UserWarning, match="dropout acts between layers"):
        nn.GRU(2, 2, dropout=0.1)


X = np.zeros((2, 6, 3), np.float32)
FIRST = {"batch_first": True}
BAD = [
    (lambda: nn.RNN(3, 4)(Tensor(X[:0])), "RNN: a sequence of length zero; seen x (0, 6, 3); rule: (length, batch, fe"),
    (lambda: nn.GRU(3, 4, **FIRST)(Tensor(X[:, :0])), "GRU: a sequence of length zero; seen x (2, 0, 3); rule: (batch"),
    (lambda: nn.LSTM(4, 4)(Tensor(X)), "LSTM: wrong number of features; seen x (2, 6, 3); rule: x: (length, batch, f"),
    (lambda: nn.RNN(3, 4)(Tensor(X[0, 0])), "RNN: x does not hold sequences; seen x (3,); rule: x: (length, batch, fe"),
    (
        lambda: nn.RNN(3, 4, 2)(Tensor(X), Tensor(X)),
        "RNN: the initial state h does not fit; seen h (2, 6, 3), x (2, 6, 3); "
        "rule: (layers * directions, batch, hidden), here (2, 6, 4)",
    ),
    (lambda: nn.LSTM(3, 4)(Tensor(X), Tensor(X)), "LSTM: hx does not fit; seen 1 states; rule: hx is the pair (h, c)"),
    (lambda: nn.RNN(3, 4)(Tensor(X), (1, 2)), "RNN: hx does not fit; seen 2 states; rule: hx is one tensor"),
    (lambda: nn.RNN(3, 4)(Tensor(X), X), "RNN: the initial state h is not a tensor; seen ndarray; rule: (layers"),
    (lambda: nn.RNN(3, 4).double()(Tensor(X)), "rnn: x and w_ih have different dtypes; seen x float32, w_ih float64"),
    (lambda: nn.RNN(0, 4), "RNN: input_size is not valid; seen input_size=0; rule: input_size >= 1"),
    (lambda: nn.GRU(3, 4, 1.5), "GRU: num_layers is not valid; seen num_layers=1.5; rule: num_layers >= 1"),
    (lambda: nn.LSTM(3, 4, 2, dropout=2), "LSTM: dropout is not a probability; seen dropout=2; rule: 0 <= dropout <="),
    (lambda: nn.RNN(3, 4, 2, "sin"), "RNN: nonlinearity is not valid; seen nonlinearity='sin'; rule: 'tanh' or 'relu'"),
    (lambda: nn.RNNCell(3, 4)(Tensor(X)), "RNNCell: the input does not fit; seen x (2, 6, 3); rule: x: (N, 3)"),
    (
        lambda: nn.GRUCell(3, 4)(Tensor(X[0]), Tensor(X[0])),
        "GRUCell: the initial state h does not fit; seen h (6,",
    ),
    (lambda: nn.LSTMCell(3, 4)(Tensor(X[0]), Tensor(X[0])), "LSTMCell: hx is not a pair; seen Tensor; rule: (h, c)"),
]


@pytest.mark.parametrize(("call", "text"), BAD, ids=[text[:48] for _, text in BAD])
def test_bad_input_is_one_clear_error(call, text):
    with pytest.raises(MinicnnError, match=f"^{re.escape(text)}") as caught:
        call()
    assert "\n" not in str(caught.value)
