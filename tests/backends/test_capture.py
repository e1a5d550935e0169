"""Captured kernels: the same numbers for other inputs, buffers of their own, threads and forks."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.autograd import Tensor, no_grad
from minicnn.backends.capture import Capture
from minicnn.backends.images import Images
from minicnn.backends.scratch import POOL, Scratch, own_pool, pool
from minicnn.backends.threads import noted
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import max_pool2d
from minicnn.ops.max_pool2d import vector


def work(x):
    return vector.largest(x, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil_mode=False)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_replay_computes_with_new_numbers():
    x = draw(2, 5, 9, 11)
    with Capture() as capture:
        y = work(x)
    first = y.copy()
    for seed in (1, 2):
        x[...] = draw(2, 5, 9, 11, seed=seed)
        capture.replay()
        np.testing.assert_array_equal(y, max_pool2d.forward(x, kernel_size=3, stride=2, padding=1)[0])
    assert not np.array_equal(first, y)


def test_a_capture_notes_only_its_own_thread():
    x, other = draw(1, 3, 8, 8), draw(1, 3, 8, 8, seed=1)
    with noted() as calls:
        elsewhere = threading.Thread(target=work, args=(other,))
        elsewhere.start()
        elsewhere.join()
        assert calls == []
        work(x)
    many = len(calls)
    assert many == 2  # the copy into images, and the maximum
    work(x)
    assert len(calls) == many


def test_buffers_of_a_capture_are_nobody_elses():
    POOL.clear()
    with own_pool() as mine:
        assert pool() is mine
        with Scratch(100, np.float32) as one:
            one[:] = 7
        images = Images((1, 1, 4, 4), np.float32)
        flat = images.flat
        del images
        assert mine.waiting == one.nbytes + flat.nbytes
    assert pool() is POOL
    assert POOL.waiting == 0


def test_pools_return_after_an_error():
    with pytest.raises(ZeroDivisionError), Capture():
        _ = 1 / 0
    assert pool() is POOL
    assert work(draw(1, 1, 4, 4)).shape == (1, 1, 2, 2)


# ---- the network that uses it ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    minicnn.manual_seed(0)
    model = models.resnet18(num_classes=7, width=16, stem="small")
    return model.eval(), minicnn.fuse(model)


def test_a_fused_network_gives_new_results_for_new_images(network):
    model, fused = network
    kept = []
    for seed in range(3):
        x = Tensor(draw(2, 3, 20, 20, seed=seed))
        with no_grad():
            right = model(x).array
        found = fused(x).array
        assert np.abs(found - right).max() < 2e-5 * np.abs(right).max()
        kept.append((found, found.copy()))
    for found, copy in kept:  # nobody writes into a result
        np.testing.assert_array_equal(found, copy)


def test_a_result_that_is_a_buffer_of_the_plan_is_copied():
    fused = minicnn.fuse(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU()))
    first = fused(Tensor(draw(1, 2, 5, 5))).array
    before = first.copy()
    fused(Tensor(draw(1, 2, 5, 5, seed=1)))
    np.testing.assert_array_equal(first, before)


def test_nan_in_one_batch_is_gone_in_the_next(network):
    _, fused = network
    x = draw(2, 3, 20, 20)
    right = fused(Tensor(x)).array
    bad = x.copy()
    bad[0, 0, 3, 3] = np.nan
    assert np.isnan(fused(Tensor(bad)).array[0]).all()
    np.testing.assert_array_equal(fused(Tensor(x)).array, right)


def test_images_of_any_strides(network):
    _, fused = network
    x = draw(2, 3, 20, 20)
    right = fused(Tensor(x)).array
    last = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    for other in (last, np.flip(np.flip(x).copy()), Images.of(x).array, np.asfortranarray(x)):
        np.testing.assert_array_equal(fused(Tensor(other)).array, right)


def test_threads_take_turns(network):
    _, fused = network
    images = [draw(2, 3, 20, 20, seed=seed) for seed in range(4)]
    right = [fused(Tensor(x)).array for x in images]
    wrong = []

    def many(i):
        for _ in range(10):
            if not np.array_equal(fused(Tensor(images[i])).array, right[i]):
                wrong.append(i)

    threads = [threading.Thread(target=many, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_plans_are_kept_for_a_few_shapes(network):
    _, fused = network
    for size in range(8, 15):
        fused(Tensor(draw(1, 3, size, size)))
    assert len(fused._plans) == 4


def test_a_named_algorithm_has_a_plan_of_its_own():
    class Pool(nn.Module):
        def forward(self, x):
            return F.max_pool2d(x, 2)

    fused, x = minicnn.fuse(Pool()), Tensor(draw(1, 2, 4, 4))
    plain = fused(x).array
    with minicnn.algorithm(max_pool2d="formula"):
        np.testing.assert_array_equal(fused(x).array, plain)
    assert len(fused._plans) == 2
    assert [plan.steps[0].kernels_only for plan in fused._plans.values()] == [True, False]
