"""The gradient check itself: it passes right gradients, and fails every wrong one that is planted here."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minicnn import nn
from minicnn.autograd import Tensor, apply, no_grad
from minicnn.errors import ArgumentError, DTypeError
from minicnn.gradcheck import GradCheckReport, GradientError, gradcheck
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops.registry import OPERATIONS, Operation

NAN, INF = np.nan, np.inf


@pytest.fixture
def planted():
    """`planted(f, g)`: a function on the tape with forward f(x) and a gradient g(x, dy), right or wrong."""
    before = set(OPERATIONS)

    def make(f, g):
        name = f"planted{len(OPERATIONS)}"

        def record(needs, x):
            return f(x), {"x": x.copy()}

        Operation(
            name, formula="", inputs=("x",), record=record, backward=lambda needs, saved, dy: (g(saved["x"], dy),)
        )
        return lambda x: apply(name, x)

    yield make
    for name in set(OPERATIONS) - before:
        del OPERATIONS[name]


def draw(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def passes(fn, *inputs, **options) -> bool:
    return bool(gradcheck(fn, inputs, raise_error=False, **options))


# ---- right gradients pass -------------------------------------------------------------------------------------------

RIGHT = {
    "polynomial": (lambda x: x**3 - x * 2.0 + 1.0, [draw(3, 4)]),
    "exp": (lambda x: x.exp(), [3 * draw(5)]),
    "quotient": (lambda x, y: x / (y * y + 1.0), [draw(2, 3), draw(3)]),
    "conv": (
        lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, groups=2),
        [draw(2, 4, 5, 6), draw(6, 2, 3, 2), draw(6)],
    ),
    "softmax": (lambda x: F.softmax(x, dim=1), [draw(3, 5)]),
    "cross_entropy": (lambda x, t: F.cross_entropy(x, t), [draw(4, 3), np.array([0, 2, 1, 1])]),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [draw(3, 2, 3, 3), draw(2), draw(2)],
    ),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), [draw(1, 2, 7, 5)]),
    "several outputs": (lambda x: (x * x, x.exp().sum(), x.reshape(-1)), [draw(2, 3)]),
    "the input itself": (lambda x: x, [draw(2, 3)]),
    "a constant": (lambda x: x * 0.0, [draw(3)]),
}
SCALES = {
    "large values": (lambda x: x * x * x, [1e6 * draw(4)]),
    "small values": (lambda x: x * x * x, [1e-6 * draw(4)]),
    "a short scale": (lambda x: F.softmax(x * 1e5, dim=0), [1e-5 * draw(4)]),
    "a large constant in the way": (lambda x: (x * 0.7 + 1e7) - 1e7, [draw(40)]),
    "a large constant output": (lambda x: (x * 0.0 + 1e9, x * 1e-3), [draw(4)]),
    "close to the end of the domain": (lambda x: x.log(), [np.array([1e-4, 5e-4, 1.0])]),
    "close to kinks": (F.relu, [np.array([1e-7, -1e-7, 1e-5, -1e-3, 1.0])]),
}


@pytest.mark.parametrize("name", [*RIGHT, *SCALES])
def test_right_gradients_pass(name):
    fn, inputs = {**RIGHT, **SCALES}[name]
    report = gradcheck(fn, inputs)
    assert report.ok
    assert report.worst < 1e-6
    assert all(row.checked == x.size for row, x in zip(report.inputs, inputs, strict=False))


@pytest.mark.parametrize("name", RIGHT)
def test_a_sharper_tolerance_finds_its_step(name):
    fn, inputs = RIGHT[name]
    assert gradcheck(fn, inputs, tolerance=1e-8).worst < 1e-8


def test_a_sine_at_a_million(planted):
    fn = planted(np.sin, lambda x, dy: dy * np.cos(x))
    assert gradcheck(fn, [np.array([1e6, 2e6 + 0.3, -3e5])])


# ---- wrong gradients fail -------------------------------------------------------------------------------------------


def one_wrong(x, dy):
    grad = 2 * x * dy
    grad.flat[17] *= 1.0001
    return grad


def one_nan(x, dy):
    grad = 2 * x * dy
    grad.flat[17] = NAN
    return grad


WRONG = {
    "zero": lambda x, dy: np.zeros_like(x),
    "upstream gradient ignored": lambda x, dy: 2 * x,
    "upstream gradient summed": lambda x, dy: 2 * x * dy.sum(),
    "factor 2": lambda x, dy: 4 * x * dy,
    "a little off": lambda x, dy: 2 * x * dy * (1 + 3e-6),
    "transposed": lambda x, dy: (2 * x * dy).T.copy(),
    "sign": lambda x, dy: -2 * x * dy,
    "constant added": lambda x, dy: 2 * x * dy + 1e-5,
    "one of 25 entries off by 1e-4": one_wrong,
    "one entry NaN": one_nan,
    "all NaN": lambda x, dy: np.full_like(x, NAN),
    "infinite": lambda x, dy: np.full_like(x, INF),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_fail(planted, name):
    right = planted(lambda x: x * x, lambda x, dy: 2 * x * dy)
    wrong = planted(lambda x: x * x, WRONG[name])
    assert passes(right, draw(5, 5))
    report = gradcheck(wrong, [draw(5, 5)], raise_error=False)
    assert not report
    assert not report.worst <= 1e-6
    with pytest.raises(GradientError, match=r"gradcheck: input 0\["):
        gradcheck(wrong, [draw(5, 5)])


@pytest.mark.parametrize("sample", [1, 5])
def test_a_gradient_that_is_not_finite_fails_also_outside_the_sample(planted, sample):
    assert not passes(planted(lambda x: x * x, one_nan), draw(5, 5), sample=sample)


def test_a_wrong_gradient_of_one_input_or_one_parameter_among_right_ones(planted):
    wrong = planted(lambda x: x * x, WRONG["factor 2"])
    assert not passes(lambda x, y, z: x * wrong(y) * z, *draw(3, 4))
    p, q = (Tensor(draw(4, seed=s), requires_grad=True) for s in (1, 2))
    report = gradcheck(lambda x: x * p * wrong(q), [draw(4)], parameters={"p": p, "q": q}, raise_error=False)
    assert [(row.name, bool(row.problem)) for row in report.inputs] == [("input 0", False), ("p", False), ("q", True)]


def test_a_wrong_gradient_of_one_output_among_right_ones(planted):
    wrong = planted(lambda x: x * x, WRONG["sign"])
    assert not passes(lambda x: (x * x, wrong(x), x.exp()), draw(4))


@pytest.mark.parametrize("seed", range(5))
def test_a_small_wrong_entry_beside_large_ones(planted, seed):
    """One entry is a million times smaller than the others; ten thousand outputs of 1e6 do not depend on x at all."""
    small = np.array([1.0, 1.0, 1e-6, 1.0])

    def forward(x):
        return np.concatenate([np.full(10_000, 1e6), x * x * small])

    right = planted(forward, lambda x, dy: 2 * x * dy[10_000:] * small)
    wrong = planted(forward, lambda x, dy: 2 * x * dy[10_000:] * small * [1, 1, 1.5, 1])
    assert passes(right, draw(4, seed=seed), seed=seed)
    assert not passes(wrong, draw(4, seed=seed), seed=seed)


def test_a_missing_gradient_fails():
    p, frozen = Tensor(draw(3), requires_grad=True), Tensor(draw(3))
    with pytest.raises(GradientError, match="gradcheck: q: no gradient arrived"):
        gradcheck(lambda x: x * p, [draw(3)], parameters={"p": p, "q": Tensor(draw(3), requires_grad=True)})
    with pytest.raises(GradientError, match="gradcheck: p: no gradient arrived"):
        gradcheck(lambda x: x * frozen, [draw(3)], parameters={"p": frozen})
    with pytest.raises(GradientError, match="gradcheck: input 0: no gradient arrived"):
        gradcheck(lambda x: x.detach() * 2.0, [draw(3)])
    with pytest.raises(GradientError, match=r"input 0\[.\]: wrong gradient"):
        gradcheck(lambda x: x * x + x.detach() * 3.0, [draw(3)])


def test_an_upstream_gradient_of_ones_would_be_blind(planted):
    """The gradient of softmax with dx = y * (dy - 1): right for ones, as the rows of y add up to 1."""

    def softmax(x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    wrong = planted(softmax, lambda x, dy: softmax(x) * (dy - 1))
    x = Tensor(draw(4, 5), requires_grad=True)
    wrong(x).backward(np.ones((4, 5)))
    with no_grad():
        for i in range(x.array.size):
            moved = x.array.copy()
            moved.flat[i] += 1e-4
            difference = (wrong(Tensor(moved)).array.sum() - wrong(x).array.sum()) / 1e-4
            assert abs(x.grad.array.flat[i] - difference) < 1e-10  # with ones, the wrong gradient passes
    assert not passes(wrong, draw(4, 5))
    assert passes(lambda x: F.softmax(x, dim=-1), draw(4, 5))


# ---- kinks ----------------------------------------------------------------------------------------------------------

AT_ZERO = np.array([0.0, 1.0, -1.0, 2.0, 0.0, -3.0])


@pytest.mark.parametrize("subgradient", [0.0, 0.25, 0.5, 1.0])
def test_a_kink_takes_any_subgradient(planted, subgradient):
    def backward(x, dy):
        return dy * np.where(x == 0, subgradient, x > 0)

    report = gradcheck(planted(lambda x: np.maximum(x, 0), backward), [AT_ZERO])
    assert report
    assert report.inputs[0].kinks == (0 if subgradient == 0.5 else 2)  # half way, the central difference agrees


@pytest.mark.parametrize("outside", [5.0, 1.01, -0.01, -1.0, 1e9, NAN])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_a_kink_takes_nothing_else(planted, outside, scale):
    def backward(x, dy):
        return scale * dy * np.where(x == 0, outside, x > 0)

    assert not passes(planted(lambda x: scale * np.maximum(x, 0), backward), AT_ZERO)


def test_kinks_in_both_directions():
    """The upstream gradients of the zeros have either sign: corners that open up, and corners that open down."""
    assert all(gradcheck(F.relu, [AT_ZERO], seed=seed).inputs[0].kinks == 2 for seed in range(6))


def test_ties_of_max_pooling_are_kinks():
    x = np.array([[1.0, 1, 0, -1], [3, 2, 7, 7], [0, 5, 1, 2], [4, 3, 0, -2]])[None, None]
    report = gradcheck(lambda x: F.max_pool2d(x, 2), [x])
    assert report.inputs[0].kinks == 2


def test_a_kink_on_a_slope(planted):
    """1000 x + relu(x) + 10 x^2: the slopes beside 0 are 1000 and 1001."""

    def forward(x):
        return 1000 * x + np.maximum(x, 0) + 10 * x * x

    for slope, right in [(0.0, True), (1.0, True), (-0.1, False), (1.1, False)]:
        fn = planted(forward, lambda x, dy, slope=slope: dy * (1000 + np.where(x == 0, slope, x > 0) + 20 * x))
        assert passes(fn, AT_ZERO) is right


def test_a_smooth_bend_is_no_kink(planted):
    """x^2 at 0: slopes of -h and h; a gradient of 1e-6 lies between them and is wrong."""
    wrong = planted(lambda x: x * x, lambda x, dy: 2 * x * dy + 1e-6)
    report = gradcheck(wrong, [np.zeros(3)], raise_error=False)
    assert not report
    assert report.inputs[0].kinks == 0


def test_a_jump_is_no_kink(planted):
    assert not passes(planted(lambda x: (x > 0) * 1.0, lambda x, dy: np.where(x == 0, 5 * dy, 0)), AT_ZERO)


def test_nothing_but_kinks_is_refused():
    for x in (np.zeros(3), np.array([0.0, 0.0, 1.0])):
        with pytest.raises(GradientError, match="gradcheck: input 0: most entries sit on kinks: choose other inputs"):
            gradcheck(F.relu, [x])
    assert gradcheck(F.relu, [np.array([0.0, 1.0])])


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "inputs", "options", "error", "text"),
    [
        (
            F.relu,
            [draw(3).astype(np.float32)],
            {},
            DTypeError,
            "input 0 is not float64; seen float32; hint: use float64",
        ),
        (F.relu, [], {}, ArgumentError, "nothing to check; rule: at least one float64 value goes in"),
        (F.relu, [np.arange(3)], {}, ArgumentError, "nothing to check; rule: at least one float64 value goes in"),
        (F.relu, [np.zeros((0, 3))], {}, ArgumentError, "nothing to check; rule: at least one float64 value goes in"),
        (lambda x: x[:0] * 2.0, [draw(3)], {}, ArgumentError, "nothing to check; rule: at least one floating point"),
        (lambda x: x > 0, [draw(3)], {}, ArgumentError, "nothing to check; rule: at least one floating point"),
        (F.relu, [draw(3)], {"sample": 0}, ArgumentError, "nothing to check; seen sample=0; rule: sample >= 1"),
        (F.relu, [draw(3)], {"tolerance": 0}, ArgumentError, "tolerance is not valid; seen 0; rule: between 0 and 1"),
        (F.relu, [draw(3)], {"tolerance": NAN}, ArgumentError, "tolerance is not valid; seen nan"),
        (F.relu, draw(1, 3), {}, ArgumentError, "inputs is not a list; seen ndarray; hint: gradcheck(fn, [x])"),
        (F.relu, Tensor(draw(1, 3)), {}, ArgumentError, "inputs is not a list; seen Tensor"),
        (lambda x: x.array, [draw(3)], {}, ArgumentError, "fn does not return Tensors; seen ndarray"),
        (lambda x: (x, None), [draw(3)], {}, ArgumentError, "fn does not return Tensors; seen NoneType"),
        (lambda x: x / 0.0, [np.ones(3)], {}, ArgumentError, "fn is not finite at these inputs; hint: choose other"),
        (lambda x: x * 1.0, [np.array([1, NAN])], {}, ArgumentError, "fn is not finite at these inputs"),
        (
            lambda x: F.dropout(x, 0.5, training=True),
            [draw(50)],
            {},
            ArgumentError,
            "fn gives different values when called twice; hint: fix its seed",
        ),
    ],
)
def test_refusals(fn, inputs, options, error, text):
    with pytest.raises(error, match=re.escape(f"gradcheck: {text}")):
        gradcheck(fn, inputs, **options)


def test_a_float32_parameter_is_refused():
    layer = nn.Linear(3, 2)
    parameters = dict(layer.named_parameters())
    with pytest.raises(
        DTypeError, match=re.escape("weight is not float64; seen float32; hint: use float64, model.double()")
    ):
        gradcheck(layer, [draw(2, 3)], parameters=parameters)
    layer.double()
    report = gradcheck(layer, [draw(2, 3)], parameters=dict(layer.named_parameters()))
    assert [row.name for row in report.inputs] == ["input 0", "weight", "bias"]


# ---- options and the report -----------------------------------------------------------------------------------------


def test_a_sample_of_the_entries():
    report = gradcheck(lambda x, y: x * x * y.sum(), [draw(10, 10), draw(3)], sample=20)
    assert [row.checked for row in report.inputs] == [20, 3]


def test_other_seeds_sample_other_entries(planted):
    """A fault in 1 of 25 entries: samples of 5 find it for some seeds."""
    wrong = planted(lambda x: x * x, one_wrong)
    found = [not passes(wrong, draw(5, 5), sample=5, seed=seed) for seed in range(40)]
    assert 0 < sum(found) < 40


def test_the_report_names_the_worst_entry(planted):
    def backward(x, dy):
        grad = 2 * x * dy
        grad[0, 2] *= 1.5
        grad[2, 1] *= 3
        return grad

    wrong = planted(lambda x: x * x, backward)
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda x, y: (y * y, wrong(x)), [draw(3, 4), draw(2)])
    lines = str(caught.value).splitlines()
    assert lines[0] == "gradcheck: input 0[2, 1]: wrong gradient"
    assert re.fullmatch("input +shape +checked +kinks +rel. error +worst entry: tape, difference", lines[1])
    found = re.fullmatch(r"input 0 +\(3, 4\) +12 +0 +6\.67e-01  \[2, 1\]: (\S+), (\S+)  wrong gradient", lines[2])
    assert float(found[1]) == pytest.approx(3 * float(found[2]), rel=1e-6)
    assert re.fullmatch(r"input 1 +\(2,\) +2 +0 +\S+  \[.\]: \S+, \S+; rule: error <= 1e-06", lines[3])


def test_without_raising(planted):
    report = gradcheck(planted(lambda x: x * x, WRONG["factor 2"]), [draw(3)], raise_error=False)
    assert (report.ok, report.worst, report.inputs[0].problem) == (False, pytest.approx(0.5), "wrong gradient")
    assert not GradCheckReport(1e-6)  # nothing checked is not right


def test_the_tolerance(planted):
    off = planted(lambda x: x * x, lambda x, dy: 2 * x * dy * (1 + 1e-4))
    assert passes(off, draw(4), tolerance=1e-3)
    assert not passes(off, draw(4), tolerance=1e-5)
    assert passes(lambda x: x * x, draw(4), tolerance=1e-9)


def test_nothing_of_the_caller_changes(planted):
    x, p = draw(3, 4), Tensor(draw(4), requires_grad=True)
    x.flags.writeable = False
    values, gradient = p.array.copy(), Tensor(np.full(4, 7.0))
    p.grad = gradient
    given = Tensor(x)
    assert gradcheck(lambda a, b: a * b * p, [x, given], parameters={"p": p})
    assert not passes(planted(lambda x: x * x, WRONG["sign"]), x)
    assert np.array_equal(x, draw(3, 4))
    assert np.array_equal(p.array, values)
    assert p.grad is gradient
    assert np.array_equal(gradient.array, np.full(4, 7.0))
    assert given.grad is None


def test_a_failing_function_leaves_the_parameters_as_they_were():
    p = Tensor(draw(4), requires_grad=True)
    calls = []

    def fn(x):
        calls.append(1)
        if len(calls) == 10:
            raise RuntimeError("in the middle")
        return x * p

    with pytest.raises(RuntimeError, match="in the middle"):
        gradcheck(fn, [np.ones(1)], parameters={"p": p})
    assert np.array_equal(p.array, draw(4))
