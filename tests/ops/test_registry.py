"""The registry of algorithms: list them, ask which fits, name one, add one's own and train a network with it."""

from __future__ import annotations

import threading

import determinism_work as work
import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import manual_seed, nn, optim
from minicnn.autograd import Tensor, apply
from minicnn.errors import AlgorithmError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import conv2d, max_pool2d
from minicnn.ops.conv2d import formula
from minicnn.ops.registry import OPERATIONS, operation

X, W = np.ones((2, 3, 5, 5)), np.full((4, 3, 3, 3), 0.5)


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    before = {name: op.names() for name, op in OPERATIONS.items()}
    yield
    for name, op in OPERATIONS.items():
        for own in [own for own in op.names() if own not in before[name]]:
            minicnn.unregister_algorithm(name, own)


@pytest.fixture
def calls():
    """Registers "mine" for conv2d, only forward, equal to formula; returns the list of the shapes it is called with."""
    seen = []

    def forward(x, w, b, **options):
        seen.append(x.shape)
        return formula.forward(x, w, b, **options)

    minicnn.register_algorithm("conv2d", "mine", forward=forward)
    return seen


def ran() -> set[str]:
    """Algorithms that run a forward pass of conv2d here."""
    with work.passes_that_run() as seen:
        conv2d.forward(X, W)
    return {name for _, name, _ in seen}


def refused(text: str, call, *arguments, **options) -> None:
    with pytest.raises(AlgorithmError) as caught:
        call(*arguments, **options)
    assert str(caught.value) == text


# ---- list and ask ---------------------------------------------------------------------------------------------------


def test_list():
    assert minicnn.algorithms("conv2d") == ["im2col", "loops", "formula"]
    assert minicnn.algorithms("relu") == ["vector", "loops", "formula"]
    every = minicnn.algorithms()
    assert list(every) == sorted(OPERATIONS)
    assert every["conv2d"] == ["im2col", "loops", "formula"]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_has_a_formula_and_every_algorithm_all_passes(name):
    op = operation(name)
    assert "formula" in op.algorithms
    assert op.formula
    for algorithm_name in op.algorithms:
        assert set(op.algorithm(algorithm_name).passes) == set(op.passes)


@pytest.mark.parametrize(
    ("pass_name", "dtype", "compiled", "mine"),
    [
        ("forward", np.float32, "", ""),
        ("grad_bias", np.float64, "", "it has no pass grad_bias"),
        ("forward", np.float16, "dtype must be float32 or float64", ""),
    ],
)
def test_supporting(calls, pass_name, dtype, compiled, mine):
    op = operation("conv2d")
    problem = op.problem(pass_name, (X.astype(dtype), W.astype(dtype), None), {"stride": (1, 1)})
    assert (problem.operation, problem.pass_name, problem.device) == ("conv2d", pass_name, "cpu")
    assert (problem.shapes, problem.dtype) == (((2, 3, 5, 5), (4, 3, 3, 3), None), dtype)
    assert op.supporting(problem) == {"im2col": compiled, "loops": compiled, "formula": "", "mine": mine}
    assert calls == []


# ---- name one -------------------------------------------------------------------------------------------------------


def test_naming_nested():
    assert ran() == {"im2col"}
    with minicnn.algorithm(conv2d="loops"):
        assert ran() == {"loops"}
        with minicnn.algorithm(relu="formula"):
            assert ran() == {"loops"}
            with minicnn.algorithm(conv2d="formula", relu="loops"):
                assert ran() == {"formula"}
            assert ran() == {"loops"}
        assert ran() == {"loops"}
    assert ran() == {"im2col"}


def test_naming_ends_with_an_exception_and_with_a_decorated_function():
    with pytest.raises(KeyError), minicnn.algorithm(conv2d="loops"):
        raise KeyError
    assert ran() == {"im2col"}
    assert minicnn.algorithm(conv2d="loops")(ran)() == {"loops"}
    assert ran() == {"im2col"}


def test_backward_passes_follow_the_name():
    x = Tensor(X, requires_grad=True)
    y = apply("conv2d", x, Tensor(W, requires_grad=True), Tensor(np.zeros(4), requires_grad=True))
    with work.passes_that_run() as seen, minicnn.algorithm(conv2d="loops"):
        y.backward(y.array)
    assert seen == {("conv2d", "loops", f"grad_{name}") for name in ("input", "weight", "bias")}


