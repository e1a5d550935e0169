"""The orders in which Winograd's convolutions go through tiles, channels and points: each forced, on small problems.

Which order runs is decided by sizes that small problems do not have; here the limits are moved.
"""

from __future__ import annotations

import determinism_work as work
import numpy as np
import pytest
from compare import assert_close

from minicnn.backends.images import MANY, Images
from minicnn.ops.conv2d import cost, direct, formula, winograd, winograd2, winograd4
from minicnn.ops.conv2d.prepared import Prepared

FORMS = {"winograd2": winograd2, "winograd4": winograd4}
SAME = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
# N, C, K, (H, W): odd sizes, blocks of 64 channels that are not full, more than one of them, one image
PROBLEMS = [(2, 3, 5, (7, 5)), (1, 70, 20, (9, 6)), (3, 17, 130, (5, 8)), (2, 65, 66, (4, 13)), (1, 1, 1, (1, 1))]
ORDERS = {
    "fused": {"FUSED_BYTES": 2**40, "panels": 2**40},
    "by points": {"FUSED_BYTES": -1, "panels": 2**40},
    "by panels": {"panels": -1},
    "gradients in parts": {"GRADIENT_FUSED_BYTES": 2**40, "FUSED_TILES": 2, "PARTS": 3, "panels": 2**40},
    "gradients by blocks": {"GRADIENT_FUSED_BYTES": -1, "panels": 2**40},
    "gradients by blocks, few tiles at a time": {
        "GRADIENT_FUSED_BYTES": -1,
        "GRADIENT_BYTES": (3 * 2**16, 3 * 2**16),
        "panels": 2**40,
    },
}


@pytest.fixture(params=ORDERS)
def order(request, monkeypatch):
    for name, value in ORDERS[request.param].items():
        if name == "panels":
            monkeypatch.setattr(cost, "PANELS_BYTES", value)
        else:
            monkeypatch.setattr(winograd, name, value)
    return request.param


def draw(problem, dtype):
    n, c, k, size = problem
    rng = np.random.default_rng(0)
    shapes = (n, c, *size), (k, c, 3, 3), (k,), (n, k, *size)
    return [rng.standard_normal(shape).astype(np.float32).astype(dtype) for shape in shapes]


def passes(module, x, w, b, dy):
    return {
        "forward": module.forward(x, w, b, **SAME),
        "grad_input": module.grad_input(dy, w, x_shape=x.shape, **SAME),
        "grad_weight": module.grad_weight(dy, x, w_shape=w.shape, **SAME),
    }


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FORMS)
def test_every_order_against_the_formula(order, name, dtype, problem):
    arrays = draw(problem, dtype)
    right = passes(formula, *(a.astype(np.float64) for a in arrays))
    for pass_name, result in passes(FORMS[name], *arrays).items():
        rtol = 1e-12 if dtype is np.float64 else 5e-6
        assert_close(result.astype(np.float64), right[pass_name], rtol=rtol, atol=0.0)


@pytest.mark.parametrize("problem", PROBLEMS[1:4], ids=str)
def test_threads_do_not_change_a_bit(order, problem):
    arrays, found = draw(problem, np.float32), []
    for count in (1, 2):
        with work.threads(count):
            found.append({name: np.ascontiguousarray(a).tobytes() for name, a in passes(winograd4, *arrays).items()})
    assert found[0] == found[1]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("panels", [-1, 2**40])
@pytest.mark.parametrize("relu", [False, True])
def test_prepared_weights_with_residual_and_relu(monkeypatch, panels, name, problem, relu):
    monkeypatch.setattr(cost, "PANELS_BYTES", panels)
    monkeypatch.setattr(cost, "WEIGHT_OPERATIONS", {2: 0.0, 4: 0.0})
    monkeypatch.setattr("minicnn.ops.conv2d.prepared.ALGORITHMS", (name,))
    x, w, b, residual = draw(problem, np.float32)
    prepared = Prepared(w, b, SAME, x.shape)
    assert prepared.algorithm == name
    right = formula.forward(*(a.astype(np.float64) for a in (x, w, b)), **SAME) + residual
    right = np.maximum(right, 0) if relu else right
    for _ in range(2):
        assert_close(prepared(x, residual, relu).astype(np.float64), right, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["winograd4", "direct"])
def test_images_so_large_that_they_are_written_past_the_caches(name):
    """65 x 127 pixels of 16 numbers, 10 images: more than MANY numbers, edges that are no whole tiles."""
    module = {**FORMS, "direct": direct}[name]
    x, w, b, dy = draw((10, 2, 3, (65, 127)), np.float32)
    assert Images.of(x).flat.size > MANY
    right = passes(formula, *(a.astype(np.float64) for a in (x, w, b, dy)))
    for pass_name, result in passes(module, x, w, b, dy).items():
        assert_close(result.astype(np.float64), right[pass_name], rtol=3e-5, atol=0.0)
