"""The tape: what it records, how gradients flow back and add up, what it keeps in memory, what it refuses."""

from __future__ import annotations

import gc
import re
import threading
import weakref

import numpy as np
import pytest
from compare import assert_close

from minicnn.autograd import Node, Tensor, apply, is_grad_enabled, no_grad
from minicnn.errors import AlgorithmError, ArgumentError, DTypeError, GraphError, ShapeError
from minicnn.gradcheck import gradcheck
from minicnn.ops import dropout, elementwise, matmul, reduce, relu, shape  # noqa: F401 (make the operations known)
from minicnn.ops.registry import OPERATIONS, Operation


def leaf(values, dtype=np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def normal(size, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size)


# ---- what a tensor is -----------------------------------------------------------------------------------------------


def test_lists_and_numbers_are_float32_and_arrays_keep_their_dtype():
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(0.5).dtype == np.float32
    assert Tensor([[1, 2]]).dtype == np.int64
    assert Tensor([True]).dtype == np.bool_
    for dtype in (np.float32, np.float64, np.float16, np.uint8):
        assert Tensor(np.ones(2, dtype)).dtype == dtype
    assert Tensor(np.float64(0.1)).dtype == np.float64
    assert Tensor(np.float64(0.1)).item() == 0.1


def test_arrays_are_not_copied():
    x = np.ones(3)
    assert Tensor(x).array is x
    assert Tensor(Tensor(x)).array is x
    assert Tensor(x).numpy() is x


def test_shape_size_and_length():
    x = Tensor(np.ones((2, 3, 4)))
    assert x.shape == x.size() == (2, 3, 4)
    assert (x.size(1), x.size(-1), x.ndim, x.numel(), len(x)) == (3, 4, 3, 24, 2)
    assert x.is_leaf
    with pytest.raises(ArgumentError, match="size: no axis 3 in an array with 3 axes"):
        x.size(3)
    with pytest.raises(ShapeError, match="size: a single number has no axes"):
        Tensor(1.0).size(0)
    with pytest.raises(ShapeError, match="len: a single number has no length"):
        len(Tensor(1.0))


def test_single_numbers():
    x = Tensor(np.array([[2.5]]))
    assert (x.item(), float(x), int(x), bool(x)) == (2.5, 2.5, 2, True)
    assert isinstance(x.item(), float)
    assert isinstance(Tensor(np.array(3)).item(), int)
    assert not Tensor(0.0)
    for call in (Tensor.item, float, int, bool):
        with pytest.raises(ShapeError, match=re.escape("item() needs exactly one value; seen shape (2,)")):
            call(Tensor([1.0, 2.0]))


def test_repr():
    assert repr(Tensor([1.0, 2.5])) == "tensor([1. , 2.5], float32)"
    x = leaf([[1.0]])
    assert repr(x) == "tensor([[1.]], float64, requires_grad=True)"
    assert repr(x * 2) == "tensor([[2.]], float64, node=<mul: a (1, 1), b () -> (1, 1)>)"
    assert len(repr(Tensor(np.zeros(100_000)))) < 200


def test_iteration_and_unpacking():
    x = leaf([[1, 2], [3, 4]])
    first, second = x
    assert first.array.tolist() == [1, 2]
    second.sum().backward()
    assert_close(x.grad.array, np.array([[0.0, 0], [1, 1]]))
    with pytest.raises(ShapeError, match="a single number has no length"):
        list(Tensor(1.0))


def test_numpy_takes_tensors_without_gradients():
    x = np.arange(3.0)
    assert np.asarray(Tensor(x)) is x
    assert_close(np.add(x, np.asarray(Tensor(x), dtype=np.float64)), 2 * x)
    with pytest.raises(GraphError, match=re.escape("hint: use tensor.detach().numpy()")):
        np.asarray(leaf([1.0]))
    with pytest.raises(GraphError, match="a tensor that requires a gradient"):
        leaf([1.0]).numpy()


def test_comparisons_are_plain_tensors_of_booleans():
    x, other = leaf([1, 2, 3]), Tensor(np.array([3.0, 2, 1]))
    found = {
        "==": x == other,
        "!=": x != other,
        "<": x < other,
        ">": x > other,
        "<=": x <= 2,
        ">=": x >= np.array([0, 2, 4]),
    }
    expected = {
        "==": [False, True, False],
        "!=": [True, False, True],
        "<": [True, False, False],
        ">": [False, False, True],
        "<=": [True, True, False],
        ">=": [True, True, False],
    }
    for sign, tensor in found.items():
        assert isinstance(tensor, Tensor), sign
        assert tensor.array.tolist() == expected[sign], sign
        assert not tensor.requires_grad
    assert (np.array([1.0, 0, 0]) == x).array.tolist() == [True, False, False]


def test_tensors_are_told_apart_by_identity_in_sets():
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2


@pytest.mark.parametrize("value", ["text", [None], np.array(["a"]), np.array([1j])])
def test_what_is_no_tensor(value):
    with pytest.raises(DTypeError, match="Tensor: not an array of numbers"):
        Tensor(value)


@pytest.mark.parametrize("value", [np.arange(3), np.array([True]), [1, 2], 3])
def test_integers_have_no_gradients(value):
    with pytest.raises(DTypeError, match=r"only floating point tensors have gradients; seen (int64|bool)"):
        Tensor(value, requires_grad=True)


# ---- operators ------------------------------------------------------------------------------------------------------

OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
OTHERS = [2, 0.5, np.float32(2), np.float64(2), np.int64(2), np.array([1.0, 2, 4]), np.array([[2.0], [4.0]])]


@pytest.mark.parametrize("other", OTHERS, ids=repr)
@pytest.mark.parametrize("sign", list(OPERATORS))
def test_operators_with_numbers_and_arrays_on_either_side(sign, other):
    fn, x = OPERATORS[sign], np.array([1.0, -2, 5])
    for y, expected in ((fn(Tensor(x), other), fn(x, other)), (fn(other, Tensor(x)), fn(other, x))):
        assert isinstance(y, Tensor)
        assert_close(y.array, expected)
    assert gradcheck(lambda t: fn(t, other), [x])
    assert gradcheck(lambda t: fn(other, t), [x])


def test_numbers_take_the_dtype_of_the_tensor():
    x = Tensor(np.ones(2, np.float32))
    for y in (x * 2, 2.5 - x, x / np.float64(3), np.float64(3) * x, -x, x**2, x**0.5, x + np.int64(1)):
        assert y.dtype == np.float32


def test_float64_stays_float64_through_single_numbers():
    """NumPy answers 0-d arithmetic with scalars; none of them may lose its dtype on the way."""
    x = leaf([1e-9, 1.0])
    total = (x + 1).sum()
    loss = total * total + total
    loss.backward()
    assert loss.dtype == total.dtype == x.grad.dtype == np.float64
    assert loss.item() == (3 + 1e-9) ** 2 + 3 + 1e-9
    assert_close(x.grad.array, np.full(2, 2 * (3 + 1e-9) + 1), rtol=1e-15)
    single = leaf(0.1)
    for _ in range(3):
        single.backward()
    assert single.grad.dtype == np.float64
    assert single.grad.item() == 3


def test_further_operators():
    x = np.array([[1.0, 4], [9, 16]])
    t = Tensor(x)
    assert_close((-t).array, -x)
    assert_close(t.sqrt().array, np.sqrt(x))
    assert_close(t.exp().log().array, x)
    assert_close((t @ t).array, x @ x)
    assert_close((x @ t).array, x @ x)
    assert_close((t @ x).array, x @ x)
    assert_close(t.T.array, x.T)
    assert t.argmax().item() == 3
    assert t.argmax(0, keepdim=True).array.tolist() == [[1, 1]]


def test_shapes_as_several_arguments_or_as_one():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4))
    for y in (x.reshape(4, 6), x.reshape((4, 6)), x.reshape([4, -1]), x.view(-1, 6)):
        assert y.shape == (4, 6)
    assert x.reshape(-1).shape == x.reshape((24,)).shape == x.flatten().shape == (24,)
    assert x.permute(2, 0, 1).shape == x.permute((2, 0, 1)).shape == (4, 2, 3)
    assert x.transpose(0, -1).shape == (4, 3, 2)
    assert x.T.shape == (4, 3, 2)
    assert Tensor([1.0]).reshape(()).shape == Tensor(1.0).T.shape == Tensor(1.0).transpose(0, -1).shape == ()
    with pytest.raises(ArgumentError, match="transpose: no axis 3 in an array with 3 axes"):
        x.transpose(0, 3)
    with pytest.raises(ArgumentError, match="argmax: no axis 5"):
        x.argmax(5)


