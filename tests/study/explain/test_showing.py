"""Explanations as text, HTML, JSON; what is folded; formulas in three ways of writing."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from one_operation import run_of

import minicnn
from minicnn import nn
from minicnn.errors import MismatchError
from minicnn.study.explain import Explanation, explain_recording, recorded
from minicnn.study.explain.notation import (
    affine,
    at,
    equals,
    frac,
    math,
    par,
    plus,
    power,
    prefixed,
    root,
    sum_over,
    times,
)
from minicnn.study.explain.terms import Terms, block, number


@pytest.fixture(scope="module")
def run():
    minicnn.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Flatten())
    images = np.random.default_rng(0).standard_normal((2, 2, 6, 6)).astype(np.float32)
    return recorded(model, images, np.array([1, 4]))


def test_a_folded_explanation_counts_the_rest(run):
    found = explain_recording(run, "0", at=(1, 0, 0))
    lines = found.text(most=4).splitlines()
    assert lines[0] == f"0: conv2d: y[0,1,0,0] = {found.engine:.9g}"
    assert "  10 terms lie in the padding and are 0" in lines
    rest = next(line for line in lines if "more terms" in line)
    assert rest.startswith("  5 more terms, none larger than ")  # of 19: 10 in the padding, 4 shown
    assert float(rest.split()[-1]) == pytest.approx(found.total, rel=1e-5)
    every = found.unfold()
    assert "more terms" not in every
    assert every.count("x[0,") == 18 + 1  # and once in the formula
    assert str(found.terms[0]) == "b[1]"
    shown = [abs(term.value) for term in found.largest(6)]
    assert shown == sorted(shown, reverse=True)


def test_the_formula_has_its_indices_filled_in(run):
    found = explain_recording(run, "0", at=(1, 4, 0))
    assert found.formula.text == "y[0,1,4,0] = b[1] + Σ_(c=0..1, r=0..2, s=0..2) x[0,c,3+r,−1+s] · w[1,c,r,s]"
    assert r"\sum_{c=0..1, r=0..2, s=0..2} x_{0,c,3+r,-1+s}" in found.formula.latex
    for step in run.steps:
        for name in (None, "y", *step.gradients()):
            shown = explain_recording(run, step=step, grad=name)
            for formula in (shown.general, shown.formula):
                ElementTree.fromstring(formula.as_mathml())
                assert formula.latex.count("{") == formula.latex.count("}")


def test_json_and_html_hold_all(run):
    found = explain_recording(run, "1", at=(1, 0, 0))
    answer = json.loads(json.dumps(found.as_dict()))
    assert answer["total"] == found.total
    assert [part["symbol"] for part in answer["parts"]] == ["mean", "var"]
    assert len(answer["parts"][0]["terms"]) == 72 == answer["parts"][0]["number_of_terms"]
    assert len(found.as_dict(5)["parts"][0]["terms"]) == 5
    factor = answer["parts"][0]["terms"][0]["factors"][0]
    assert (factor["name"], factor["index"], factor["source"]) == ("x", [0, 1, 0, 0], "output of 0")
    page = found._repr_html_()
    tree = ElementTree.fromstring(page)
    assert len(tree.findall(".//details")) >= 2
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/1998/Math/MathML", "")


def test_names_cannot_leave_their_place_in_a_page():
    model = nn.Sequential()
    model.register_module = None
    model._modules["<b onclick=x>"] = nn.Linear(2, 2)
    found = recorded(model, np.ones((1, 2), np.float32))
    page = explain_recording(found, "<b onclick=x>")._repr_html_()
    assert "<b onclick" not in page
    ElementTree.fromstring(page)


def test_winners_and_ties_are_named():
    x = np.array([[[[1, 3], [3, 2]]]], np.float32)
    found = nn.MaxPool2d(2).explain(x)
    assert [term.note for term in found.terms] == ["", "won", "tie: came later", ""]
    assert "1 more with the same value" in found.notes[-1]
    back = nn.MaxPool2d(2).explain(x, np.zeros(1), at=(0, 1, 0), grad="x", loss_function=lambda y, _: y.sum())
    assert [(term.value, term.note) for term in back.terms] == [(0, "lost to [0,1]")]


@pytest.mark.parametrize(
    ("dim", "at", "share", "note", "rule"),
    [
        ((0, 1), (0, 1), 1 / 3, "won", "3 largest share evenly"),
        ((0, 1), (0, 0), 0, "not the largest", "3 largest share evenly"),
        (1, (1, 0), 1, "won", "the first of the largest gets all"),
        (1, (1, 1), 0, "not the largest", "the first of the largest gets all"),
    ],
)
def test_who_gets_the_gradient_of_a_maximum(dim, at, share, note, rule):
    run = run_of("max", np.array([[1, 3], [3, 3]], np.float32), [], {"dim": dim})
    found = explain_recording(run, at=at, grad="x", step=0)
    assert (found.terms[0].factors[1].value, found.terms[0].note, found.notes) == (share, note, (rule,))
    assert found.engine == np.float32(found.terms[0].factors[0].value * share)
    candidates = explain_recording(run, at=(1,) if dim == 1 else (), step=0).terms
    assert [term.note for term in candidates] == ["largest" if term.value == 3 else "" for term in candidates]


@pytest.mark.parametrize(
    ("reduction", "y", "dt", "numbers"),
    [
        ("mean", "y = 1 / n · Σ_(i) (x[i] − t[i])^2", "−dy · 2 / n · (x[i] − t[i])", "(1 − 3)² / 2"),
        ("sum", "y = Σ_(i) (x[i] − t[i])^2", "−dy · 2 / n · (x[i] − t[i])", "(1 − 3)²"),
    ],
)
def test_the_squared_error_in_letters(reduction, y, dt, numbers):
    run = run_of("mse", np.ones(2, np.float32), [np.full(2, 3, np.float32)], {"reduction": reduction})
    found = explain_recording(run, step=0)
    assert (found.general.text, found.terms[0].numbers) == (y, numbers)
    back = explain_recording(run, step=0, grad="target")
    assert back.general.text == f"dtarget[i] = {dt}"
    assert str(back.terms[0]) == f"dy · {'-2/2' if reduction == 'mean' else '-2/1'} · (x − t)[0]"


def test_an_explanation_that_does_not_add_up_cannot_be_made():
    given = {"layer": "", "operation": "add", "step": 0, "quantity": "y", "symbol": "y", "index": (0,)}
    given |= {"general": math("y"), "formula": math("y"), "how": "sum", "dtype": "float32", "bound": 1e-6}
    terms = Terms([block("a", number("a", 1.0)), block("b", number("b", 2.0))])
    assert Explanation(**given, terms=terms, total=3.0, engine=3.0000005).agrees
    with pytest.raises(MismatchError, match="network: add: y\\[0\\]: the explanation does not give the engine's value"):
        Explanation(**given, terms=terms, total=3.0, engine=3.0001)
    with pytest.raises(MismatchError):
        Explanation(**given, terms=terms, total=float("nan"), engine=3.0)
    assert Explanation(**given, terms=terms, total=float("inf"), engine=float("inf")).difference == 0


def test_zero_has_no_sign():
    """0 · -1: the engine keeps -0, and nobody wants to read it."""
    found = explain_recording(run_of("mul", np.zeros((1, 1), np.float32), [-np.ones((1, 1), np.float32)], {}), step=0)
    assert np.signbit(found.engine)
    for shown in (str(found), repr(found), found._repr_html_()):
        assert "-0" not in shown


def test_nan_and_infinity_travel():
    x = np.array([[np.nan, 1], [np.inf, 2]], np.float32)
    model = nn.Sequential(nn.Linear(2, 2))
    assert np.isnan(model.explain(x, at=(0, 0)).total)
    assert np.isinf(model.explain(x, at=(1, 0)).total)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e38, 1e-42])
def test_numbers_that_no_network_should_see(bad, training):
    """Each step of a run with NaN, infinities, overflow or denormal numbers is explained."""
    minicnn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Softmax(1)
    )
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32)
    x[1, 0, 2:] = bad
    with np.errstate(all="ignore"):
        run = recorded(model.train(training), x, np.array([0, 1]))
    for step in run.steps:
        for name in (None, "y", *step.gradients()):
            shape = (step.output if name in (None, "y") else step.inputs[step.names.index(name)]).shape
            for place in ([0] * len(shape), [size - 1 for size in shape]):
                assert explain_recording(run, step=step, grad=name, at=place).agrees


def test_an_overflow_is_named():
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    model[0].weight.array[...] = 1
    found = model.explain(np.full((1, 2), 3e38, np.float32))
    assert (found.engine, found.total, found.overflow) == (np.inf, pytest.approx(6e38), True)
    assert "equal    no: float32 cannot hold the terms" in str(found)
    assert "float32 cannot hold the terms" in found._repr_html_()


@pytest.mark.parametrize(
    ("formula", "text", "latex"),
    [
        (at("x", "n", -1), "x[n,−1]", "x_{n,-1}"),
        (frac(plus("a", "b"), "c"), "(a + b) / c", r"\frac{a + b}{c}"),
        (power(at("x", "i"), "2"), "x[i]^2", "{x_{i}}^{2}"),
        (equals("y", sum_over("i", times("a", "σ"))), "y = Σ_(i) a · σ", r"y = \sum_{i} a\, \sigma "),
        (math(0.25), "0.25", "0.25"),
        (times("a", -1.5), "a · (−1.5)", r"a\, \left(-1.5\right)"),
        (frac(par("a"), power("e", prefixed("−", "a"))), "(a) / e^(−a)", r"\frac{\left(a\right)}{{e}^{-a}}"),
        (frac("a", root(plus("a", "b"))), "a / √(a + b)", r"\frac{a}{\sqrt{a + b}}"),
        (math(-0.0), "0", "0"),
    ],
)
def test_notation(formula, text, latex):
    assert (formula.text, formula.latex) == (text, latex)
    ElementTree.fromstring(formula.as_mathml())


def test_terms_are_shown_with_their_numbers():
    one = block("b", number("a", -2.0), number("b", 0.5), values=1.0, form="exp({0}) · ({1} − {0})")
    assert Terms([one])[0].numbers == "exp(-2) · (0.5 − (-2))"
    plain = Terms([block("b", number("a", -2.0), number("b", -0.5)), block("c", number("a", 1.0))])
    assert [term.numbers for term in plain] == ["-2 · (-0.5)", ""]


def test_columns_lie_below_each_other(run):
    lines = explain_recording(run, "0", at=(1, 3, 3)).text(4).splitlines()
    head = next(k for k, line in enumerate(lines) if line.startswith("  term "))
    for name in ("value", "sum so far"):
        end = lines[head].index(name) + len(name)
        assert all(line[end - 1] != " " and not line[end : end + 2].strip() for line in lines[head : head + 6])
    assert len({line.index("  =  ") for line in lines[head:] if "  =  " in line}) == 1


def test_places_that_move():
    assert [affine(0, "r"), affine(-1, "r"), affine(3, "s", 2)] == ["r", "−1+r", "3+2s"]
