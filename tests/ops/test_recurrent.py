"""rnn, lstm and gru: scalars by hand; loops against formula; gradients; the corner of ReLU; NaN; errors."""

from __future__ import annotations

from math import exp, tanh

import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import apply
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import gru, lstm, rnn
from minicnn.ops.registry import algorithm, operation

NAN = np.nan
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
ALGORITHMS = ("formula", "loops")
SHAPES = [(1, 1, 1, 1), (3, 5, 2, 7), (7, 2, 3, 33), (2, 0, 3, 4)]  # T, N, I, H


@pytest.fixture(params=ALGORITHMS)
def each_algorithm(request):
    with algorithm(**dict.fromkeys(GATES, request.param)):
        yield request.param


def drawn(name, shape, dtype=np.float64, seed=0, bias=True):
    """x, initial states, weights, biases."""
    steps, n, inputs, hidden = shape
    gates = GATES[name] * hidden
    shapes = [(steps, n, inputs), *[(n, hidden)] * (1 + (name == "lstm")), (gates, inputs), (gates, hidden)]
    rng = np.random.default_rng([seed, *shape])
    return [np.asarray(rng.standard_normal(s) / 2, dtype) for s in shapes + [(gates,), (gates,)] * bias]


def sigmoid(x):
    return 1 / (1 + exp(-x))


# ---- by hand --------------------------------------------------------------------------------------------------------


def column(*values):
    """Numbers as steps of one sequence with one feature, or as a weight."""
    return np.array(values, np.float64).reshape(-1, 1, 1)


def test_two_steps_of_relu_by_hand(each_algorithm):
    x, h0, w_ih, w_hh = column(1, 2), np.array([[8.0]]), np.array([[2.0]]), np.array([[0.5]])
    options = {"nonlinearity": "relu"}
    h = rnn.forward(x, h0, w_ih, w_hh, np.array([1.0]), np.array([-3.0]), **options)
    assert_close(h, column(4, 4))  # 2 + 4 - 2, then 4 + 2 - 2
    da, dh0 = rnn.grad_steps(column(100, 1), h, w_hh, **options)
    assert_close(da, column(100.5, 1))
    assert_close(dh0, np.array([[50.25]]))
    h = rnn.forward(x, h0, w_ih, w_hh, reverse=True, **options)
    assert_close(h, column(6, 8))  # 2 + 4; first 4 + 4
    da, dh0 = rnn.grad_steps(column(100, 1), h, w_hh, reverse=True, **options)
    assert_close(da, column(100, 51))
    assert_close(dh0, np.array([[25.5]]))


def test_the_gradient_at_the_corner_of_relu_is_zero(each_algorithm):
    x, zero = column(1, -1), np.array([[0.0]])
    h = rnn.forward(x, zero, np.array([[1.0]]), np.array([[1.0]]), nonlinearity="relu")
    assert_close(h, column(1, 0))  # the second step sits at the corner: 1 - 1
    da, dh0 = rnn.grad_steps(column(10, 1), h, np.array([[1.0]]), nonlinearity="relu")
    assert_close(da, column(10, 0))
    assert_close(dh0, np.array([[10.0]]))


def test_two_steps_of_each_by_hand(each_algorithm):
    """One unit, with the numbers of each gate apart."""
    x, (a, b, c, d) = column(0.5, -0.25), (0.3, -0.7, 1.1, 0.4)
    h0, c0 = 0.6, -0.2

    def given(*values):
        return np.array(values, np.float64).reshape(-1, 1)

    h, found = h0, rnn.forward(x, given(h0), given(a), given(b), np.array([c]), np.array([d]))
    for t, u in enumerate((0.5, -0.25)):
        h = tanh(a * u + c + b * h + d)
        assert_close(found[t, 0, 0], np.float64(h))

    w_ih, w_hh, b_ih, b_hh = [a, b, c, d], [d, c, b, -a], [0.1, 0.2, -0.3, 0.4], [0.5, -0.6, 0.7, 0.8]
    weights = given(*w_ih), given(*w_hh), np.array(b_ih), np.array(b_hh)
    (states, _), h, cell = lstm.forward(x, given(h0), given(c0), *weights), h0, c0
    for t, u in enumerate((0.5, -0.25)):
        i, f, g, o = (w_ih[k] * u + b_ih[k] + w_hh[k] * h + b_hh[k] for k in range(4))
        cell = sigmoid(f) * cell + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(cell)
        assert_close(states[:, t, 0, 0], np.array([h, cell]))

    (found, _), h = gru.forward(x, given(h0), *(w[:3] for w in weights)), h0
    for t, u in enumerate((0.5, -0.25)):
        r, z = (sigmoid(w_ih[k] * u + b_ih[k] + w_hh[k] * h + b_hh[k]) for k in range(2))
        n = tanh(w_ih[2] * u + b_ih[2] + r * (w_hh[2] * h + b_hh[2]))
        h = (1 - z) * n + z * h
        assert_close(found[t, 0, 0], np.float64(h))


