"""Operations that memory limits, next to PyTorch: one sweep over images, or a little more."""

from __future__ import annotations

import functools

import peers
import pytest
import rows

from minicnn.ops.registry import operation
from minicnn.study import bench
from minicnn.study.work import work_of

CASES = [
    (name, algorithm)
    for name in ("add", "batch_norm", "max_pool2d", "relu")
    for algorithm in (*operation(name).algorithms, *peers.LAYOUTS)
]


@pytest.mark.parametrize(("name", "algorithm"), CASES)
def test_memory_bound(measure, benchmark, name, algorithm):
    """One algorithm, or PyTorch in one layout."""
    work = work_of(name)
    benchmark.group = f"{name} {work.title}"
    if algorithm in peers.LAYOUTS:
        call = rows._in_torch(work, peers.LAYOUTS[algorithm])
    else:
        own = bench.last_layout(work)
        rule = own.op.supporting(own.problem())[algorithm]
        if rule:
            pytest.skip(rule)
        call = functools.partial(own.run, algorithm)
    assert work.error(call(), work.reference(), algorithm in peers.LAYOUTS) < 1e-5
    measure(call)
