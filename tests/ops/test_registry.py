"""The registry of algorithms: list them, ask which fits, name one, add one's own and train a network with it."""

from __future__ import annotations

import threading

import determinism_work as work
import numba
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
from minicnn.ops.registry import OPERATIONS, Problem, operation

X, W = np.ones((2, 3, 5, 5)), np.full((4, 3, 3, 3), 0.5)
ON_CPU = ["winograd4", "winograd2", "direct", "im2col", "loops", "formula"]  # of conv2d
BUILT_IN = [*ON_CPU, *operation("conv2d").cuda]
THERE = f"hint: there are {', '.join(BUILT_IN)}"


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


def options(**changes) -> dict:
    """Options of a convolution as the passes get them."""
    return {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **changes}


@pytest.fixture
def fresh(monkeypatch):
    """conv2d's operation, which remembers no choice."""
    op = operation("conv2d")
    monkeypatch.setattr(op, "_choices", {})
    return op


def refused(text: str, call, *arguments, **options) -> None:
    with pytest.raises(AlgorithmError) as caught:
        call(*arguments, **options)
    assert str(caught.value) == text


# ---- list and ask ---------------------------------------------------------------------------------------------------


def test_list():
    assert minicnn.algorithms("conv2d") == BUILT_IN
    assert minicnn.algorithms("relu") == ["vector", "loops", "formula", "cuda"]
    every = minicnn.algorithms()
    assert list(every) == sorted(OPERATIONS)
    assert every["conv2d"] == BUILT_IN


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_has_a_formula_and_every_algorithm_all_passes(name):
    op = operation(name)
    assert "formula" in op.algorithms
    assert op.formula
    for algorithm_name in op.algorithms:
        assert set(op.algorithm(algorithm_name).passes) == set(op.passes)


