"""State dicts: copies out, copies in, and nothing half done."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import models, nn
from minicnn.autograd import Tensor
from minicnn.errors import DTypeError, ShapeError, WeightsError


def net(seed=0):
    """Conv, batch norm and linear with values of their own."""
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    rng = np.random.default_rng(seed)
    for array in (t.array for _, t in [*made.named_parameters(), *made.named_buffers()]):
        array[...] = rng.integers(1, 99, array.shape)
    return made


def same(a, b):
    return list(a) == list(b) and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_state_is_a_copy():
    model = net()
    state = model.state_dict()
    state["0.weight"][...] = -1
    assert model[0].weight.array.min() >= 1
    assert all(type(array) is np.ndarray for array in state.values())


def test_loading_copies():
    model, state = net(), net(1).state_dict()
    weight = model[0].weight
    assert model.load_state_dict(state) == ([], [])
    assert same(model.state_dict(), state)
    assert model[0].weight is weight
    state["0.weight"][...] = -1
    assert model[0].weight.array.min() >= 1


def test_tensors_lists_and_other_float_dtypes_are_taken():
    model, state = net(), net(1).state_dict()
    given = dict(state)
    given["0.weight"] = Tensor(state["0.weight"], requires_grad=True)
    given["3.bias"] = state["3.bias"].tolist()
    given["3.weight"] = state["3.weight"].astype(np.float64)
    model.load_state_dict(given)
    assert same(model.state_dict(), state)


def test_order_does_not_matter():
    model, state = net(), net(1).state_dict()
    model.load_state_dict(dict(reversed(state.items())))
    assert same(model.state_dict(), state)


def refused(state, error, text, strict=True):
    """The load fails with this text and copies nothing."""
    model = net()
    before = model.state_dict()
    with pytest.raises(error) as caught:
        model.load_state_dict(state, strict)
    assert str(caught.value) == text
    assert same(model.state_dict(), before)


def test_missing_names():
    state = net(1).state_dict()
    del state["3.bias"], state["0.weight"]
    refused(
        state,
        WeightsError,
        "Sequential.load_state_dict: the names do not match; seen missing: 0.weight, 3.bias; unexpected: none; "
        "hint: check the architecture, or use strict=False",
    )
    model = net()
    before = model.state_dict()
    assert model.load_state_dict(state, strict=False) == (["0.weight", "3.bias"], [])
    assert np.array_equal(model[0].weight.array, before["0.weight"])
    assert np.array_equal(model[3].weight.array, state["3.weight"])


def test_unexpected_names():
    state = {**net(1).state_dict(), **{f"more{i}": np.ones(1) for i in range(6)}}
    refused(
        state,
        WeightsError,
        "Sequential.load_state_dict: the names do not match; seen missing: none; "
        "unexpected: more0, more1, more2, more3 and 2 more; hint: check the architecture, or use strict=False",
    )
    model = net()
    assert model.load_state_dict(state, strict=False) == ([], [f"more{i}" for i in range(6)])
    assert np.array_equal(model[0].weight.array, state["0.weight"])


@pytest.mark.parametrize("strict", [True, False])
def test_other_shapes(strict):
    """The wrong entry is the last one: what stands before it must not be copied either."""
    state = net(1).state_dict()
    state["3.bias"] = np.ones(4, np.float32)
    text = "Sequential.load_state_dict: 3.bias has another shape; seen (4,); rule: (3,)"
    refused(state, ShapeError, text, strict)
    state["3.bias"] = np.ones((1, 3), np.float32)  # would broadcast
    refused(state, ShapeError, text.replace("(4,)", "(1, 3)"), strict)


def test_values_that_are_no_numbers():
    state = net(1).state_dict()
    state["3.bias"] = np.array(["a", "b", "c"])
    refused(state, DTypeError, "Sequential.load_state_dict: 3.bias is not an array of numbers; seen <U1")
    state["3.bias"] = np.array([None, 1, 2])
    refused(state, DTypeError, "Sequential.load_state_dict: 3.bias is not an array of numbers; seen object")


def test_no_name_matches():
    text = "Sequential.load_state_dict: no name matches; seen x; rule: names such as 0.weight, 0.bias, 1.weight, 1.bias"
    refused({"x": np.ones(1)}, WeightsError, f"{text} and 5 more", strict=False)
    refused({}, WeightsError, f"{text.replace('seen x', 'seen none')} and 5 more", strict=False)


def test_batch_counters_may_be_missing():
    """Files from before PyTorch 0.4.1 have none; even a strict load takes them, and says so."""
    state = net(1).state_dict()
    del state["1.num_batches_tracked"]
    model = net()
    counter = model[1].num_batches_tracked.item()
    assert model.load_state_dict(state) == (["1.num_batches_tracked"], [])
    assert model[1].num_batches_tracked.item() == counter
    assert np.array_equal(model[0].weight.array, state["0.weight"])


def test_a_network_without_state():
    assert nn.ReLU().load_state_dict({}) == ([], [])
    assert nn.ReLU().state_dict() == {}


def test_whole_network_gives_the_same_bits():
    a, b = models.resnet18(5, width=4), models.resnet18(5, width=4)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    a(x)  # moves the running statistics
    b.load_state_dict(a.state_dict())
    assert np.array_equal(a.eval()(x).array, b.eval()(x).array)
    assert same(a.state_dict(), b.state_dict())
