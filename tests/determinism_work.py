"""Work whose results must not differ by a bit: every operation, algorithm and pass, and a training step of a ResNet-18.

Imported by test_determinism.py (and by test_registry.py for the operations), and run by it as a program under other
threading layers: `python determinism_work.py` prints one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np

from minicnn import manual_seed, models, no_grad, optim
from minicnn.autograd import Tensor, apply
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import batch_norm
from minicnn.ops.registry import OPERATIONS, Operation, algorithm

Results = dict[str, list[np.ndarray]]


def draw(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


IMAGES = draw(9, 6, 23, 29)  # odd sizes, so that pieces of work are not equal
ROWS = draw(37, 301)
LABELS = np.arange(37) % 7
POOLING = {"kernel_size": 3, "stride": 2, "padding": 1}

# operation (and what is special): arrays, options. Large enough for two threads; float arrays get gradients.
CASES: dict[str, tuple[list[np.ndarray], dict[str, Any]]] = {
    "adaptive_avg_pool2d": ([IMAGES], {"output_size": (5, 7)}),
    "add": ([ROWS, draw(301)], {}),
    "avg_pool2d": ([IMAGES], POOLING),
    "batch_norm": ([IMAGES, draw(6), draw(6, seed=1)], {"training": True}),
    "concatenate": ([ROWS, draw(37, 5)], {"dim": 1}),
    "conv2d": ([IMAGES, draw(10, 3, 3, 3), draw(10)], {"groups": 2, "stride": (2, 1), "padding": 1}),
    "cross_entropy of labels": ([draw(37, 7), LABELS], {"label_smoothing": 0.1}),
    "cross_entropy of probabilities": ([draw(37, 7), np.full((37, 7), 1 / 7, np.float32)], {"reduction": "none"}),
    "div": ([ROWS, 2 + np.abs(draw(37, 1))], {}),
    "dropout": ([ROWS], {"mask": draw(37, 301, seed=2) > 0, "p": 0.5}),
    "exp": ([ROWS], {}),
    "flatten": ([IMAGES], {"start_dim": 1}),
    "index": ([ROWS], {"index": (slice(1, None, 2), np.array([3, 3, 0]))}),
    "linear": ([ROWS, draw(43, 301), draw(43)], {}),
    "log": ([np.abs(ROWS) + 1], {}),
    "log_softmax": ([IMAGES], {"dim": 1}),
    "matmul": ([draw(5, 37, 61), draw(61, 300)], {}),
    "max": ([ROWS], {"dim": 0}),
    "max_pool2d": ([IMAGES], POOLING),
    "mean": ([IMAGES], {"dim": (0, 2, 3)}),
    "mse": ([ROWS, draw(37, 301, seed=3)], {}),
    "mul": ([ROWS, draw(301)], {}),
    "pow": ([ROWS], {"exponent": 3.0}),
    "relu": ([IMAGES], {}),
    "reshape": ([IMAGES], {"shape": (9, -1)}),
    "sigmoid": ([IMAGES], {}),
    "softmax": ([ROWS], {"dim": -1}),
    "sub": ([ROWS, draw(37, 1)], {}),
    "sum": ([IMAGES], {"dim": 1}),
    "tanh": ([IMAGES], {}),
    "transpose": ([IMAGES], {"dims": (0, 2, 3, 1)}),
}


for name, gates, states in (("rnn", 1, 1), ("lstm", 4, 2), ("gru", 3, 1)):
    weights = [draw(gates * 19, 11) / 4, draw(gates * 19, 19) / 4, draw(gates * 19), draw(gates * 19, seed=1)]
    CASES[name] = ([draw(5, 37, 11), *(draw(37, 19, seed=s) for s in range(states)), *weights], {"reverse": True})
CASES["adaptive_avg_pool2d of all"] = ([IMAGES], {"output_size": 1})
CASES["batch_norm_relu"] = ([IMAGES, *CASES["batch_norm"][0][1:], IMAGES[::-1]], CASES["batch_norm"][1])
CASES["add of images"] = ([IMAGES, IMAGES[::-1]], {})
CASES["conv_transpose2d"] = ([IMAGES, draw(6, 5, 3, 2), draw(10)], {"groups": 2, "stride": (2, 1), "padding": 1})
CASES["conv2d of 3x3"] = ([IMAGES, draw(20, 6, 3, 3), draw(20)], {"padding": 1})
CASES["conv2d of stride 2"] = ([IMAGES, draw(20, 6, 5, 3)], {"padding": (2, 1), "stride": 2})
NOT_SUPPORTED = {
    ("adaptive_avg_pool2d", "vector"),  # it takes the mean of a whole image only
    ("add", "vector"),  # of images only
    *(("conv2d", name) for name in ("winograd4", "winograd2", "direct")),  # groups
    *(("conv2d of stride 2", name) for name in ("winograd4", "winograd2")),
}


def run_operation(case: str) -> list[np.ndarray]:
    """y, then the gradients, with the algorithm that is named at the time."""
    arrays, options = CASES[case]
    name = case.split()[0]
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    if name.startswith("batch_norm"):
        mean, var = batch_norm.statistics(arrays[0])
        options = {**options, "mean": mean, "var": var}
    y = apply(name, *tensors, **options)
    y.backward(draw(*y.shape, seed=9))
    extra = [mean, var] if name.startswith("batch_norm") else []
    return [y.array, *extra, *(t.grad.array for t in tensors if t.requires_grad)]


def operations() -> Iterator[tuple[str, Callable[[], list[np.ndarray]]]]:
    """Every operation with every algorithm."""
    for case in CASES:
        name = case.split()[0]
        for algorithm_name in OPERATIONS[name].algorithms:
            if (case, algorithm_name) in NOT_SUPPORTED:
                continue

            def work(case=case, names={name: algorithm_name}):  # noqa: B006 (never changed)
                with algorithm(**names):
                    return run_operation(case)

            yield f"{case}, {algorithm_name}", work


def training_step() -> list[np.ndarray]:
    """Gradients, parameters and running statistics after one step of a narrow ResNet-18, and then its logits."""
    manual_seed(1)
    model = models.resnet18(num_classes=7, width=4, stem="small")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    images, labels = Tensor(draw(6, 3, 32, 32)), np.arange(6)
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    gradients = [p.grad.array for p in model.parameters()]
    model.eval()
    with no_grad():
        logits = model(images)
    return [loss.array, *gradients, *model.state_dict().values(), logits.array]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads in this block."""
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def everything() -> dict[str, str]:
    """SHA-256 of the results of all work, by name."""
    return {name: digest(work()) for name, work in [*operations(), ("training step", training_step)]}


