from __future__ import annotations

import pytest

from minicnn.training.sources import Source
from minicnn.training.ways import FROZEN, LEARNING_RATES, SCRATCH, TUNED, Journey, choose


@pytest.mark.parametrize(
    ("freeze", "compare", "names"),
    [
        ("none", True, [SCRATCH, FROZEN, TUNED]),
        ("until=conv", True, [SCRATCH, FROZEN, TUNED]),
        ("backbone", True, [SCRATCH, FROZEN]),
        ("none", False, [TUNED]),
        ("backbone", False, [FROZEN]),
    ],
)
def test_the_way_that_was_asked_for_is_the_last(freeze, compare, names):
    chosen = choose(freeze, None, compare)
    assert [way.name for way in chosen] == names
    assert chosen[-1].freeze == freeze
    assert [way.pretrained for way in chosen] == [name != SCRATCH for name in names]
    assert [way.lr for way in chosen] == [LEARNING_RATES[name] for name in names]
    assert {way.lr for way in choose(freeze, 0.5, compare)} == {0.5}


@pytest.mark.parametrize(("count", "sizes"), [(16, [4] * 4), (17, [4] * 4), (18, [4] * 4 + [2]), (1, [1]), (3, [3])])
def test_no_batch_of_one_image_at_the_end(stripes, count, sizes):
    journey = Journey(None, Source("", "", [], None, None), 1, 4, 0, False)
    assert [len(labels) for _, labels in journey._training_loader(stripes(count))] == sizes


def test_the_order_depends_on_the_seed_and_a_batch_may_be_one_image(stripes):
    def order(seed, size):
        loader = Journey(None, Source("", "", [], None, None), 1, size, seed, False)._training_loader(stripes(12))
        return [float(x.array.sum()) for x, _ in loader]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(1, 1)
    assert sorted(order(0, 1)) == sorted(order(1, 1))
    assert len(order(0, 1)) == 12
