"""Every operation and every quantity against the engine, on odd shapes, in both dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from one_operation import run_of
from shown_formula import value_of

import minicnn
from minicnn.errors import MismatchError
from minicnn.ops.registry import OPERATIONS
from minicnn.study.explain import EXPLAINERS, explain_recording, unexplained

IMAGES, TIES = (2, 4, 7, 6), "ties"
WIDE = {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)}
BATCH = [(4,), (4,)]
RNN = [(2, 3), (3, 4), (3, 3), (3,), (3,)]
LSTM = [(2, 3), (2, 3), (12, 4), (12, 3), (12,), (12,)]
GRU = [(2, 3), (9, 4), (9, 3), (9,), (9,)]
# operation, shape of x, shapes of the other inputs, options
CASES = [
    ("conv2d", IMAGES, [(6, 4, 3, 3), (6,)], {"padding": 1}),
    ("conv2d", IMAGES, [(6, 2, 3, 2), None], {**WIDE, "groups": 2}),
    ("conv2d", (1, 16, 9, 11), [(16, 16, 3, 3), None], {"padding": 1, "by": "winograd4"}),
    ("conv2d", (1, 16, 9, 11), [(16, 16, 3, 3), None], {"padding": 1, "by": "winograd2"}),
    ("conv_transpose2d", (2, 4, 3, 4), [(4, 2, 3, 2), (4,)], {**WIDE, "groups": 2, "output_padding": (1, 1)}),
    ("conv_transpose2d", IMAGES, [(4, 3, 3, 3), None], {"padding": 1}),
    ("linear", (3, 7), [(5, 7), (5,)], {}),
    ("linear", (2, 3, 7), [(5, 7), None], {}),
    ("matmul", (2, 3, 4), [(4, 5)], {}),
    ("matmul", (4,), [(2, 4, 3)], {}),
    ("max_pool2d", IMAGES, [], {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", IMAGES, [], {"kernel_size": (3, 2), "stride": 1, "dilation": 2, "ceil_mode": True, TIES: True}),
    ("avg_pool2d", IMAGES, [], {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("avg_pool2d", IMAGES, [], {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("adaptive_avg_pool2d", IMAGES, [], {"output_size": (3, 4)}),
    ("batch_norm", IMAGES, BATCH, {"training": True}),
    ("batch_norm", (5, 4), [None, None], {"training": True}),
    ("batch_norm", IMAGES, BATCH, {"training": False}),
    ("batch_norm_relu", IMAGES, [*BATCH, IMAGES], {"training": True}),
    ("batch_norm_relu", IMAGES, [*BATCH, IMAGES], {"training": False}),
    ("relu", IMAGES, [], {}),
    ("sigmoid", (3, 5), [], {}),
    ("tanh", (3, 5), [], {}),
    ("exp", (3, 5), [], {}),
    ("log", (3, 5), [], {"positive": True}),
    ("pow", (3, 5), [], {"positive": True, "exponent": 2.5}),
    ("pow", (3, 5), [], {"exponent": 2}),
    ("dropout", (3, 5), [], {"p": 0.4}),
    *((name, (2, 3, 5), [(3, 1)], {}) for name in ("add", "sub", "mul", "div")),
    *((name, (1, 5), [(4, 2, 5)], {}) for name in ("add", "sub", "mul", "div")),
    ("add", (5,), [()], {}),
    ("reshape", (2, 3, 4), [], {"shape": (4, -1)}),
    ("flatten", (2, 3, 4), [], {"start_dim": 1, "end_dim": 2}),
    ("transpose", (2, 3, 4), [], {"dims": (2, 0, 1)}),
    ("index", (4, 5), [], {"index": (slice(None), np.array([3, 0, 3]))}),
    ("concatenate", (2, 3), [(4, 3), (1, 3)], {"dim": 0}),
    ("sum", (2, 3, 4), [], {"dim": (0, 2), "keepdim": True}),
    ("mean", (2, 3, 4), [], {"dim": 1}),
    ("mean", (2, 3, 4), [], {}),
    ("max", (2, 3, 4), [], {"dim": 1, TIES: True}),
    ("max", (2, 3, 4), [], {"dim": (0, 2), TIES: True}),
    ("softmax", (2, 5, 3), [], {"dim": 1}),
    ("log_softmax", (2, 5), [], {"dim": -1}),
    ("cross_entropy", (4, 5), [np.array([1, 0, 4, 2])], {"label_smoothing": 0.1}),
    ("cross_entropy", (4, 5), [np.array([1, -100, 4, 2])], {"weight": np.array([1.0, 2.0, 0.5, 1.0, 3.0])}),
    ("cross_entropy", (2, 3, 4), [np.array([[0, 1, 2, 0], [2, 2, 1, 0]])], {"reduction": "none"}),
    ("cross_entropy", (4, 3), [(4, 3)], {"reduction": "sum", "positive": True}),
    ("cross_entropy", (5,), [np.array(2)], {}),
    ("mse", (3, 4), [(3, 4)], {}),
    ("mse", (3, 4), [(3, 4)], {"reduction": "none"}),
    ("rnn", (5, 2, 4), RNN, {}),
    ("rnn", (5, 2, 4), [*RNN[:3], None, None], {"nonlinearity": "relu", "reverse": True}),
    ("lstm", (5, 2, 4), LSTM, {}),
    ("lstm", (4, 2, 4), LSTM, {"reverse": True}),
    ("gru", (5, 2, 4), GRU, {}),
    ("gru", (4, 2, 4), GRU, {"reverse": True}),
]


def recorded(case, dtype):
    """The run of a case, its numbers drawn from seed 0."""
    name, x_shape, others, given = case
    rng, options = np.random.default_rng(0), dict(given)
    positive, ties, by = options.pop("positive", False), options.pop(TIES, False), options.pop("by", None)

    def draw(shape):
        values = rng.standard_normal(shape)
        values = np.round(values) if ties else values
        return np.asarray(np.abs(values) + 0.1 if positive else values, dtype)

    x = draw(x_shape)
    arrays = [o if o is None or isinstance(o, np.ndarray) else draw(o) for o in others]
    if "training" in options:
        mean, var = draw(4), np.abs(draw(4)) + dtype(0.5)
        if options["training"]:
            mean, var = minicnn.ops.batch_norm.statistics(x)
        options |= {"mean": mean, "var": var, "eps": 1e-5}
    if name == "dropout":
        options["mask"] = rng.random(x_shape) > 0.4
    if "weight" in options:
        options["weight"] = options["weight"].astype(dtype)
    if dtype == np.float64:  # the yardstick, to twelve digits; in float32 the kernels that run by default
        by = "formula"
    with minicnn.algorithm(**({name: by} if by else {})):
        return run_of(name, x, arrays, options)


def indices(array, rng, many=4):
    """Some places of an array: corners, the largest value, and others."""
    if not array.ndim:
        return [()]
    largest = np.unravel_index(int(np.abs(array).argmax()), array.shape)
    places = [(0,) * array.ndim, tuple(size - 1 for size in array.shape), tuple(int(i) for i in largest)]
    return places + [tuple(int(rng.integers(size)) for size in array.shape) for _ in range(many)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'x'.join(map(str, case[1]))}")
def test_every_quantity(case, dtype):
    run, rng = recorded(case, dtype), np.random.default_rng(1)
    step = run.steps[0]
    assert step.operation.name == case[0]
    sent = step.gradients()
    for quantity in ["y", *sent]:
        array = step.output.array if quantity == "y" else sent[quantity]
        grad = None if quantity == "y" else quantity
        for index in indices(array, rng):
            found = explain_recording(run, at=index, grad=grad, step=step)
            assert found.engine == array[index]
            assert found.agrees
            assert found.difference <= (1e-12 if dtype == np.float64 else 2e-4) * (1 + abs(found.engine))
            for one in with_parts(found):
                assert_factors_are_numbers_of_the_run(one, step)
                if dtype == np.float64:  # a bound that is too wide would let a wrong term pass
                    assert one.bound <= 1e-11 * (1 + np.abs(one.terms.values).sum())
    if "by" in case[3] and dtype == np.float32:
        assert explain_recording(run, step=step).algorithm == case[3]["by"]


def with_parts(found):
    """An explanation, and those of all numbers inside of it."""
    yield found
    for part in found.parts:
        yield from with_parts(part)


def assert_factors_are_numbers_of_the_run(found, step):
    """Each factor x[n,c,h,w] is the number of x that stands there; outside of the array lies padding alone."""
    arrays = {name: tensor.array for name, tensor in zip(step.names, step.inputs, strict=True) if tensor is not None}
    arrays |= {"y": step.output.array, "dy": step.dy}
    for column in (column for block in found.terms.blocks for column in block.columns):
        array = arrays.get(column.name)
        if array is not None and column.index.shape[1] == array.ndim:
            inside = ((column.index >= 0) & (column.index < array.shape)).all(axis=1)
            assert (inside == (True if column.outside is None else ~column.outside)).all()
            wanted = np.where(inside, array[tuple(np.where(inside[:, None], column.index, 0).T)], 0)
            assert_close(column.values, wanted.astype(np.float64), rtol=0, atol=0)


ALIASES = {"γ": "weight", "β": "bias", "t": "target"}
IN_WORDS = {  # operation and quantity: formulas that say places in words, or name parts
    *("adaptive_avg_pool2d x", "avg_pool2d x", "max_pool2d x", "matmul a", "matmul b", "dropout x", "dropout y"),
    *("batch_norm bias", "batch_norm weight", "batch_norm_relu bias", "batch_norm_relu weight", "batch_norm_relu x"),
    *("batch_norm_relu y", "cross_entropy target", "cross_entropy y", "softmax y", "log_softmax y"),
}


def test_every_formula_says_the_number():
    """The formula with its indices filled in, computed from its text, gives what the terms give."""
    every, said = set(), set()
    for case in CASES:
        if case[0] in ("rnn", "lstm", "gru"):  # see test_through_time.py
            continue
        run, rng = recorded(case, np.float64), np.random.default_rng(2)
        step = run.steps[0]
        arrays = {name: t.array for name, t in zip(step.names, step.inputs, strict=True) if t is not None}
        arrays |= {"y": step.output.array, "dy": step.dy}
        arrays |= {sign: arrays[name] for sign, name in ALIASES.items() if name in arrays}
        for quantity in ["y", *(sent := step.gradients())]:
            array = step.output.array if quantity == "y" else sent[quantity]
            every.add(f"{case[0]} {quantity}")
            for index in indices(array, rng, 2):
                found = explain_recording(run, at=index, grad=None if quantity == "y" else quantity, step=step)
                try:
                    value = value_of(found.formula.text, arrays)
                except (NameError, SyntaxError):
                    continue
                digits = 1e-4 if "." in found.formula.text.replace("..", "") else 1e-10
                assert_close(value, found.total, rtol=digits, atol=digits)
                said.add(f"{case[0]} {quantity}")
    assert every - said == IN_WORDS


def test_every_operation_has_explainers_for_all_that_it_gives():
    assert unexplained() == []
    assert {case[0] for case in CASES} == set(OPERATIONS), "an operation without a case"
    for name, op in OPERATIONS.items():
        if name not in ("concatenate", "dropout"):  # numbered inputs; the mask is an option
            wanted = {"y", *(f"grad {i}" for i in op.inputs)}
            assert wanted - set(EXPLAINERS[name]) <= {f"grad {i}" for i in ("mask",)}, name


@pytest.mark.parametrize(
    ("shape", "options", "dtype", "wide"),
    [
        ((4, 3, 3, 3), {}, np.float32, True),
        ((4, 3, 3, 3), {"stride": 2}, np.float32, False),
        ((4, 3, 3, 3), {"dilation": 2}, np.float32, False),
        ((4, 3, 3, 3), {"groups": 2}, np.float32, False),
        ((4, 3, 2, 3), {}, np.float32, False),
        ((4, 3, 3, 3), {}, np.float64, False),
    ],
)
def test_the_bound_is_wider_only_where_winograd_may_have_run(shape, options, dtype, wide):
    step = (run := recorded(("conv_transpose2d", IMAGES, [shape, None], options), dtype)).steps[0]
    for quantity in ("y", *step.gradients()):
        found = explain_recording(run, grad=None if quantity == "y" else quantity, step=step)
        roundings = found.bound / (np.abs(found.terms.values).sum() * np.finfo(dtype).eps)
        assert (roundings > 3 * np.sqrt(len(found.terms)) + 8) == wide


def test_a_wrong_engine_is_found():
    """A kernel that leaves out one product of each window."""
    from minicnn.ops.conv2d import formula

    def forward(x, w, b, **options):
        less = w.copy()
        less[:, 0, 0, 0] *= 0.99
        return formula.forward(x, less, b, **options)

    minicnn.register_algorithm("conv2d", "wrong", forward=forward)
    try:
        run = recorded(("conv2d", (1, 2, 5, 5), [(2, 2, 3, 3), None], {"by": "wrong"}), np.float32)
        with pytest.raises(MismatchError, match=r"does not give the engine's value; seen terms add up to .*wrong\)"):
            explain_recording(run)
    finally:
        minicnn.unregister_algorithm("conv2d", "wrong")