def test_operands_that_are_none():
    for value in (None, "text", True, {}):
        with pytest.raises((ArgumentError, DTypeError), match=r"not a tensor, array or number|an operand is missing"):
            Tensor([1.0]) + value


def test_an_unknown_operation():
    with pytest.raises(AlgorithmError, match="no operation is named 'fold'; hint: there are a"):
        apply("fold", Tensor([1.0]))


# ---- gradients ------------------------------------------------------------------------------------------------------


def test_the_chain_rule_by_hand():
    """L = sum (2x + 1)^2: dL/dx = 4 (2x + 1)"""
    x = leaf([1, -2, 3])
    loss = ((2 * x + 1) ** 2).sum()
    loss.backward()
    assert loss.item() == 9 + 9 + 49
    assert_close(x.grad.array, np.array([12.0, -12, 28]))
    assert isinstance(x.grad, Tensor)
    assert not x.grad.requires_grad


def test_a_tensor_that_is_used_several_times_adds_up():
    x = leaf([3.0])
    y = x * x  # 2x
    (y * x + y + x).sum().backward()  # 3x^2 + 2x + 1
    assert_close(x.grad.array, np.array([27.0 + 6 + 1]))


def test_a_diamond_is_walked_in_topological_order():
    """The long way round must arrive before the node where both ways began is visited."""
    x = leaf([2.0])
    y = x * 3
    long = y
    for _ in range(5):
        long = long + 1
    (y * long * y).sum().backward()  # y^2 (y + 5), y = 3x: 3 (3 y^2 + 10 y)
    assert_close(x.grad.array, np.array([3 * (3 * 36 + 60.0)]))


