"""Kernels called by two Python threads at once, and by forked processes: run by test_threads.py as a program.

`python thread_work.py` prints one line of JSON: the threading layer, and the digests that were found.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import threading

import numba
import numpy as np

from minicnn.ops import conv2d, linear

RNG = np.random.default_rng(0)
X, W, B = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 16, 21, 23), (17, 16, 3, 3), (17,)))
CALLS, THREADS, PROCESSES = 40, 3, 2


def digest(_: int = 0) -> str:
    """Of a convolution, its gradients and a linear layer."""
    y = conv2d.forward(X, W, B, padding=1)
    results = [
        y,
        conv2d.grad_input(y, W, X.shape, padding=1),
        conv2d.grad_weight(y, X, W.shape, padding=1),
        linear.forward(y[0, 0], W.reshape(17, -1)[:, :23], B),
    ]
    sha = hashlib.sha256()
    for result in results:
        sha.update(np.ascontiguousarray(result).tobytes())
    return sha.hexdigest()


def by_threads() -> list[str]:
    """Many calls in each of some threads, which begin together."""
    found: list[str] = []
    start = threading.Barrier(THREADS)

    def work() -> None:
        start.wait()
        found.extend(digest() for _ in range(CALLS))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def by_processes() -> list[str]:
    """The same in forked processes, and in one that a forked process forked."""
    fork = multiprocessing.get_context("fork")
    with fork.Pool(PROCESSES) as pool:
        found = pool.map(digest, range(2 * PROCESSES))
    queue = fork.SimpleQueue()
    child = fork.Process(target=lambda: _child(fork, queue))
    child.start()
    child.join()
    return [*found, queue.get()]


def _child(fork: multiprocessing.context.ForkContext, queue: multiprocessing.SimpleQueue) -> None:
    child = fork.Process(target=lambda: queue.put(digest()))
    child.start()
    child.join()


def main(first: str) -> None:
    """`first` says what is done first, when no thread runs yet: "threads", "processes" or "call"."""
    found = {}
    if first == "threads":
        found["threads first"] = by_threads()
    if first == "processes":
        found["processes first"] = by_processes()
    found["parent"] = [digest()]
    found["threads"] = by_threads()
    if "fork" in multiprocessing.get_all_start_methods():
        found["processes"] = by_processes()
    found["parent again"] = [digest()]
    print(json.dumps({"layer": numba.threading_layer(), "found": found}))


if __name__ == "__main__":
    main(sys.argv[1])
