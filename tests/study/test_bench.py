"""Measuring algorithms: who stands in the table, who is called wrong, and the picture. No test looks at a time."""

from __future__ import annotations

import functools
import itertools
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from tiny_work import PASSES, tiny_shapes

import minicnn
from minicnn.errors import AlgorithmError, ArgumentError, MissingPackageError, ShapeError
from minicnn.ops.conv2d import formula
from minicnn.ops.registry import OPERATIONS
from minicnn.study import bench, peak, roofline, timing
from minicnn.study import work as work_module
from minicnn.study.cases import CASES
from minicnn.study.layers import LAYERS, RESNET18, VGG16
from minicnn.study.work import layer_work, work_of

MACHINE = peak.Peak(flops=1e11, bandwidth=1e10, threads=2)
QUICK = {"rounds": 1, "repetitions": 1, "pause": 0.0, "machine": MACHINE}
SMALL = {"shape": (2, 3, 7, 6), "kernel": (4, 3, 3)}


@pytest.fixture(autouse=True)
def _no_warming(monkeypatch):
    """Candidates run a few times only; no test looks at times."""
    for name in ("WARM", "TIMED", "SHORTEST"):
        monkeypatch.setattr(timing, name, 0.0)


@pytest.fixture
def own():
    """Registers algorithms of conv2d for one test."""
    names = []

    def register(name, **passes):
        minicnn.register_algorithm("conv2d", name, **passes)
        names.append(name)

    yield register
    for name in names:
        minicnn.unregister_algorithm("conv2d", name)


# ---- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pass_name", ["forward", "grad_input", "grad_weight"])
def test_every_algorithm_that_supports_the_work_is_in_the_table(pass_name):
    work = work_of("conv2d", **SMALL, pass_name=pass_name)
    rules = work.op.supporting(work.problem())
    result = bench.measure(work, **QUICK)
    assert {row.name for row in result.rows} == {name for name, rule in rules.items() if not rule}
    assert result.left_out == {name: rule for name, rule in rules.items() if rule}
    assert {"im2col", "loops", "formula"} <= {row.name for row in result.rows}
    for row in result.rows:
        assert row.ok, row
        assert row.error < 1e-5
        assert math.isclose(row.rate, work.flops / row.seconds)
        assert math.isclose(row.share, row.rate / 1e11)
        assert f"\n{row.name} " in str(result)
    assert [row.seconds for row in result.rows] == sorted(row.seconds for row in result.rows)


# ---- every operation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "pass_name"), PASSES)
def test_every_pass_of_every_operation(name, pass_name):
    """It is measured where it is right; where a number is wrong, of any of its results, it is called wrong."""
    work = work_of(name, **tiny_shapes(name), pass_name=pass_name)
    right = work.op.algorithm("formula").passes[pass_name]
    results = right(*work.arrays, **work.options)
    many = len(results) if isinstance(results, tuple) else 1
    wrong = {f"wrong in {i}": functools.partial(_one_off, right, i) for i in range(many)}
    for title, function in wrong.items():
        minicnn.register_algorithm(name, title, **{pass_name: function})
    try:
        named = dict.fromkeys(["formula", *wrong])
        found = {title: bench.measure(work, begin=title, end="formula", **QUICK) for title in named}
    finally:
        for title in wrong:
            minicnn.unregister_algorithm(name, title)
    assert found["formula"].row("formula").seconds > 0
    for title in wrong:
        row = found[title].row(title)
        assert row.verdict.startswith("wrong: "), (title, row)
        assert math.isnan(row.seconds)


def _one_off(function, i, *arrays, **options):
    """The results, but the largest number of the one in place i is wrong."""
    results = function(*arrays, **options)
    several = list(results) if isinstance(results, tuple) else [results]
    several[i] = np.array(several[i], order="C")
    flat = several[i].reshape(-1)
    flat[np.abs(flat).argmax()] += several[i].dtype.type(1)
    return tuple(several) if isinstance(results, tuple) else several[0]


def test_cases_and_operations_are_the_same():
    assert set(CASES) == set(OPERATIONS)
    assert PASSES[0][1] == "forward"


def test_a_view_moves_nothing():
    work = work_of("transpose", (2, 3, 4, 5))
    assert (work.view, work.bytes, work.intensity) == (True, 0.0, 0.0)
    assert not work_of("concatenate", (2, 3, 4, 5)).view


def test_what_takes_too_long_is_left_out_unless_it_is_named(monkeypatch):
    work = work_of("conv2d", **SMALL)
    monkeypatch.setattr(type(work), "estimate", lambda self, name: 99.0 if name == "loops" else 0.0)
    result = bench.measure(work, **QUICK)
    assert result.left_out["loops"] == "some 99 s a call; --from loops measures it all the same"
    assert bench.choose(work, "loops", None)[0].count("loops") == 1


