"""What `minicnn bench --versus torch` compares with: PyTorch's results of every pass are those of the formula."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tiny_work import PASSES, tiny_shapes  # noqa: E402

from minicnn.study import bench  # noqa: E402
from minicnn.study.work import several, work_of  # noqa: E402


@pytest.mark.parametrize(("name", "pass_name"), PASSES)
def test_pytorch_computes_the_same(name, pass_name):
    work = work_of(name, **tiny_shapes(name), pass_name=pass_name)
    reference = work.reference()
    for layout in bench._layouts(work):
        row, call = bench._try_torch(work, torch, layout, reference)
        assert row.ok, row
        assert row.error < 1e-5
        assert not any(y.requires_grad for y in several(call()))
