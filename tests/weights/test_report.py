"""Matching names and shapes: nothing happens in silence, and a load that fails changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import nn, weights
from minicnn.errors import MinicnnError, WeightsError

EXPECTED = {
    "conv1.weight": (8, 3, 3, 3),
    "bn1.weight": (8,),
    "bn1.num_batches_tracked": (),
    "fc.weight": (4, 8),
    "fc.bias": (4,),
}


class Network(nn.Module):
    def __init__(self, width=8, classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def store(tmp_path, info):
    """Writes a state and returns the path."""

    def write(state):
        weights.save(tmp_path / "network.h5", state, info)
        return tmp_path / "network.h5"

    return write


def other(**options):
    """The state of a network with other values everywhere."""
    network = Network(**options)
    rng = np.random.default_rng(5)
    return {
        name: np.array(3) if array.dtype.kind == "i" else rng.standard_normal(array.shape).astype(np.float32)
        for name, array in network.state_dict().items()
    }


def assert_state(model, expected):
    actual = model.state_dict()
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert actual[name].tobytes() == array.tobytes(), name


def assert_fails_and_changes_nothing(model, path, text, **options):
    before = model.state_dict()
    with pytest.raises(WeightsError, match=text):
        weights.load(model, path, **options)
    assert_state(model, before)


# ---- match ----------------------------------------------------------------------------------------------------------


def test_everything_fits():
    report = weights.match(EXPECTED, EXPECTED, source="a.h5")
    assert report.loaded == list(EXPECTED)
    assert report.replaced == report.missing == report.unexpected == report.mismatched == []
    assert str(report) == "a.h5: loaded 5, replaced 0, missing 0, unexpected 0, mismatched 0"
    report.raise_unless_complete()


def test_each_list_and_the_text():
    found = {**EXPECTED, "conv1.weight": (8, 3, 7, 7), "fc.weight": (9, 8), "head.bias": (2,)}
    del found["bn1.weight"]
    report = weights.match(EXPECTED, found, head=("fc.",), source="a.h5")
    assert report.loaded == ["bn1.num_batches_tracked", "fc.bias"]
    assert report.replaced == [("fc.weight", (9, 8), (4, 8))]
    assert report.missing == [("bn1.weight", (8,))]
    assert report.unexpected == [("head.bias", (2,))]
    assert report.mismatched == [("conv1.weight", (8, 3, 7, 7), (8, 3, 3, 3))]
    assert str(report).splitlines() == [
        "a.h5: loaded 2, replaced 1, missing 1, unexpected 1, mismatched 1",
        "  replaced: fc.weight (file (9, 8), network (4, 8))",
        "  mismatched: conv1.weight (file (8, 3, 7, 7), network (8, 3, 3, 3))",
        "  missing: bn1.weight (8,)",
        "  unexpected: head.bias (2,)",
    ]
    with pytest.raises(
        WeightsError,
        match=r"a\.h5: the weights do not fit the network; seen conv1\.weight is \(8, 3, 7, 7\) in the file, "
        r"\(8, 3, 3, 3\) in the network; bn1\.weight \(8,\) is missing; head\.bias \(2,\) is unexpected; "
        "hint: check architecture, width and number of classes",
    ):
        report.raise_unless_complete()


def test_only_the_named_head_may_have_another_shape():
    found = {**EXPECTED, "fc.weight": (9, 8)}
    assert weights.match(EXPECTED, found, head=("fc.",)).mismatched == []
    assert weights.match(EXPECTED, found, head=("classifier.", "fc.")).mismatched == []
    for head in ((), ("classifier.",), ("c.",)):
        report = weights.match(EXPECTED, found, head=head)
        assert report.replaced == []
        assert report.mismatched == [("fc.weight", (9, 8), (4, 8))]
        with pytest.raises(WeightsError, match=r"fc\.weight is \(9, 8\) in the file, \(4, 8\) in the network"):
            report.raise_unless_complete(strict=False)


def test_another_number_of_axes_is_another_shape():
    report = weights.match({"w": (3, 1), "v": ()}, {"w": (3,), "v": (1,)})
    assert report.loaded == []
    assert [name for name, *_ in report.mismatched] == ["w", "v"]


def test_num_batches_tracked_may_be_missing():
    found = {name: shape for name, shape in EXPECTED.items() if not name.endswith("num_batches_tracked")}
    report = weights.match(EXPECTED, found)
    assert report.missing == []
    assert len(report.loaded) == 4
    report.raise_unless_complete()


def test_strictness_decides_about_missing_and_unexpected_names():
    report = weights.match({"a": (1,), "b": (2,)}, {"a": (1,), "c": (3,)})
    report.raise_unless_complete(strict=False)
    with pytest.raises(WeightsError, match=r"b \(2,\) is missing; c \(3,\) is unexpected"):
        report.raise_unless_complete()


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_matched_is_always_an_error(strict):
    report = weights.match({"a": (1,)}, {"model.a": (1,)}, source="x.h5")
    with pytest.raises(
        WeightsError,
        match=r"x\.h5: no name in the file matches the network; seen model\.a; rule: a; hint: are these weights for",
    ):
        report.raise_unless_complete(strict=strict)


def test_a_long_list_of_problems_is_cut():
    report = weights.match({"a": (1,), **{f"w{i}": (i,) for i in range(20)}}, {"a": (1,)})
    with pytest.raises(WeightsError, match=r"w5 \(5,\) is missing and 14 more; hint") as caught:
        report.raise_unless_complete()
    assert "w6" not in str(caught.value)
    assert str(report).count("missing: ") == 20  # the report itself says everything


# ---- load -----------------------------------------------------------------------------------------------------------


def test_load_copies_every_value(network, store):
    state = other()
    report = weights.load(network, store(state))
    assert_state(network, state)
    assert set(report.loaded) == set(state)
    assert str(report).endswith("network.h5: loaded 9, replaced 0, missing 0, unexpected 0, mismatched 0")


def test_load_from_half_precision(network, tmp_path, info):
    state = other()
    weights.save(tmp_path / "half.h5", state, info, storage="float16")
    weights.load(network, tmp_path / "half.h5")
    assert network.conv1.weight.dtype == np.float32
    assert np.array_equal(network.conv1.weight.array, state["conv1.weight"].astype(np.float16).astype(np.float32))


def test_load_into_a_float64_network(network, store):
    state = other()
    weights.load(network.double(), store(state))
    assert network.fc.weight.dtype == np.float64
    assert np.array_equal(network.fc.weight.array, state["fc.weight"].astype(np.float64))


def test_a_head_of_another_size_is_kept_whole_and_reported(network, store):
    before, state = network.state_dict(), other(classes=9)
    report = weights.load(network, store(state))
    assert_state(network, {name: before[name] if name.startswith("fc.") else array for name, array in state.items()})
    assert sorted(report.replaced) == [("fc.bias", (9,), (4,)), ("fc.weight", (9, 8), (4, 8))]
    assert "replaced: fc.weight (file (9, 8), network (4, 8))" in str(report)


def test_a_new_weight_does_not_go_with_an_old_bias(network, store):
    before, state = network.state_dict(), other()
    state["fc.weight"] = np.ones((4, 9), np.float32)  # the bias would fit
    report = weights.load(network, store(state))
    assert_state(network, {name: before[name] if name.startswith("fc.") else array for name, array in state.items()})
    assert ("fc.bias", (4,), (4,)) in report.replaced
    assert "fc.bias" not in report.loaded


def test_the_head_is_loaded_where_it_fits(network, store):
    state = other()
    report = weights.load(network, store(state), head=("fc.", "bn1."))
    assert report.replaced == []
    assert_state(network, state)


def test_no_head_is_excused_when_none_is_named(network, store):
    path = store(other(classes=9))
    assert_fails_and_changes_nothing(network, path, r"fc\.weight is \(9, 8\) in the file, \(4, 8\)", head=())


def test_another_width(network, store):
    path = store(other(width=16))
    text = r"network\.h5: the weights do not fit the network; seen conv1\.weight is \(16, 3, 3, 3\) in the file, \(8, "
    assert_fails_and_changes_nothing(network, path, text)
    assert_fails_and_changes_nothing(network, path, text, strict=False)


def test_an_old_checkpoint_without_num_batches_tracked(network, store):
    network.bn1.num_batches_tracked.array[...] = 11
    state = other()
    del state["bn1.num_batches_tracked"]
    report = weights.load(network, store(state))
    assert report.missing == []
    assert_state(network, {**state, "bn1.num_batches_tracked": np.array(11)})


def test_a_missing_parameter(network, store):
    before, state = network.state_dict(), other()
    del state["bn1.running_var"]
    path = store(state)
    assert_fails_and_changes_nothing(network, path, r"seen bn1\.running_var \(8,\) is missing; hint")
    report = weights.load(network, path, strict=False)
    assert report.missing == [("bn1.running_var", (8,))]
    assert_state(network, {**state, "bn1.running_var": before["bn1.running_var"]})


def test_an_unexpected_parameter(network, store):
    state = other()
    path = store({**state, "extra.0.weight": np.ones(5, np.float32)})
    assert_fails_and_changes_nothing(network, path, r"seen extra\.0\.weight \(5,\) is unexpected; hint")
    report = weights.load(network, path, strict=False)
    assert report.unexpected == [("extra.0.weight", (5,))]
    assert_state(network, state)


@pytest.mark.parametrize("strict", [True, False])
def test_names_of_another_library(network, store, strict):
    path = store({f"module.{name}": array for name, array in other().items()})
    assert_fails_and_changes_nothing(network, path, "no name in the file matches the network", strict=strict)


def test_a_damaged_file(network, store):
    state = other()
    path = store(state)
    content = bytearray(path.read_bytes())
    content[content.index(state["fc.bias"].tobytes())] ^= 1
    path.write_bytes(content)
    assert_fails_and_changes_nothing(network, path, r"fc\.bias': values that do not match their Fletcher-32 checksum")


def test_a_file_that_is_exchanged_between_looking_and_reading(network, store, info, monkeypatch):
    path = store(other())
    look = weights.hdf5.shapes

    def look_and_exchange(at):
        found = look(at)
        weights.save(at, {"fc.bias": np.ones(4, np.float32)}, info)
        return found

    monkeypatch.setattr("minicnn.weights.hdf5.shapes", look_and_exchange)
    assert_fails_and_changes_nothing(network, path, "the file changed while it was read; hint: load it again")


def test_a_file_exchanged_for_one_of_other_shapes(network, store, info, monkeypatch):
    path = store(other())
    look = weights.hdf5.shapes

    def look_and_exchange(at):
        found = look(at)
        weights.save(at, other(width=16), info)
        return found

    monkeypatch.setattr("minicnn.weights.hdf5.shapes", look_and_exchange)
    before = network.state_dict()
    with pytest.raises(MinicnnError, match=r"conv1\.weight has another shape"):
        weights.load(network, path)
    assert_state(network, before)


def test_a_missing_file(network, tmp_path):
    assert_fails_and_changes_nothing(network, tmp_path / "no.h5", r"no\.h5: there is no such file")