def test_gradients_of_several_passes_add_up_until_cleared():
    x = leaf([1, 2])
    for k in (1, 2, 3):
        (x * x).sum().backward()
        assert_close(x.grad.array, 2 * k * x.array)
    x.grad = None
    (x * x).sum().backward()
    assert_close(x.grad.array, 2 * x.array)


def test_a_gradient_collected_is_not_changed_in_place():
    x = leaf([1.0])
    (x * 2).backward(np.ones(1))
    kept = x.grad
    (x * 2).backward(np.ones(1))
    assert_close(kept.array, np.array([2.0]))
    assert_close(x.grad.array, np.array([4.0]))


def test_an_upstream_gradient():
    x = leaf([1, 2, 3])
    dy = np.array([1.0, 10, 100])
    (x * x).backward(dy)
    assert_close(x.grad.array, np.array([2.0, 40, 600]))
    assert_close(dy, np.array([1.0, 10, 100]))
    (x * x).backward(Tensor(dy))
    (x * x).backward([1, 10, 100])
    assert_close(x.grad.array, 3 * np.array([2.0, 40, 600]))


def test_backward_of_a_leaf():
    x = leaf([1, 2])
    x.backward([3, 4])
    assert_close(x.grad.array, np.array([3.0, 4]))
    number = leaf(5.0)
    number.backward()
    assert number.grad.item() == 1


@pytest.mark.parametrize(
    ("gradient", "text"),
    [
        (None, "backward() without a gradient needs a single number; seen shape (2,); hint: reduce to a loss first"),
        (np.ones(3), "the gradient must look like the tensor; seen gradient (3,) float64; rule: (2,) float64"),
        (np.ones((2, 1)), "seen gradient (2, 1) float64"),
        (np.ones(2, np.float32), "seen gradient (2,) float32; rule: (2,) float64"),
        (1.0, "seen gradient () float64"),
    ],
)
def test_upstream_gradients_that_do_not_fit(gradient, text):
    with pytest.raises(ShapeError, match=re.escape(text)):
        (leaf([1, 2]) * 2).backward(gradient)


def test_detach_cuts_the_graph():
    x = leaf([2.0])
    y = x * x
    cut = y.detach()
    assert cut.array is y.array
    assert cut.is_leaf
    assert not cut.requires_grad
    (cut * x).sum().backward()
    assert_close(x.grad.array, np.array([4.0]))


def test_retain_grad_collects_where_an_operation_made_the_tensor():
    x = leaf([1, 2])
    y = (x * 3).retain_grad()
    z = y * y
    z.sum().backward()
    assert_close(y.grad.array, 2 * y.array)
    assert z.grad is None
    assert_close(x.grad.array, 18 * x.array)
    assert x.retain_grad() is x


def test_an_operation_on_plain_tensors_records_nothing():
    y = Tensor([1.0]) * 2 + Tensor([3.0])
    assert y.node is None
    assert not y.requires_grad
    with pytest.raises(GraphError, match="backward: nothing here requires a gradient; hint: create inputs"):
        y.sum().backward()


def test_an_index_of_labels_passes_no_gradient():
    x, labels = leaf([[1, 2], [3, 4]]), Tensor(np.array([1, 0]))
    x[np.arange(2), labels].sum().backward()
    assert_close(x.grad.array, np.array([[0.0, 1], [1, 0]]))
    assert labels.grad is None