def test_the_estimate_grows_with_the_batch(monkeypatch):
    monkeypatch.setattr(work_module, "LARGE", 0.0)
    monkeypatch.setattr(work_module.time, "perf_counter", itertools.count().__next__)
    assert work_of("conv2d", **SMALL).estimate("formula") == 2.0  # a second an image, by this clock
    assert work_of("relu", (2, 3)).estimate("formula") == 0.0


def test_what_the_work_costs():
    work = work_of("conv2d")
    assert work.flops == 2 * 8 * 64 * 56 * 56 * 64 * 9
    assert work.bytes == 4 * (2 * 8 * 64 * 56 * 56 + 64 * 64 * 9)
    assert work.intensity == work.flops / work.bytes
    assert work_of("linear", (5, 7), (3,)).flops == 2 * 5 * 7 * 3
    assert work_of("relu", (2, 3)).bytes == 2 * 6 * 4
    assert work_of("max_pool2d", (1, 2, 8, 8)).shapes[0] == (1, 2, 4, 4)


def test_an_algorithm_of_ones_own(own):
    own("mine", forward=formula.forward)
    result = bench.measure(work_of("conv2d", **SMALL), **QUICK)
    assert result.row("mine").ok
    assert np.isfinite(result.row("mine").seconds)
    backward = bench.measure(work_of("conv2d", **SMALL, pass_name="grad_input"), **QUICK)
    assert backward.left_out["mine"] == "it has no pass grad_input"
    assert "left out: mine: it has no pass grad_input" in str(backward)


def _nan(*arrays, **options):
    y = formula.forward(*arrays, **options)
    y[0, 0, 0, 0] = np.nan
    return y


def _raises(*arrays, **options):
    raise ZeroDivisionError("by nought")


@pytest.mark.parametrize(
    ("kernel", "verdict"),
    [
        (lambda *a, **o: 1.01 * formula.forward(*a, **o), "wrong: error 1.0e-02 of the largest value"),
        (_nan, "wrong: NaN, infinity, or another shape"),
        (_raises, "wrong: ZeroDivisionError: by nought"),
        (lambda *a, **o: formula.forward(*a, **o)[:1], "wrong: AlgorithmError: conv2d.forward: the result of your"),
    ],
)
def test_a_wrong_algorithm_is_called_wrong_and_not_timed(own, kernel, verdict):
    own("mine", forward=kernel)
    result = bench.measure(work_of("conv2d", **SMALL), **QUICK)
    row = result.row("mine")
    assert row.verdict.startswith(verdict)
    assert math.isnan(row.seconds)
    assert not row.ok
    assert result.rows[-1] is row
    assert all(other.ok for other in result.rows[:-1])
    assert verdict in str(result)


def test_an_algorithm_that_is_wrong_only_after_a_while(own):
    calls = []

    def tired(*arrays, **options):
        calls.append(1)
        return formula.forward(*arrays, **options) * (1 if len(calls) < 14 else 2)

    own("mine", forward=tired)
    row = bench.measure(work_of("conv2d", **SMALL), **QUICK).row("mine")
    assert row.verdict.endswith("(after timing)")
    assert math.isnan(row.seconds)


def test_from_one_to_another():
    result = bench.measure(work_of("conv2d", **SMALL), begin="loops", end="im2col", **QUICK)
    assert {row.name for row in result.rows} == {"loops", "im2col"}
    ((a, b, times),) = result.steps
    assert (a, b) == ("loops", "im2col")
    assert math.isclose(times, result.row("loops").seconds / result.row("im2col").seconds)
    assert "from loops to im2col: " in str(result)
    alone = bench.measure(work_of("conv2d", **SMALL), begin="formula", **QUICK)
    assert all(step[0] == "formula" for step in alone.steps)
    assert len(alone.rows) > 2


def test_an_algorithm_that_cannot(own):
    own("mine", forward=formula.forward)
    with pytest.raises(AlgorithmError, match=r"'mine' does not support this problem.*it has no pass grad_weight"):
        bench.measure(work_of("conv2d", **SMALL, pass_name="grad_weight"), begin="mine", **QUICK)
    with pytest.raises(AlgorithmError, match="no algorithm is named 'fast'"):
        bench.measure(work_of("conv2d", **SMALL), end="fast", **QUICK)


def test_progress_is_counted():
    seen = []
    bench.measure(work_of("relu", (4, 5)), progress=lambda what, total: seen.append(total), **QUICK)
    assert set(seen) == {len(seen)}