# ---- algorithms and gradients ---------------------------------------------------------------------------------------


def run(name, arrays, reverse, **options):
    """The result and all gradients, for a gradient drawn at random."""
    room = {"rnn": rnn, "lstm": lstm, "gru": gru}[name]
    y, saved = room.record((True,) * len(arrays), *arrays, reverse=reverse, **options)
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(y.dtype)
    needs = (True,) * len(arrays) + (False,) * (len(operation(name).inputs) - len(arrays))
    return [y, *(g for g in room.backward(needs, saved, dy) if g is not None)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", GATES)
def test_loops_equal_formula(name, dtype):
    for k, shape in enumerate(SHAPES):
        arrays = drawn(name, shape, dtype, bias=k % 2 == 0)
        if k == 1:
            arrays = [np.asfortranarray(a) for a in arrays]
        for reverse in (False, True):
            results = []
            for chosen in ALGORITHMS:
                with algorithm(**{name: chosen}):
                    results.append(run(name, arrays, reverse))
            assert len(results[0]) == 1 + len(arrays)
            for expected, found in zip(*results, strict=True):
                rtol = 1e-11 if dtype == np.float64 else 2e-5
                assert_close(found, expected, rtol=rtol, atol=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("name", GATES)
def test_gradients(each_algorithm, name):
    """Of every input, state and parameter; one step, one sequence, one unit; and both directions."""
    for k, shape in enumerate([(1, 2, 2, 3), (3, 1, 2, 1), (5, 2, 1, 2)]):
        assert gradcheck(lambda *t, r=k == 1: apply(name, *t, reverse=r), drawn(name, shape, seed=1, bias=k < 2))


def test_gradients_of_relu(each_algorithm):
    options = {"nonlinearity": "relu", "reverse": True}
    assert gradcheck(lambda *t: apply("rnn", *t, **options), drawn("rnn", (3, 2, 2, 3), seed=2))


@pytest.mark.parametrize("name", GATES)
def test_only_what_is_needed_is_computed_and_saved(name):
    room, arrays = {"rnn": rnn, "lstm": lstm, "gru": gru}[name], drawn(name, (3, 2, 2, 3))
    y, saved = room.record((False,) * len(arrays), *arrays)
    assert all(value is None for key, value in saved.items() if key != "options")
    for i in range(len(arrays)):
        needs = tuple(k == i for k in range(len(arrays)))
        y, saved = room.record(needs, *arrays)
        found = room.backward(needs, saved, np.ones_like(y))
        assert [g is not None for g in found] == list(needs)
        assert found[i].shape == arrays[i].shape
        assert (saved["w_ih"] is None) == (i != 0)


@pytest.mark.parametrize("kind", [*GATES, "relu"])
def test_nan_travels_along_its_own_sequence_only(each_algorithm, kind):
    name = "rnn" if kind == "relu" else kind
    options = {"nonlinearity": "relu"} if kind == "relu" else {}
    x, *others = drawn(name, (4, 5, 2, 3), np.float32)
    others[0] += 9  # so that a unit of ReLU is on
    x[2, 3, 0] = NAN
    h = run(name, [x, *others], False, **options)[0]
    h = h[0] if name == "lstm" else h
    expected = np.zeros(h.shape, bool)
    expected[2:, 3] = True
    assert (np.isnan(h) == expected).all()
    dx = run(name, [x, *others], False, **options)[1]
    assert np.isnan(dx[:3, 3]).all() or kind == "relu"  # whose derivative is 0 or 1 even at NaN
    assert not np.isnan(np.delete(dx, 3, axis=1)).any()


# ---- errors ---------------------------------------------------------------------------------------------------------

X, H0, W_IH, W_HH = np.zeros((3, 2, 4)), np.zeros((2, 5)), np.zeros((5, 4)), np.zeros((5, 5))
B = np.zeros(5)
BAD = [
    (
        (X[:0], H0, W_IH, W_HH),
        {},
        ShapeError,
        "rnn: a sequence of length zero; seen x (0, 2, 4); rule: x: (T, N",
    ),
    ((X[0], H0, W_IH, W_HH), {}, ShapeError, "rnn: x must have 3 axes; seen x (2, 4); rule: x: (T, N, I)"),
    (
        (X[:, :, :3], H0, W_IH, W_HH),
        {},
        ShapeError,
        "rnn: the features of x and w_ih differ; seen x (3, 2, 3), w_ih (5, 4); "
        "rule: x: (T, N, I), w_ih: (H, I); hint: give 4 features a step",
    ),
    (
        (X, H0[:1], W_IH, W_HH),
        {},
        ShapeError,
        "rnn: the initial state h0 does not fit; seen h0 (1, 5), x (3, 2, 4), w_hh (5, 5); rule: h0: (N, H), he",
    ),
    (
        (X, H0, W_IH[:4], W_HH),
        {},
        ShapeError,
        "rnn: w_ih does not fit w_hh; seen w_ih (4, 4), w_hh (5, 5);",
    ),
    ((X, H0, W_IH, W_HH[:4]), {}, ShapeError, "rnn: w_hh does not fit itself; seen w_hh (4, 5); rule: (H, H)"),
    ((X, H0, W_IH, W_HH, B), {}, ShapeError, "rnn: one bias is missing; rule: both b_ih and b_hh, or none"),
    (
        (X, H0, W_IH, W_HH, B, B[:4]),
        {},
        ShapeError,
        "rnn: b_hh does not fit w_ih; seen b_hh (4,), w_ih (5, 4);",
    ),
    ((X, H0.astype("f4"), W_IH, W_HH), {}, DTypeError, "rnn: x and h0 have different dtypes"),
    (
        (X, H0, W_IH, W_HH),
        {"nonlinearity": "sin"},
        ArgumentError,
        "rnn: nonlinearity is not valid; seen nonlinearity='sin'; rule: 'tanh' or 'relu'",
    ),
]


@pytest.mark.parametrize(("arrays", "options", "kind", "text"), BAD, ids=[text[5:50] for *_, text in BAD])
def test_errors(arrays, options, kind, text):
    with pytest.raises(kind) as caught:
        rnn.forward(*arrays, **options)
    assert str(caught.value).startswith(text)


def test_errors_of_gates_and_gradients():
    for call, text in [
        (
            lambda: lstm.forward(X, H0, H0[:, :4], np.zeros((20, 4)), np.zeros((20, 5))),
            "lstm: the initial state c0 do",
        ),
        (
            lambda: gru.forward(X, H0, np.zeros((20, 4)), np.zeros((20, 5))),
            "gru: w_hh does not fit itself; seen w_h",
        ),
        (
            lambda: rnn.grad_steps(np.zeros((3, 2, 4)), np.zeros((3, 2, 5)), W_HH),
            "rnn.grad_steps: dh does not have t",
        ),
        (lambda: rnn.grad_steps(H0, H0, W_HH), "rnn.grad_steps: h does not fit w_hh; seen h (2, 5), w_hh (5, 5)"),
        (
            lambda: lstm.grad_steps(*[np.zeros((2, 3, 2, 5))] * 2, np.zeros((3, 2, 15)), H0, np.zeros((20, 5))),
            "lstm.grad_steps: gates or c0 do not fit the states; seen gates (3, 2, 15), c0 (2, 5), states (2, 3, 2, 5)",
        ),
        (
            lambda: lstm.grad_steps(H0, H0, H0, H0, np.zeros((20, 5))),
            "lstm.grad_steps: states must hold h and c; seen",
        ),
        (
            lambda: gru.grad_steps(*[np.zeros((3, 2, 5))] * 2, np.zeros((3, 2, 15)), H0, np.zeros((15, 5))),
            "gru.grad_steps: gates or h0 do not fit h; seen gates (3, 2, 15), h0 (2, 5), h (3, 2, 5)",
        ),
    ]:
        with pytest.raises(ShapeError) as caught:
            call()
        assert str(caught.value).startswith(text)