# ---- frozen inputs --------------------------------------------------------------------------------------------------


def test_frozen_inputs_get_no_gradient_and_nothing_is_saved_for_them():
    x, w = leaf([1, 2]), Tensor(np.array([3.0, 4]))
    y = x * w
    assert y.node.needs == (True, False)
    assert y.node.parents == (x, None)
    assert y.node.saved["a"] is None  # only dw would use it
    assert y.node.saved["b"] is w.array
    y.sum().backward()
    assert_close(x.grad.array, w.array)
    assert w.grad is None


def test_backward_is_told_which_gradients_are_needed():
    asked = []

    def backward(needs, saved, dy):
        asked.append(needs)
        return tuple(dy if need else None for need in needs)

    with temporary("three", lambda needs, *arrays: (sum(arrays), {}), backward):
        apply("three", leaf([1.0]), Tensor(np.ones(1)), leaf([2.0])).backward([1.0])
    assert asked == [(True, False, True)]


def test_a_frozen_part_in_front_is_not_walked():
    frozen = Tensor(normal((3, 3)))
    for _ in range(4):
        frozen = frozen * 2
    y = frozen * leaf([1.0])
    assert y.node.parents[0] is None
    y.sum().backward()


# ---- no_grad --------------------------------------------------------------------------------------------------------


def test_no_grad_as_a_block():
    x = leaf([1.0])
    assert is_grad_enabled()
    with no_grad():
        assert not is_grad_enabled()
        y = x * 2
        with no_grad():
            assert not is_grad_enabled()
        assert not is_grad_enabled()
    assert is_grad_enabled()
    assert y.node is None
    assert not y.requires_grad
    assert (x * 2).requires_grad


def test_no_grad_as_a_decorator_even_of_a_recursive_function():
    @no_grad()
    def product(x, depth):
        """Multiply."""
        assert not is_grad_enabled()
        return x if depth == 0 else product(x, depth - 1) * 2

    for _ in range(2):
        y = product(leaf([1.0]), 3)
        assert y.array.tolist() == [8]
        assert y.node is None
        assert is_grad_enabled()
    assert product.__doc__ == "Multiply."


def test_no_grad_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), no_grad():
        _ = 1 / 0
    assert is_grad_enabled()


def test_no_grad_is_a_matter_of_one_thread():
    x, seen, errors = leaf([1.0]), {}, []
    inside, done = threading.Event(), threading.Event()

    @no_grad()
    def quiet():
        inside.set()
        assert done.wait(10)
        seen["quiet"] = (x * 2).requires_grad

    def first():
        try:
            quiet()
            seen["after"] = is_grad_enabled()
        except BaseException as error:
            errors.append(error)

    def second():
        try:
            assert inside.wait(10)
            seen["other"] = (x * 2).requires_grad
            with no_grad():
                done.set()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert seen == {"quiet": False, "after": True, "other": True}
    assert is_grad_enabled()


def test_two_threads_walk_their_own_graphs():
    results: dict[int, np.ndarray] = {}

    def work(k):
        x = leaf(normal(50, k))
        for _ in range(20):
            (x * x).sum().backward()
        results[k] = x.grad.array - 40 * x.array

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == [0, 1, 2, 3]
    assert max(np.abs(r).max() for r in results.values()) < 1e-12


# ---- long chains and memory -----------------------------------------------------------------------------------------


def test_a_chain_of_10000_operations():
    x = leaf([1.0])
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    y.backward([1.0])
    assert_close(x.grad.array, np.array([1.0001**10_000]), rtol=1e-9)
    del y  # the nodes go one after the other, not one inside the other
    gc.collect()


def test_a_long_chain_that_is_never_walked_can_be_dropped():
    y = leaf([1.0])
    for _ in range(30_000):
        y = y + 1
    last = weakref.ref(y)
    del y
    assert last() is None


def test_a_wide_graph():
    x = leaf([1.0])
    total = x * 0
    for k in range(2000):
        total = total + x * k
    total.backward([1.0])
    assert_close(x.grad.array, np.array([1999 * 1000.0]))


def test_saved_arrays_are_released_by_backward_and_their_memory_is_freed():
    x = leaf(normal(1000))
    hidden = x.exp()  # saves its result
    array = weakref.ref(hidden.array)
    node = hidden.node
    loss = (hidden * hidden).sum()
    del hidden
    assert array() is not None
    assert node.saved["y"] is array()
    gc.disable()
    try:
        loss.backward()
        assert node.saved is None
        assert array() is None  # at once, without a garbage collection: there are no cycles
    finally:
        gc.enable()