def test_json():
    result = bench.measure(work_of("conv2d", **SMALL), **QUICK)
    found = json.loads(json.dumps(result.as_dict()))
    assert found["problem"] == "x 2x3x7x6, w 4x3x3x3, stride 1, padding 1"
    assert {row["name"] for row in found["rows"]} == {row.name for row in result.rows}
    assert found["machine"]["flops"] == 1e11


# ---- a library ------------------------------------------------------------------------------------------------------


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingPackageError) as caught:
        bench.measure(work_of("conv2d", **SMALL), versus="torch", **QUICK)
    assert str(caught.value) == "bench: PyTorch is not installed; hint: pip install minicnn[bench]"


def test_an_unknown_library():
    with pytest.raises(ArgumentError, match=r"unknown library; seen --versus jax; rule: torch"):
        bench.measure(work_of("conv2d", **SMALL), versus="jax", **QUICK)


# ---- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: work_of("conv2d", (1, 2, 3)),
            ArgumentError,
            "shape does not fit conv2d; seen 1x2x3; rule: 4 sizes of 1 or more, NxCxHxW",
        ),
        (lambda: work_of("conv2d", (1, 0, 3, 3)), ArgumentError, "shape does not fit conv2d"),
        (lambda: work_of("conv2d", kernel=(3, 3)), ArgumentError, "kernel does not fit conv2d; seen 3x3"),
        (lambda: work_of("conv2d", (1, 1, 2, 2), (1, 7, 7), padding=0), ShapeError, "the kernel is larger"),
        (lambda: work_of("conv2d", (9999, 999, 99, 99)), ArgumentError, "too large to measure"),
        (lambda: work_of("conv2d", pass_name="sideways"), ArgumentError, "unknown pass; seen --pass sideways"),
        (lambda: work_of("relu", (2,), pass_name="grad_weight"), ArgumentError, "unknown pass"),
        (lambda: work_of("lstm", kernel=(5, 3)), ArgumentError, "kernel does not fit lstm; seen 5x3; rule: 1 size of"),
        (lambda: work_of("linear", (9, 9), (2**30,)), ArgumentError, "too large to measure; seen 9x9 and 1073741824"),
        (lambda: work_of("conv2d", (1, 1, 9, 9), padding=10**6), ArgumentError, "too large to measure"),
        (lambda: work_of("softmax", stride=2), ArgumentError, "softmax has no stride; hint: leave out --stride"),
        (lambda: work_of("linear", padding=0), ArgumentError, "linear has no padding; hint: leave out --padding"),
    ],
)
def test_bad_work(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_layers():
    assert (len(RESNET18), len(VGG16)) == (11, 9)
    assert len(set(LAYERS.values())) == len(LAYERS)
    work = layer_work(LAYERS["resnet18.layer2.0.downsample.0"], 1)
    assert work.shapes == ((1, 128, 28, 28),)


# ---- timing ---------------------------------------------------------------------------------------------------------


def test_candidates_take_turns():
    seen, steps = [], []
    calls = {name: lambda name=name: seen.append(name) for name in "ab"}
    seconds = timing.interleaved(calls, rounds=2, repetitions=1, pause=0, step=lambda: steps.append(1))
    assert list(dict.fromkeys(seen)) == ["a", "b"]
    turns = [a for a, before in zip(seen, [None, *seen], strict=False) if a != before]
    assert turns == ["a", "b", "a"]  # the second round goes backwards
    assert set(seconds) == {"a", "b"}
    assert len(steps) == 4


def test_relative_error():
    right = np.array([1.0, -4.0])
    assert timing.relative_error(np.array([1.0, -3.0]), right) == 0.25
    assert timing.relative_error(np.array([1.0, np.nan]), right) == math.inf
    assert timing.relative_error(np.array([1.0]), right) == math.inf
    assert timing.relative_error(np.array([np.inf, 1.0]), right) == math.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_machine_is_measured(dtype):
    found = peak.measure(dtype, steps=2, stream=2**14)
    assert found.flops > 1e6
    assert found.bandwidth > 1e6
    assert found.threads >= 1
    assert peak.measure(dtype, steps=2, stream=2**14) is found


# ---- the picture ----------------------------------------------------------------------------------------------------


def test_the_picture_is_a_png(own):
    own("a $dollar$ and a very very very long name", forward=formula.forward)
    png = roofline.roofline(bench.measure(work_of("conv2d", **SMALL), **QUICK))
    assert png.startswith(b"\x89PNG")
    assert roofline.roofline(bench.measure(work_of("relu", (4, 5)), **QUICK)).startswith(b"\x89PNG")


def test_labels_do_not_cover_each_other():
    places = roofline.spread([0.1, 0.5, 0.5, 0.51, 0.9], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(places))
    assert places[0] == 0.1
    assert places[-1] == 0.9
    assert places == sorted(places)