def test_threads_do_not_see_each_others_names():
    found = {}

    def run(key):
        found[key] = ran()

    def run_with_a_name(key, ready, go):
        with minicnn.algorithm(conv2d="formula"):
            ready.set()
            go.wait(10)
            found[key] = ran()

    ready, go = threading.Event(), threading.Event()
    with minicnn.algorithm(conv2d="loops"):
        plain = threading.Thread(target=run, args=("plain",))
        plain.start()
        plain.join()
        named = threading.Thread(target=run_with_a_name, args=("named", ready, go))
        named.start()
        assert ready.wait(10)
        run("here")
        go.set()
        named.join()
    assert found == {"plain": {"im2col"}, "named": {"formula"}, "here": {"loops"}}


def test_unknown_names():
    there = "hint: there are winograd4, winograd2, direct, im2col, loops, formula"
    with pytest.raises(
        AlgorithmError, match="no operation is named 'conv3d'; hint: there are adaptive_avg_pool2d, add"
    ):
        operation("conv3d")
    for call in (minicnn.algorithms, lambda name: minicnn.register_algorithm(name, "mine", forward=len)):
        with pytest.raises(AlgorithmError, match="no operation is named 'conv3d'"):
            call("conv3d")
    for names, text in [
        ({"conv2d": "fast"}, f"conv2d: no algorithm is named 'fast'; {there}"),
        ({"relu": "formula", "conv2d": ""}, f"conv2d: no algorithm is named ''; {there}"),
    ]:
        refused(text, minicnn.algorithm(**names).__enter__)
    with pytest.raises(AlgorithmError, match="no operation is named 'conv3d'"), minicnn.algorithm(conv3d="loops"):
        pass
    assert ran() == {"im2col"}


def test_a_named_algorithm_that_does_not_support_the_problem():
    x, w = X.astype(np.float16), W.astype(np.float16)
    seen = (
        "seen shapes ((2, 3, 5, 5), (4, 3, 3, 3), None), float16, cpu, "
        "{'stride': (1, 1), 'padding': (0, 0), 'dilation': (1, 1), 'groups': 1}"
    )
    with minicnn.algorithm(conv2d="loops"):
        refused(
            f"conv2d.forward: algorithm 'loops' does not support this problem; {seen}; "
            "rule: dtype must be float32 or float64; hint: formula would do",
            conv2d.forward,
            x,
            w,
        )
    assert_close(conv2d.forward(x, w), np.full((2, 4, 3, 3), 13.5, np.float16))


# ---- one's own ------------------------------------------------------------------------------------------------------


def test_an_own_algorithm_runs_only_where_it_is_named(calls):
    assert minicnn.algorithms("conv2d") == ["im2col", "loops", "formula", "mine"]
    assert_close(conv2d.forward(X, W), np.full((2, 4, 3, 3), 13.5))
    assert calls == []
    with minicnn.algorithm(conv2d="mine"):
        assert_close(conv2d.forward(X, W), np.full((2, 4, 3, 3), 13.5))
    assert calls == [X.shape]