@pytest.mark.parametrize(
    ("pass_name", "dtype", "padding", "compiled", "winograd", "mine"),
    [
        ("forward", np.float32, 1, "", "", ""),
        ("forward", np.float32, 0, "", "padding must be (1, 1)", ""),
        ("grad_bias", np.float64, 0, "", "", "it has no pass grad_bias"),
        ("forward", np.float16, 1, "dtype must be float32 or float64", "dtype must be float32 or float64", ""),
    ],
)
def test_supporting(calls, pass_name, dtype, padding, compiled, winograd, mine):
    op = operation("conv2d")
    problem = op.problem(pass_name, (X.astype(dtype), W.astype(dtype), None), options(padding=(padding, padding)))
    assert (problem.operation, problem.pass_name, problem.device) == ("conv2d", pass_name, "cpu")
    assert (problem.shapes, problem.dtype) == (((2, 3, 5, 5), (4, 3, 3, 3), None), dtype)
    found = op.supporting(problem)
    assert list(found) == [*BUILT_IN, "mine"]
    assert {found.pop(name) for name in ("winograd4", "winograd2")} == {winograd}
    on_gpu = {found.pop(name) for name in op.cuda}
    assert on_gpu in ({"arrays must live on the GPU"}, {"arrays must live on the GPU", f"it has no pass {pass_name}"})
    assert found == {"direct": compiled, "im2col": compiled, "loops": compiled, "formula": "", "mine": mine}
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
    with pytest.raises(
        AlgorithmError, match="no operation is named 'conv3d'; hint: there are adaptive_avg_pool2d, add"
    ):
        operation("conv3d")
    for call in (minicnn.algorithms, lambda name: minicnn.register_algorithm(name, "mine", forward=len)):
        with pytest.raises(AlgorithmError, match="no operation is named 'conv3d'"):
            call("conv3d")
    for names, text in [
        ({"conv2d": "fast"}, f"conv2d: no algorithm is named 'fast'; {THERE}"),
        ({"relu": "formula", "conv2d": ""}, f"conv2d: no algorithm is named ''; {THERE}"),
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


# ---- the cheapest ----------------------------------------------------------------------------------------------------


def cheap(monkeypatch, op, *names) -> list:
    """These cost 1, 2, ..., all others 100; returns the list of (name, problem) that are asked for."""
    asked = []

    def cost(name, problem):
        asked.append((name, problem))
        return float(names.index(name) + 1) if name in names else 100.0

    monkeypatch.setattr(op, "cost", cost)
    return asked


@pytest.mark.parametrize("name", ON_CPU)
def test_the_cheapest_runs_wherever_it_stands_in_the_list(name, fresh, monkeypatch):
    cheap(monkeypatch, fresh, name)
    with work.passes_that_run() as seen:
        conv2d.forward(X, W, padding=1)
    assert {chosen for _, chosen, _ in seen} == {name}


def test_the_cheapest_that_fits_runs_and_others_are_not_asked_for_a_cost(fresh, monkeypatch):
    asked = cheap(monkeypatch, fresh, "winograd4", "winograd2", "loops", "im2col")
    assert ran() == {"loops"}
    assert {name for name, _ in asked} == {"direct", "im2col", "loops", "formula"}
    with minicnn.algorithm(conv2d="formula"):
        assert ran() == {"formula"}
    assert fresh.pick(fresh.problem("forward", (X.astype(np.float16), W), options())).name == "formula"


def test_a_choice_is_remembered_for_the_same_problem(fresh, monkeypatch):
    asked = cheap(monkeypatch, fresh, "loops")
    x, w = X.astype(np.float32), W.astype(np.float32)
    dy = np.ones((2, 4, 3, 3))
    calls = [
        lambda: conv2d.forward(X, W),
        lambda: conv2d.forward(x, w),  # another dtype
        lambda: conv2d.forward(X[:1], W),  # another shape
        lambda: conv2d.forward(X, W, np.zeros(4)),  # with a bias
        lambda: conv2d.forward(X, W, padding=1),  # other options
        lambda: conv2d.grad_input(dy, W, X.shape),  # other passes
        lambda: conv2d.grad_weight(dy, X, W.shape),
    ]
    for call in calls:
        before = len(asked)
        call()
        assert len(asked) > before
    before = len(asked)
    cheap(monkeypatch, fresh, "formula")  # too late for these problems
    with work.passes_that_run() as seen:
        for call in calls:
            call()
    assert {name for _, name, _ in seen} == {"loops"}
    assert len(asked) == before


def test_one_s_own_is_neither_asked_for_a_cost_nor_chosen(calls, fresh, monkeypatch):
    asked = cheap(monkeypatch, fresh, "mine", "loops")
    assert ran() == {"loops"}
    assert "mine" not in {name for name, _ in asked}
    assert calls == []


def test_without_a_cost_the_first_that_fits_runs(fresh, monkeypatch):
    monkeypatch.setattr(fresh, "cost", None)
    assert ran() == {"direct"}
    assert fresh.choose(fresh.problem("forward", (X, W, None), options(padding=(1, 1)))) == "winograd4"
    assert fresh.choose(fresh.problem("forward", (X, W, None), options(groups=3))) == "im2col"


def shaped(pass_name, x, w, dtype=np.float32, **changes) -> Problem:
    """A problem of conv2d by its shapes; y has the size of x."""
    o, y = options(**changes), (x[0], w[0], *x[2:])
    shapes = {"forward": (x, w, None), "grad_input": (y, w), "grad_weight": (y, x)}[pass_name]
    extra = {"forward": {}, "grad_input": {"x_shape": x}, "grad_weight": {"w_shape": w}}[pass_name]
    return Problem("conv2d", pass_name, shapes, np.dtype(dtype), "cpu", {**extra, **o})


LAYERS = [
    ((n, c, size, size), (c, c, 3, 3), {"padding": (1, 1)})
    for n in (1, 8, 32)
    for c, size in ((8, 5), (16, 32), (64, 56), (64, 8), (128, 28), (256, 14), (512, 7))
]


@pytest.mark.parametrize("pass_name", ["forward", "grad_input", "grad_weight"])
def test_what_the_model_of_convolution_chooses(pass_name):
    op = operation("conv2d")
    assert op.choose(shaped(pass_name, (8, 64, 56, 56), (64, 64, 3, 3), padding=(1, 1))) == "winograd4"
    assert op.choose(shaped(pass_name, (8, 64, 56, 56), (64, 64, 1, 1))) == "direct"
    assert op.choose(shaped(pass_name, (8, 64, 56, 56), (64, 64, 5, 5), padding=(2, 2))) == "direct"
    assert op.choose(shaped(pass_name, (8, 64, 9, 9), (64, 32, 3, 3), padding=(1, 1), groups=2)) == "im2col"
    for x, w, o in LAYERS:
        problem = shaped(pass_name, x, w, **o)
        assert not op.algorithm(op.choose(problem)).broken_rule(problem)
        assert op.choose(shaped(pass_name, x, w, np.float64, **o)) == "im2col"


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_a_choice_does_not_follow_the_number_of_threads():
    """Another algorithm means other bits."""
    op = operation("conv2d")
    problems = [shaped(p, x, w, **o) for p in ("forward", "grad_input", "grad_weight") for x, w, o in LAYERS]
    found = []
    for count in (1, 2):
        with work.threads(count):
            found.append([[op.cost(name, problem) for name in BUILT_IN] for problem in problems])
    assert found[0] == found[1]


# ---- one's own ------------------------------------------------------------------------------------------------------


def test_an_own_algorithm_runs_only_where_it_is_named(calls):
    assert minicnn.algorithms("conv2d") == [*BUILT_IN, "mine"]
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
    with work.passes_that_run() as seen:
        losses, state = train()
    unnamed = {(name, pass_name) for op, name, pass_name in seen if op == "conv2d"}
    assert calls == []
    with minicnn.algorithm(conv2d="mine"), work.passes_that_run() as seen:
        own_losses, own_state = train()
    assert calls == [(24, 1, 8, 8), (24, 4, 8, 8)] * 12
    ran_now = {(name, pass_name) for op, name, pass_name in seen if op == "conv2d"}
    assert {(name, p) for name, p in ran_now if name == "mine"} == {("mine", "forward")}
    assert {p for _, p in ran_now} == set(operation("conv2d").passes)
    assert ran_now - {("mine", "forward")} == {(name, p) for name, p in unnamed if p != "forward"}
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
    assert str(caught.value).endswith("rule: images of at most 4 rows; hint: direct, im2col, loops, formula would do")


def test_nothing_would_do(fresh, monkeypatch):
    """Only an own algorithm supports the problem: without its name the error lists what each one says."""
    x, w = X.astype(np.float16), W.astype(np.float16)
    monkeypatch.setattr(fresh, "algorithms", ("direct", "im2col", "loops"))
    rule = "dtype must be float32 or float64"
    seen = "seen shapes ((2, 3, 5, 5), (4, 3, 3, 3), None), float16, cpu"
    each = "; ".join(f"{name}: {rule}" for name in fresh.algorithms)
    text = f"conv2d.forward: no algorithm supports this problem; {seen}; rule: {each}"
    refused(text, conv2d.forward, x, w)
    assert fresh._choices == {}
    minicnn.register_algorithm("conv2d", "mine", forward=formula.forward)
    refused(f"{text}; mine: ", conv2d.forward, x, w)


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


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_algorithms_are_not_replaced(name):
    text = f"conv2d: {name!r} is built in; hint: choose another name"
    refused(text, minicnn.register_algorithm, "conv2d", name, forward=lambda *_, **__: 1 / 0)
    if name in ON_CPU:
        with minicnn.algorithm(conv2d=name):
            assert_close(conv2d.forward(X, W, padding=1)[:, :, 1:-1, 1:-1], np.full((2, 4, 3, 3), 13.5))
    refused(f"conv2d: {name!r} is not an algorithm of your own", minicnn.unregister_algorithm, "conv2d", name)


def test_unregister(calls):
    with minicnn.algorithm(conv2d="mine"):
        minicnn.unregister_algorithm("conv2d", "mine")
        text = f"conv2d: no algorithm is named 'mine'; {THERE}"
        refused(text, conv2d.forward, X, W)
    assert minicnn.algorithms("conv2d") == BUILT_IN
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
