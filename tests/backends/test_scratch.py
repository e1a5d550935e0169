"""Buffers that are used again: alignment, the limit, and who gets which buffer."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from minicnn.backends.scratch import CACHE_LINE, POOL, Pool, Scratch, aligned_zeros


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("size", [1, 3, 16, 1001])
def test_zeros_begin_at_a_cache_line(size, dtype):
    for _ in range(5):
        a = aligned_zeros(size, dtype)
        assert (a.shape, a.dtype) == ((size,), dtype)
        assert a.ctypes.data % CACHE_LINE == 0
        assert not a.any()
        assert a.flags.c_contiguous
        assert a.flags.writeable


def test_a_buffer_comes_back_to_those_who_name_its_key():
    pool = Pool(1000)
    one = pool.take(("a",), 8, np.float32)
    one[:] = 5
    pool.give(("a",), one)
    assert pool.waiting == 32
    other = pool.take(("b",), 8, np.float32)
    assert other is not one
    assert not other.any()
    again = pool.take(("a",), 8, np.float32)
    assert again is one
    assert (again == 5).all()
    assert pool.waiting == 0
    assert pool.take(("a",), 8, np.float32) is not one


def test_what_waited_longest_goes_first():
    pool = Pool(100)
    buffers = {name: pool.take((name,), 10, np.float32) for name in "abc"}
    for name in "abc":
        pool.give((name,), buffers[name])
    assert pool.waiting == 80
    assert pool.take(("b",), 10, np.float32) is buffers["b"]
    assert pool.take(("c",), 10, np.float32) is buffers["c"]
    assert pool.take(("a",), 10, np.float32) is not buffers["a"]


def test_a_use_counts_as_recent():
    pool = Pool(80)
    buffers = {name: pool.take((name,), 10, np.float32) for name in "abc"}
    pool.give(("a",), buffers["a"])
    pool.give(("b",), buffers["b"])
    pool.give(("a",), pool.take(("a",), 10, np.float32))
    pool.give(("c",), buffers["c"])
    assert pool.take(("a",), 10, np.float32) is buffers["a"]
    assert pool.take(("b",), 10, np.float32) is not buffers["b"]


def test_a_buffer_beyond_the_limit_is_not_kept():
    pool = Pool(39)
    pool.give(("a",), pool.take(("a",), 10, np.float32))
    assert pool.waiting == 0


def test_clear():
    pool = Pool(1000)
    one = pool.take(("a",), 8, np.float32)
    pool.give(("a",), one)
    pool.clear()
    assert pool.waiting == 0
    assert pool.take(("a",), 8, np.float32) is not one


@pytest.mark.parametrize(("size", "taken"), [(0, 1), (1, 1), (2, 2), (3, 4), (1000, 1024), (1024, 1024)])
def test_scratch_is_rounded_up(size, taken):
    with Scratch(size, np.float64) as v:
        assert v.shape == (taken,)
        assert v.dtype == np.float64


def test_scratch_is_used_again_but_not_at_once():
    POOL.clear()
    with Scratch(700, np.float32) as one, Scratch(700, np.float32) as other:
        assert not np.shares_memory(one, other)
    with Scratch(900, np.float32) as again:
        assert again is one or again is other
    with Scratch(900, np.float64) as wider:
        assert wider.dtype == np.float64


def test_scratch_comes_back_after_an_error():
    POOL.clear()
    with pytest.raises(KeyError), Scratch(700, np.float32) as one:
        raise KeyError
    with Scratch(700, np.float32) as again:
        assert again is one


def test_threads_never_share_a_buffer():
    wrong = []

    def work(number: int) -> None:
        for _ in range(500):
            with Scratch(64, np.float32) as v:
                v[:] = number
                if (v != number).any():
                    wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_a_forked_process_begins_with_an_empty_pool_and_a_free_lock():
    pool = Pool(1000)
    pool.give(("a",), pool.take(("a",), 8, np.float32))
    holding, free = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._lock:
            holding.set()
            free.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait()
    pool.begin_again()  # what a forked process does first
    assert pool.waiting == 0
    assert pool.take(("a",), 8, np.float32).shape == (8,)
    free.set()
    holder.join()