def train(steps: int = 12) -> tuple[list[float], dict[str, np.ndarray]]:
    """A small network on random images whose label is the quadrant that was made brighter."""
    manual_seed(3)
    rng = np.random.default_rng(3)
    labels = np.arange(24) % 4
    images = rng.standard_normal((24, 1, 8, 8)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[0, label // 2 * 4 :, label % 2 * 4 :][:4, :4] += 2
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 4),
    )
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(Tensor(images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


def test_a_network_trains_with_an_own_forward_and_the_missing_passes_run_as_without_naming(calls):
    losses, state = train()
    assert calls == []
    with minicnn.algorithm(conv2d="mine"), work.passes_that_run() as seen:
        own_losses, own_state = train()
    assert calls == [(24, 1, 8, 8), (24, 4, 8, 8)] * 12
    assert {(name, pass_name) for op, name, pass_name in seen if op == "conv2d"} == {
        ("mine", "forward"),
        ("im2col", "grad_input"),
        ("im2col", "grad_weight"),
        ("im2col", "grad_bias"),
    }
    assert own_losses[-1] < 0.5 * own_losses[0]
    assert_close(np.array(own_losses), np.array(losses), rtol=1e-4)
    for name, value in own_state.items():
        assert_close(value, state[name], rtol=1e-3)


def test_it_is_really_the_own_pass_that_trains():
    """An own gradient of zero: the kernels stay as they were drawn, and all else learns."""
    minicnn.register_algorithm("conv2d", "lazy", grad_weight=lambda dy, x, w_shape, **_: np.zeros(w_shape, x.dtype))
    _, drawn = train(0)
    with minicnn.algorithm(conv2d="lazy"):
        _, state = train()
    unchanged = {name for name in state if np.array_equal(state[name], drawn[name])}
    assert unchanged == {"0.weight", "2.weight"}


@pytest.mark.parametrize("case", work.CASES)
def test_every_operation_takes_its_formula_as_ones_own(case):
    """All passes; results that are single numbers, several arrays or views of the input included."""
    name = case.split()[0]
    passes = operation(name).algorithm("formula").passes
    minicnn.register_algorithm(name, "own formula", **passes)
    with minicnn.algorithm(**{name: "formula"}):
        expected = work.run_operation(case)
    with minicnn.algorithm(**{name: "own formula"}), work.passes_that_run() as seen:
        found = work.run_operation(case)
    assert work.digest(found) == work.digest(expected)
    assert {chosen for op, chosen, _ in seen if op == name} == {"own formula"}


def test_results_of_another_form_are_refused():
    def own(make):
        minicnn.register_algorithm("conv2d", "mine", forward=lambda x, w, b, **_: make(x))

    y = np.zeros((2, 4, 3, 3))
    for result, seen in [
        (y[:, :, :2], "(2, 4, 2, 3) float64"),
        (y.transpose(0, 2, 3, 1), "(2, 3, 3, 4) float64"),
        (y.astype(np.float32), "(2, 4, 3, 3) float32"),
        (np.float64(0), "() float64"),
        (y.tolist(), "list"),
        (None, "NoneType"),
        (Tensor(y), "Tensor"),
        ((y, y), "(2, 4, 3, 3) float64, (2, 4, 3, 3) float64"),
        ((), "()"),
    ]:
        own(lambda _, result=result: result)
        text = "conv2d.forward: the result of your algorithm 'mine' has the wrong form; "
        with minicnn.algorithm(conv2d="mine"):
            refused(f"{text}seen {seen}; rule: an array (2, 4, 3, 3), float64", conv2d.forward, X, W)
    own(lambda _: y)
    with minicnn.algorithm(conv2d="mine"):
        assert conv2d.forward(X, W) is y


def test_a_gradient_of_another_form_is_refused():
    minicnn.register_algorithm("conv2d", "mine", grad_weight=lambda dy, x, **_: np.zeros((4, 3, 3)))
    model = nn.Conv2d(3, 4, 3)
    loss = model(Tensor(X.astype(np.float32))).sum()
    text = "conv2d.grad_weight: the result of your algorithm 'mine' has the wrong form; seen (4, 3, 3) float64; "
    with minicnn.algorithm(conv2d="mine"):
        refused(f"{text}rule: an array (4, 3, 3, 3), float32", loss.backward)


def test_all_results_of_a_pass_are_looked_at():
    """Max pooling gives the maxima and where they stand: with the maxima alone, two images would pass for both."""
    y = np.zeros((2, 3, 2, 2))
    for result in (y, (y, np.zeros((2, 3, 2, 1), np.int64)), (y, y.astype(np.float32)), (y, y, y)):
        minicnn.register_algorithm("max_pool2d", "mine", forward=lambda x, result=result, **_: result)
        with (
            minicnn.algorithm(max_pool2d="mine"),
            pytest.raises(AlgorithmError, match=r"rule: an array \(2, 3, 2, 2\) and an array \(2, 3, 2, 2\), float64"),
        ):
            max_pool2d.forward(X, kernel_size=2)


def test_own_supports():
    def supports(problem):
        return "" if problem.shapes[0][2] <= 4 else "images of at most 4 rows"

    minicnn.register_algorithm("conv2d", "small", supports=supports, forward=formula.forward)
    with minicnn.algorithm(conv2d="small"):
        assert conv2d.forward(X[:, :, :4], W).shape == (2, 4, 2, 3)
        with pytest.raises(AlgorithmError) as caught:
            conv2d.forward(X, W)
        conv2d.grad_bias(X)  # a pass that it lacks is no matter of its rules
    assert "conv2d.forward: algorithm 'small' does not support this problem" in str(caught.value)
    assert str(caught.value).endswith("rule: images of at most 4 rows; hint: winograd4, winograd2, direct, im2col, loops, formula would do")


def test_nothing_would_do():
    """Only an own algorithm supports the problem: without its name the error lists what each one says."""
    x, w = X.astype(np.float16), W.astype(np.float16)
    op = operation("conv2d")
    all_algorithms, op.algorithms = op.algorithms, ("im2col", "loops")
    try:
        rule = "dtype must be float32 or float64"
        seen = "seen shapes ((2, 3, 5, 5), (4, 3, 3, 3), None), float16, cpu"
        text = f"conv2d.forward: no algorithm supports this problem; {seen}; rule: im2col: {rule}; loops: {rule}"
        refused(text, conv2d.forward, x, w)
    finally:
        op.algorithms = all_algorithms


@pytest.mark.parametrize("answer", [True, False, None, 0])
def test_supports_must_answer_with_a_text(answer):
    minicnn.register_algorithm("conv2d", "mine", supports=lambda problem: answer, forward=formula.forward)
    with minicnn.algorithm(conv2d="mine"):
        refused(
            f"conv2d: supports of algorithm 'mine' does not answer with a text; seen {answer}; "
            'rule: "" for a problem that it supports, else the rule that the problem breaks',
            conv2d.forward,
            X,
            W,
        )


def test_registering_again_replaces(calls):
    minicnn.register_algorithm("conv2d", "mine", forward=lambda x, w, b, **_: np.full((2, 4, 3, 3), 7.0))
    assert minicnn.algorithms("conv2d").count("mine") == 1
    with minicnn.algorithm(conv2d="mine"):
        assert conv2d.forward(X, W)[0, 0, 0, 0] == 7
    assert calls == []


@pytest.mark.parametrize("name", ["formula", "loops", "im2col"])
def test_built_in_algorithms_are_not_replaced(name):
    text = f"conv2d: {name!r} is built in; hint: choose another name"
    refused(text, minicnn.register_algorithm, "conv2d", name, forward=lambda *_, **__: 1 / 0)
    with minicnn.algorithm(conv2d=name):
        assert_close(conv2d.forward(X, W), np.full((2, 4, 3, 3), 13.5))
    refused(f"conv2d: {name!r} is not an algorithm of your own", minicnn.unregister_algorithm, "conv2d", name)


def test_unregister(calls):
    with minicnn.algorithm(conv2d="mine"):
        minicnn.unregister_algorithm("conv2d", "mine")
        text = "conv2d: no algorithm is named 'mine'; hint: there are winograd4, winograd2, direct, im2col, loops, formula"
        refused(text, conv2d.forward, X, W)
    assert minicnn.algorithms("conv2d") == ["im2col", "loops", "formula"]
    refused("conv2d: 'mine' is not an algorithm of your own", minicnn.unregister_algorithm, "conv2d", "mine")
    refused(text, minicnn.algorithm(conv2d="mine").__enter__)


def test_what_is_not_an_algorithm():
    called = "register_algorithm('conv2d', 'mine'): "
    rule = "rule: passes of conv2d: forward, grad_input, grad_weight, grad_bias"
    head = f"{called}an algorithm needs functions named as the operation's passes"
    refused(f"{head}; seen no pass; {rule}", minicnn.register_algorithm, "conv2d", "mine")
    refused(
        f"{head}; seen backward, forward; {rule}",
        minicnn.register_algorithm,
        "conv2d",
        "mine",
        forward=len,
        backward=len,
    )
    refused(f"{called}forward is not a function", minicnn.register_algorithm, "conv2d", "mine", forward=3)
    assert "mine" not in minicnn.algorithms("conv2d")
