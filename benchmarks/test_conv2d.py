"""Every algorithm of conv2d, each pass, on the convolutions of ResNet-18 and VGG-16, next to PyTorch; batch 8."""

from __future__ import annotations

import functools
from typing import Any

import peers
import pytest
import rows

from minicnn.ops.registry import operation
from minicnn.study import bench
from minicnn.study.layers import LAYERS
from minicnn.study.work import Work, layer_work

SLOW = {"loops", "formula"}  # seconds a call on large images: `minicnn bench conv2d` shows them on one shape
NAMES = [*(name for name in operation("conv2d").algorithms if name not in SLOW), *peers.LAYOUTS]


@functools.lru_cache(maxsize=1)  # one after the other share it
def work_of(layer: str, pass_name: str) -> tuple[Work, Any]:
    """The work, and its right answer."""
    work = layer_work(LAYERS[layer], 8, pass_name)
    return work, work.reference()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pass_name", rows.PASSES)
@pytest.mark.parametrize("layer", LAYERS)
def test_conv2d(measure, benchmark, layer, pass_name, name):
    """One algorithm, or PyTorch in one layout, on one layer."""
    work, right = work_of(layer, pass_name)
    benchmark.group = f"conv2d {layer} {pass_name}"
    if name in peers.LAYOUTS:
        call = rows._in_torch(work, peers.LAYOUTS[name])
    else:
        rule = work.op.supporting(work.problem())[name]
        if rule:
            pytest.skip(rule)
        own = work if name == "im2col" else bench.last_layout(work)
        call = functools.partial(own.run, name)
    assert work.error(call(), right, name in peers.LAYOUTS) < 5e-4
    measure(call)
    assert work.error(call(), right, name in peers.LAYOUTS) < 5e-4
