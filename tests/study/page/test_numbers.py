"""Blocks of arrays by key, their bounds, and a description that holds only plain values."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minicnn
from minicnn.errors import ArgumentError, MissingPackageError
from minicnn.study.page import explorer
from minicnn.study.page.explained import entries
from minicnn.study.page.notebook import answer
from minicnn.study.page.numbers import LONGEST_NAME, Numbers, clipped


def test_the_description_is_plain_json_and_names_are_bounded(numbers, recording):
    text = json.dumps(numbers.description, allow_nan=False, ensure_ascii=False)
    assert "\u202e" not in text  # letters that turn the direction of text are written out
    assert len(numbers.description["steps"]) == len(recording.steps)
    assert max(map(len, numbers.description["classes"])) <= LONGEST_NAME
    assert clipped("a" * 500)[-1] == "…"
    assert numbers.description["loss"] == pytest.approx(recording.loss.item())


def test_values_gradients_and_shares_are_the_engines_own(numbers, recording):
    for step, told in zip(recording.steps, numbers.description["steps"], strict=True):
        np.testing.assert_array_equal(numbers.block(f"t{told['output']}"), step.output.array)
        np.testing.assert_array_equal(numbers.block(f"g{told['output']}"), step.dy)
        gradients = step.gradients()
        for name in told["own"]:
            np.testing.assert_array_equal(numbers.block(f"c{step.number}:{name}"), gradients[name])
    shared = [name for told in numbers.description["steps"] for name in told["own"]]
    assert {"x", "w", "b"} <= set(shared)  # conv3 runs twice: each use has its own share
    np.testing.assert_array_equal(numbers.block("g0"), recording.images.grad.array)


def test_a_block_is_a_part_of_its_array(numbers, recording):
    part = numbers.block("t0", [[1, 2], [0, 2], [3, 7], [8, 9]])
    np.testing.assert_array_equal(part, recording.images.array[1:2, :, 3:7, 8:9])
    assert part.dtype == np.dtype("<f4")
    pool = next(i for i, step in enumerate(numbers.description["steps"]) if step["operation"] == "max_pool2d")
    assert numbers.block(f"k{pool}:winner").dtype == np.dtype("<i4")


@pytest.mark.parametrize(
    ("key", "ranges"),
    [
        ("t999", None),
        ("x0", None),
        ("__class__", None),
        ("k0:__dict__", None),
        ("t0", []),
        ("t0", [[0, 1]]),
        ("t0", [[0, 3], [0, 2], [0, 10], [0, 9]]),
        ("t0", [[-1, 1], [0, 2], [0, 10], [0, 9]]),
        ("t0", [[1, 0], [0, 2], [0, 10], [0, 9]]),
        ("t0", [[0, True], [0, 2], [0, 10], [0, 9]]),
        ("t0", [[0.0, 1], [0, 2], [0, 10], [0, 9]]),
        ("t0", [["0", 1], [0, 2], [0, 10], [0, 9]]),
        ("t0", [[0, 1, 2], [0, 2], [0, 10], [0, 9]]),
    ],
)
def test_other_keys_and_ranges_are_refused(numbers, key, ranges):
    with pytest.raises(ArgumentError):
        numbers.block(key, ranges)
    reply, data = answer(numbers, {"id": 5, "key": key, "ranges": ranges})
    assert reply["id"] == 5
    assert reply["error"]
    assert data == b""


@pytest.mark.parametrize(
    ("key", "index"),
    [
        ("e999:y", (0,)),
        ("e0", ()),
        ("e0:__class__", ()),
        ("e0:y", (0, 0)),
        ("e0:y", (0, 4, 0, 0)),
        ("e0:y", (0, 0, 0, -1)),
    ],
)
def test_other_explanations_are_refused(others, key, index):
    with pytest.raises(ArgumentError):
        others.explanation(key, index)
    assert answer(others, {"id": 1, "key": key, "ranges": [[i, i + 1] for i in index]})[0]["error"]


def test_an_explanation_is_bounded_and_says_where_its_factors_stand(others):
    lstm = next(i for i, step in enumerate(others.description["steps"]) if step["operation"] == "lstm")
    told = others.explanation(f"e{lstm}:y", (0, 2, 1, 0), 2)
    gate = told["parts"][0]["parts"][0]  # what the sigmoid of the first gate is taken of
    assert (len(gate["terms"]), gate["many"]) == (2, 8)
    assert gate["rest"] + sum(term["value"] for term in gate["terms"]) == pytest.approx(gate["total"])
    factors = [factor for term in others.explanation(f"e{lstm}:y", (1, 2, 1, 0))["terms"] for factor in term["factors"]]
    assert ["c_before", [2, 1, 0], others.values_of(f"e{lstm}:y")[1, 1, 1, 0], "y", [1, 1, 1, 0]] in factors


def test_entries_of_a_file_are_bounded_and_begin_where_the_page_does():
    values = np.random.default_rng(0).standard_normal((2, 3, 20, 20))
    found = entries(values, 24)
    assert len(found) <= 24
    assert found[0] == (0, 0, *np.unravel_index(np.abs(values[0, 0]).argmax(), (20, 20)))
    assert np.unravel_index(np.abs(values).argmax(), values.shape) in found
    assert sorted(entries(values[0, 0, :2, :3], 24)) == list(np.ndindex(2, 3))
    assert entries(np.float32(3), 24) == [()]
    assert entries(np.empty((0, 3)), 24) == []


def test_a_block_has_a_largest_size(numbers, monkeypatch):
    monkeypatch.setattr("minicnn.study.page.numbers.MOST_VALUES", 100)
    numbers.block("t0", [[0, 1], [0, 1], [0, 10], [0, 9]])
    with pytest.raises(ArgumentError, match="too large a block"):
        numbers.block("t0", [[0, 1], [0, 2], [0, 10], [0, 9]])


@pytest.mark.parametrize("request_", [None, 3, "t0", [], {}, {"key": ["t0"]}, {"key": "t0", "ranges": 7}])
def test_requests_that_make_no_sense_get_an_error(numbers, request_):
    reply, data = answer(numbers, request_)
    assert "error" in reply
    assert data == b""


def test_a_notebook_without_anywidget_is_told_what_to_install(numbers, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "anywidget", None)
    with pytest.raises(MissingPackageError, match="or anywidget"):
        explorer(numbers)


def test_the_widget_answers_the_pages_requests(numbers):
    pytest.importorskip("anywidget")
    widget = explorer(numbers)
    sent = []
    widget.send = lambda content, buffers: sent.append((content, buffers))
    widget._handle_custom_msg({"id": 1, "key": "t0", "ranges": [[0, 1], [0, 1], [0, 1], [0, 2]]}, [])
    assert sent == [({"id": 1, "type": "float32"}, [numbers.block("t0", [[0, 1], [0, 1], [0, 1], [0, 2]]).tobytes()])]
    assert "export default { render }" in widget._esm
    data, _ = widget._repr_mimebundle_()
    assert "embed=True" in data["text/plain"]  # what a reader without widgets sees
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    assert widget.description["steps"]


def test_a_network_explores_itself_with_the_numbers_in_the_notebook(recording, monkeypatch):
    """In one line, without anywidget; the page is one attribute of a frame that may only run its script."""
    monkeypatch.setitem(__import__("sys").modules, "anywidget", None)
    images = recording.images.detach()
    made = recording.model.explore(images, [2, 0], classes=["</iframe>\"'<b>"], embed=True)
    (frame,) = ET.fromstring(f"<div>{made._repr_html_()}</div>")
    assert (frame.tag, frame.get("sandbox")) == ("iframe", "allow-scripts")
    assert " ".join(frame.get("srcdoc").split()) == " ".join(made.page.split())
    assert "Network, " in repr(made)
    with pytest.raises(ArgumentError, match="limit"):
        recording.model.explore(images, embed=True, limit=0)
    with pytest.raises(MissingPackageError, match="embed=True"):
        recording.model.explore(images)
    with pytest.raises(ArgumentError, match="not a network"):
        minicnn.explore("model", images)


def test_a_run_without_labels_has_no_gradients(recording):
    from minicnn.study.recording import record

    told = Numbers(record(recording.model, recording.images.array)).description
    assert told["loss"] is None
    assert not any(step["back"] or step["own"] for step in told["steps"])
    assert not any(tensor["gradient"] for tensor in told["tensors"])
