"""Recurrent layers: the formulas that are shown, and paths from an input through all steps to the loss."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compare import assert_close
from one_operation import run_of

import minicnn
from minicnn import nn
from minicnn.ops.registry import operation
from minicnn.study.explain import explain_chain, explain_recording, recorded
from minicnn.study.explain.asked import Asked
from minicnn.study.explain.tangents import tangents

WIDTHS = {"rnn": 2, "lstm": 8, "gru": 6}
CASES = [("rnn", {}), ("rnn", {"nonlinearity": "relu", "reverse": True}), ("lstm", {}), ("gru", {"reverse": True})]


def run_through(kind, options):
    """Four steps of two sequences of three numbers, two hidden units, in float64; with a ReLU no biases."""
    rng, width = np.random.default_rng(0), WIDTHS[kind]
    states = [(2, 2)] * (2 if kind == "lstm" else 1)
    others = [rng.standard_normal(shape) for shape in (*states, (width, 3), (width, 2), (width,), (width,))]
    if "nonlinearity" in options:
        others[-2:] = [None, None]
    with minicnn.algorithm(**{kind: "formula"}):
        return run_of(kind, rng.standard_normal((4, 2, 3)), others, options)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_every_output_moves_as_its_tangent_says(kind, options):
    """Against the slope of a straight line through two near points."""
    step = (run := run_through(kind, options)).steps[0]
    arrays = [None if tensor is None else tensor.array for tensor in step.inputs]
    rng, small = np.random.default_rng(1), 1e-6
    for k, name in enumerate(step.names):
        if arrays[k] is None:
            continue
        index = tuple(int(rng.integers(size)) for size in arrays[k].shape)
        ends = []
        for sign in (1, -1):
            moved = [None if array is None else array.copy() for array in arrays]
            moved[k][index] += sign * small
            with minicnn.algorithm(**{kind: "formula"}):
                ends.append(operation(kind).record((False,) * len(moved), *moved, **options)[0])
        slope = (ends[0] - ends[1]) / (2 * small)
        assert_close(tangents(Asked(run, step, f"grad {name}", index)), slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_chain_goes_through_a_recurrent_layer(kind):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(nn, kind)(3, 2, bidirectional=True)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.rnn(x)[0][-1])

    minicnn.manual_seed(0)
    run = recorded(Last(), np.random.default_rng(0).standard_normal((5, 1, 3)).astype(np.float32), np.array([1]))
    for start, at in (("images", (1, 0, 2)), ("rnn.weight_hh_l0", (1, 1)), ("rnn.bias_ih_l0_reverse", (0,))):
        chain = explain_chain(run, at, start)
        assert (chain.links[0].layer, chain.links[-1].operation) == ("rnn", "cross_entropy")
        assert_close(chain.product, np.prod([link.local for link in chain.links]))
        assert 0 < abs(chain.share) < 100
    assert "rnn (" in str(chain)


FORMULAS = [
    ("gru", "y", (1, 0, 1), "h[1,0,1] = (1 − z[1,0,1]) · n[1,0,1] + z[1,0,1] · h[0,0,1]"),
    ("gru", "y", (0, 0, 1), "h[0,0,1] = (1 − z[0,0,1]) · n[0,0,1] + z[0,0,1] · h0[0,1]"),
    ("gru", "y n", (1, 0, 1), "n[1,0,1] = tanh(a_n[1,0,1])"),
    (
        "gru",
        "y z a_z",
        (1, 0, 1),
        "Σ_(i=0..2) x[1,0,i] · w_ih[3,i] + b_ih[3] + Σ_(k=0..1) h[0,0,k] · w_hh[3,k] + b_hh[3]",
    ),
    ("gru", "y n a_n", (1, 0, 1), "Σ_(i=0..2) x[1,0,i] · w_ih[5,i] + b_ih[5] + r[1,0,1] · u_n[1,0,1]"),
    ("gru", "y n u_n", (1, 0, 1), "u_n[1,0,1] = Σ_(k=0..1) h[0,0,k] · w_hh[5,k] + b_hh[5]"),
    ("gru", "x", (1, 0, 2), "dx[1,0,2] = Σ_(g=0..5) da[1,0,g] · w_ih[g,2]"),
    ("gru", "w_ih", (4, 1), "dw_ih[4,1] = Σ_(t=0..3, n=0..1) da[t,n,4] · x[t,n,1]"),
    ("gru", "w_hh", (4, 1), "dw_hh[4,1] = Σ_(t=0..3, n=0..1) du[t,n,4] · h[t−1,n,1]"),
    ("gru", "b_ih", (4,), "db_ih[4] = Σ_(t=0..3, n=0..1) da[t,n,4]"),
    ("gru", "b_hh", (4,), "db_hh[4] = Σ_(t=0..3, n=0..1) du[t,n,4]"),
    ("gru", "h0", (1, 0), "dh0[1,0] = Σ_(g=0..5) du[0,1,g] · w_hh[g,0] + Dh[0,1,0] · z[0,1,0]"),
    ("gru", "h0 Dh", (1, 0), "Dh[0,1,0] = dh[0,1,0] + Σ_(g=0..5) du[1,1,g] · w_hh[g,0] + Dh[1,1,0] · z[1,1,0]"),
    ("lstm", "y", (0, 2, 1, 0), "h[2,1,0] = o[2,1,0] · tanh(c[2,1,0])"),
    ("lstm", "y", (1, 0, 1, 0), "c[0,1,0] = f[0,1,0] · c0[1,0] + i[0,1,0] · g[0,1,0]"),
    ("lstm", "c0", (1, 0), "dc0[1,0] = Dc[0,1,0] · f[0,1,0]"),
    ("lstm", "c0 Dc", (1, 0), "dc[0,1,0] + Dh[0,1,0] · o[0,1,0] · (1 − tanh(c[0,1,0])^2) + Dc[1,1,0] · f[1,1,0]"),
    ("rnn", "h0 da Dh", (0, 0), "Dh[0,0,"),
]


@pytest.mark.parametrize(("kind", "which", "at", "wanted"), FORMULAS, ids=lambda value: str(value)[:12])
def test_formulas_have_their_indices_filled_in(kind, which, at, wanted):
    quantity, *parts = which.split()
    found = explain_recording(run_through(kind, {}), at=at, grad=None if quantity == "y" else quantity, step=0)
    for part in parts:
        found = found.part(part)
    assert wanted in found.formula.text
    assert not re.search(r"[\[,][0-9]", found.general.text)  # and the one in letters has none


BACK = "Dh[t,n,j] = dh[t,n,j] + Σ_(g) da[t+1,n,g] · w_hh[g,j]"
INPUT = "Σ_(i) x[t,n,i] · w_ih[g,i] + b_ih[g] + Σ_(k) h[t+1,n,k] · w_hh[g,k] + b_hh[g]"


@pytest.mark.parametrize(
    ("kind", "which", "reverse", "wanted"),
    [
        ("rnn", "h0 da Dh", False, BACK),
        ("lstm", "h0 da Dc Dh", False, BACK),
        ("gru", "h0 Dh", False, BACK.replace("da", "du") + " + Dh[t+1,n,j] · z[t+1,n,j]"),
        ("gru", "h0 Dh", True, BACK.replace("da[t+1", "du[t−1") + " + Dh[t−1,n,j] · z[t−1,n,j]"),
        ("gru", "y z a_z", True, f"a_z[t,n,j] = {INPUT}"),
        ("rnn", "y a", True, f"a[t,n,j] = {INPUT.replace('g,', 'j,').replace('[g]', '[j]')}"),
        ("gru", "y", True, "h[t,n,j] = (1 − z[t,n,j]) · n[t,n,j] + z[t,n,j] · h[t+1,n,j]"),
    ],
)
def test_formulas_in_letters(kind, which, reverse, wanted):
    quantity, *parts = which.split()
    run = run_through(kind, {"reverse": reverse})
    found = explain_recording(run, grad=None if quantity == "y" else quantity, step=0)
    for part in parts:
        found = found.part(part)
    assert found.general.text == wanted


def test_a_sequence_that_is_read_from_its_end():
    run = run_through("gru", {"reverse": True})
    found = [explain_recording(run, at=(t, 0, 1), step=0) for t in (1, 3)]
    assert [one.formula.text.rsplit(" ", 1)[1] for one in found] == ["h[2,0,1]", "h0[0,1]"]
    assert found[0].words.startswith("step 1 of 0..3; x: images")


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_that_the_run_did_not_keep(kind):
    minicnn.manual_seed(0)
    with minicnn.no_grad():
        run = recorded(getattr(nn, kind)(3, 2), np.ones((4, 1, 3), np.float32))
    step = next(step for step in run.steps if step.operation.name == kind.lower())
    assert not step.saved
    assert all(part.engine is not None for part in explain_recording(run, step=step).parts)


def test_a_cell_in_letters():
    found = explain_recording(run_through("lstm", {"reverse": True}), at=(1, 0, 0, 0), step=0)
    assert found.general.text == "c[t,n,j] = f[t,n,j] · c[t+1,n,j] + i[t,n,j] · g[t,n,j]"


SLOPES = {
    "r": "Dh[t,n,j] · (1 − z) · (1 − n²) · u_n · r · (1 − r)",
    "z": "Dh[t,n,j] · (h_before − n) · z · (1 − z)",
    "n": "Dh[t,n,j] · (1 − z) · (1 − n²)",
    "i": "Dc[t,n,j] · g · i · (1 − i)",
    "f": "Dc[t,n,j] · c_before · f · (1 − f)",
    "g": "Dc[t,n,j] · i · (1 − g²)",
    "o": "Dh[t,n,j] · tanh(c) · o · (1 − o)",
}


@pytest.mark.parametrize(("kind", "gates"), [("gru", "rzn"), ("lstm", "ifgo")])
@pytest.mark.parametrize("name", ["b_ih", "b_hh"])
def test_the_gradient_before_each_gate(kind, gates, name):
    """Through time the gradient of a bias has a part for each gate: its formula, and factors that make the engine's."""
    run = run_through(kind, {})
    symbol = "du" if (kind, name) == ("gru", "b_hh") else "da"
    for k, gate in enumerate(gates):
        part = explain_recording(run, at=(2 * k,), grad=name, step=0).part(symbol)
        extra = " · r" if (symbol, gate) == ("du", "n") else ""
        assert part.general.text == f"{symbol}_{gate}[t,n,j] = {SLOPES[gate]}{extra}"
        assert_close(part.total, np.prod([factor.value for factor in part.terms[0].factors]))
        assert_close(part.total, part.engine, rtol=1e-12)