def digest(arrays: list[np.ndarray]) -> str:
    """Of the values, shapes and dtypes."""
    sha = hashlib.sha256()
    for a in arrays:
        sha.update(f"{a.shape} {a.dtype}".encode() + np.ascontiguousarray(a).tobytes())
    return sha.hexdigest()


@contextmanager
def passes_that_run() -> Iterator[set[tuple[str, str, str]]]:
    """Notes (operation, algorithm, pass) of all that runs in this block."""
    seen, pick = set(), Operation.pick

    def noting(self, problem):
        chosen = pick(self, problem)
        seen.add((self.name, chosen.name, problem.pass_name))
        return chosen

    Operation.pick = noting
    try:
        yield seen
    finally:
        Operation.pick = pick


# ---- a planted race, and a look at the threads ----------------------------------------------------------------------


@numba.njit(parallel=True)
def racing_sum(x, total, repeats):
    """Wrong: all threads add their rows to one place; what one writes while another adds is lost."""
    for i in numba.prange(x.shape[0]):
        value = total[0]
        for _ in range(repeats):  # long enough for the threads to meet, on a busy machine too
            for j in range(x.shape[1]):
                value += x[i, j]
        total[0] = value


@numba.njit(parallel=True)
def note_threads(ids):
    for i in numba.prange(ids.size):
        ids[i] = numba.get_thread_id()


def planted_race() -> list[np.ndarray]:
    """A sum of four rows of ones with the race; again until something is lost, 10 times at most."""
    ones, repeats = np.ones((4, 1000)), 10_000
    for _ in range(10):
        total = np.zeros(1)
        racing_sum(ones, total, repeats)
        if total[0] != ones.size * repeats:
            break
    return [total]


def threads_that_run() -> int:
    """How many threads a loop of 64 steps is spread over."""
    ids = np.full(64, -1)
    note_threads(ids)
    return len(set(ids.tolist()))


def main() -> None:
    found: dict[str, Any] = {}
    for count in (1, 2):
        with threads(count):
            digests = {**everything(), "planted race": digest(planted_race())}
            found[f"{count} threads"] = {"digests": digests, "running": threads_that_run()}
    print(json.dumps({**found, "layer": numba.threading_layer()}))


if __name__ == "__main__":
    main()