def test_a_graph_that_is_dropped_frees_its_memory_at_once():
    gc.collect()
    gc.disable()
    try:
        x = leaf(normal(1000))
        hidden = x.exp().retain_grad()
        array, node = weakref.ref(hidden.array), hidden.node
        loss = hidden.sum()
        del hidden, loss
        assert node.saved["y"] is array()
        del node
        assert array() is None
    finally:
        gc.enable()


def test_nothing_is_saved_under_no_grad():
    with no_grad():
        hidden = leaf(normal(1000)).exp()
        array = weakref.ref(hidden.array)
        y = hidden.sum()
        del hidden
    assert array() is None
    assert y.node is None


def test_a_second_backward_is_an_error():
    x = leaf([1, 2])
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(
        GraphError,
        match=re.escape("sum: the saved arrays of this graph are already released; rule: one backward pass a graph"),
    ):
        loss.backward()
    assert_close(x.grad.array, 2 * x.array)


def test_a_shared_part_that_is_released_is_an_error():
    x = leaf([1, 2])
    shared = x * x
    first, second = shared.sum(), (shared * 2).sum()
    first.backward()
    with pytest.raises(GraphError, match="mul: the saved arrays of this graph are already released"):
        second.backward()


def test_retain_graph_keeps_them():
    x = leaf([1, 2])
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    loss.backward()
    assert_close(x.grad.array, 6 * x.array)
    with pytest.raises(GraphError):
        loss.backward()


# ---- nodes ----------------------------------------------------------------------------------------------------------


def test_a_node_tells_its_operation_its_inputs_and_its_shapes():
    x, w = leaf(np.ones((2, 3))), leaf(np.ones(3))
    product = x * w
    total = product.sum()
    node = product.node
    assert isinstance(node, Node)
    assert node.operation is OPERATIONS["mul"]
    assert node.operation.formula == r"y = a\, b"
    assert node.names == ("a", "b")
    assert node.parents == (x, w)
    assert node.shapes == ((2, 3), (3,))
    assert node.shape == (2, 3)
    assert repr(node) == "<mul: a (2, 3), b (3,) -> (2, 3)>"
    assert total.node.parents == (node,)
    assert total.node.saved["x_shape"] == (2, 3)


def test_any_number_of_inputs_are_numbered():
    pieces = [leaf(np.ones((1, 2))), Tensor(np.ones((3, 2))), leaf(np.ones((2, 2)))]
    node = apply("concatenate", *pieces, dim=0).node
    assert node.names == ("x0", "x1", "x2")
    assert repr(node) == "<concatenate: x0 (1, 2), x1 (3, 2), x2 (2, 2) -> (6, 2)>"


def test_an_input_that_is_left_out_has_no_shape():
    def record(needs, x, b=None):
        return x if b is None else x + b, {}

    with temporary("shift", record, lambda needs, saved, dy: (dy,) * len(needs), inputs=("x", "b")):
        without, given = apply("shift", leaf([1.0]), None), apply("shift", leaf([1.0]))
        assert without.node.shapes == ((1,), None)
        assert without.node.names == ("x", "b")
        assert repr(without.node) == repr(given.node) == "<shift: x (1,) -> (1,)>"
        assert given.node.shapes == ((1,), None)


# ---- operations that are wrong --------------------------------------------------------------------------------------


class temporary:  # noqa: N801 (reads as a function)
    """An operation that exists for the length of a block."""

    def __init__(self, name, record, backward, inputs=("x",)):
        self.name, self.arguments = name, {"record": record, "backward": backward, "inputs": inputs}

    def __enter__(self):
        return Operation(name=self.name, formula="y", **self.arguments)

    def __exit__(self, *_):
        del OPERATIONS[self.name]


@pytest.mark.parametrize(
    ("dx", "seen"), [(np.ones(3), "seen (3,); rule: (2,)"), (np.ones(()), "seen ()"), (None, "seen None")]
)
def test_a_gradient_of_the_wrong_shape_is_caught(dx, seen):
    with (
        temporary("wrong", lambda needs, x: (x * 1, {}), lambda needs, saved, dy: (dx,)),
        pytest.raises(
            GraphError, match=re.escape(f"wrong.backward: a gradient does not have the shape of its input; {seen}")
        ),
    ):
        apply("wrong", leaf([1, 2])).backward([1, 1])


def test_gradients_that_blow_up_travel_without_a_warning():
    x = leaf([1.0])
    y = x * 1e308
    with np.errstate(all="raise"):
        (y * 10 + y * 10).backward([1e308])
    assert_close(x.grad.array, np.array([np.inf]))
