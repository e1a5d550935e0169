"""Golden values: what PyTorch 2.13 answered, by every algorithm of each operation; PyTorch itself is not needed.

The calls stand in `golden/calls.py`, `golden/make_golden.py` made the files.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
from compare import assert_close
from golden.calls import (
    CALLS,
    LAYERS,
    PARAMETERS,
    RESNET,
    RESNET_SETTINGS,
    RESNET_STEPS,
    STEPS,
    TRAJECTORIES,
)

import minicnn
from minicnn import models, nn, optim
from minicnn.autograd import Tensor
from minicnn.errors import AlgorithmError
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops import dropout
from minicnn.ops.registry import OPERATIONS

FOLDER = Path(__file__).parent / "golden"
TOLERANCE = {np.float32: {"rtol": 1e-5, "atol": 1e-6}, np.float64: {"rtol": 1e-12, "atol": 1e-12}}
SPECIAL = {"winograd4", "winograd2", "direct", "vector"}  # algorithms that say no to some problems
BY_ALGORITHM = [
    (name, algorithm) for name, call in CALLS.items() for algorithm in OPERATIONS[call.operation].algorithms
]


def read(file, case=None):
    """All arrays of one case."""
    with h5py.File(FOLDER / f"{file}.h5") as opened:
        return {name: dataset[()] for name, dataset in opened[case or file].items()}


def strip(stored, prefix):
    """The entries whose names begin so, without the beginning."""
    return {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}


def cast(value, dtype):
    """Floats in `dtype`, in memory of their own; the rest as it is."""
    value = np.asarray(value)
    return value.astype(dtype if value.dtype.kind == "f" else value.dtype)


def held(actual, expected, dtype, **tolerance):
    assert_close(actual, cast(expected, dtype), **(tolerance or TOLERANCE[dtype]), nan_ok=True)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


# ---- the files ------------------------------------------------------------------------------------------------------


def test_the_files_are_complete():
    """Every call has its values, and every value its call; every operation has a call."""
    for file, cases in (("operations", CALLS), ("layers", LAYERS), ("optimizers", TRAJECTORIES)):
        with h5py.File(FOLDER / f"{file}.h5") as opened:
            assert set(opened) == set(cases)
            assert opened.attrs["made_by"] == "make_golden.py, PyTorch 2.13.0"
    composed = {"batch_norm_relu"}  # of operations that have their calls
    recurrent = {"rnn", "lstm", "gru"}  # tests/parity/test_recurrent.py
    assert {call.operation for call in CALLS.values()} == set(OPERATIONS) - composed - recurrent


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.h5")) < 600_000


# ---- operations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "algorithm"), BY_ALGORITHM, ids=[f"{n}-{a}" for n, a in BY_ALGORITHM])
def test_operations(name, algorithm, dtype, monkeypatch):
    call, stored = CALLS[name], read("operations", name)
    gradients = strip(stored, "d_")
    inputs = {
        key: Tensor(cast(value, dtype), requires_grad=key in gradients) for key, value in strip(stored, "in_").items()
    }
    if name == "dropout":
        monkeypatch.setattr(dropout, "draw_mask", lambda *_: inputs["mask"].array)
    with minicnn.algorithm(**{call.operation: algorithm}):
        try:
            y = call.run(minicnn, F, **inputs)
        except AlgorithmError as error:
            if algorithm in SPECIAL and "does not support this problem" in str(error):
                pytest.skip(str(error))
            raise
        held(y.array, stored["y"], dtype)
        y.backward(cast(stored["dy"], dtype))
    assert gradients
    for key, expected in gradients.items():
        held(inputs[key].grad.array, expected, dtype)


# ---- layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(LAYERS))
def test_layers(name, dtype):
    stored = read("layers", name)
    layer = LAYERS[name][0](nn)
    assert layer.load_state_dict(strip(stored, "state_")) == ([], [])
    layer.to_dtype(dtype)
    x = Tensor(cast(stored["x"], dtype), requires_grad=True)
    y = layer(x)
    held(y.array, stored["y"], dtype)
    y.backward(cast(stored["dy"], dtype))
    held(x.grad.array, stored["d_x"], dtype)
    gradients, after = strip(stored, "grad_"), strip(stored, "after_")
    assert {key for key, _ in layer.named_parameters()} == set(gradients)
    for key, parameter in layer.named_parameters():
        held(parameter.grad.array, gradients[key], dtype)
    assert {key for key, _ in layer.named_buffers()} == set(after)
    for key, buffer in layer.named_buffers():
        held(buffer.array, after[key], dtype)


def test_every_layer_is_held():
    kinds = {type(module).__name__ for build, _ in LAYERS.values() for module in build(nn).modules()}
    layers = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    losses = {"CrossEntropyLoss", "MSELoss", "BCELoss", "BCEWithLogitsLoss"}  # `test_operations`, tests/parity
    recurrent = {f"{name}{cell}" for name in ("RNN", "LSTM", "GRU") for cell in ("", "Cell")}  # tests/parity
    assert kinds == layers - losses - recurrent - {"Module", "ModuleList", "Parameter"}


# ---- optimizers -----------------------------------------------------------------------------------------------------


def split(flat):
    """One flat array into the parameters' shapes."""
    ends = np.cumsum([np.prod(shape) for shape in PARAMETERS])
    return [piece.reshape(shape) for piece, shape in zip(np.split(flat, ends[:-1]), PARAMETERS, strict=True)]


@pytest.mark.parametrize("name", list(TRAJECTORIES))
def test_optimizers(name, dtype):
    stored = read("optimizers", name)
    parameters = [nn.Parameter(value) for value in split(cast(stored["first"], dtype))]
    optimizer = TRAJECTORIES[name](optim, parameters)
    assert len(stored["gradients"]) == len(stored["path"]) == STEPS
    for gradients, expected in zip(cast(stored["gradients"], dtype), stored["path"], strict=True):
        for parameter, gradient in zip(parameters, split(gradients), strict=True):
            parameter.grad = Tensor(gradient)
        optimizer.step()
        held(np.concatenate([p.array.ravel() for p in parameters]), expected, dtype)


# ---- a whole network ------------------------------------------------------------------------------------------------

ALGORITHMS = {
    "default": nullcontext,
    "loops": lambda: minicnn.algorithm(**{n: "loops" for n, op in OPERATIONS.items() if "loops" in op.algorithms}),
    "formula": lambda: minicnn.algorithm(**dict.fromkeys(OPERATIONS, "formula")),
}


def named(stored, kind, of):
    """The arrays that were joined, by name, in the shapes of the network's own."""
    names = stored[f"{'gradient' if kind == 'gradients' else 'state'}_names"].tobytes().decode().splitlines()
    assert names == list(of)
    ends = np.cumsum([array.size for array in of.values()])
    assert ends[-1] == stored[kind].size
    pieces = np.split(stored[kind], ends[:-1])
    return {name: piece.reshape(of[name].shape) for name, piece in zip(names, pieces, strict=True)}


def network(stored, dtype):
    model = models.resnet18(**RESNET)
    state = named(stored, "state", model.state_dict())
    assert model.load_state_dict(state) == ([], [])
    return model.to_dtype(dtype), Tensor(cast(stored["images"], dtype)), Tensor(stored["labels"])


@pytest.fixture(params=list(ALGORITHMS))
def every_algorithm(request):
    with ALGORITHMS[request.param]():
        yield


# float32: rounding errors grow through 18 layers, but turn no corner (see `make_golden.py`, which draws such values);
# the stored gradients and trained states have 16 significant bits
NETWORK = {np.float32: {"rtol": 5e-5, "atol": 1e-6}, np.float64: {"rtol": 1e-10, "atol": 1e-12}}
STORED = {np.float32: {"rtol": 1e-4, "atol": 1e-6}, np.float64: {"rtol": 2**-16 * 1.01, "atol": 0.0}}


def test_resnet(every_algorithm, dtype):
    stored = read("resnet18")
    model, x, labels = network(stored, dtype)
    held(model.eval()(x).array, stored["logits_eval"], dtype, **NETWORK[dtype])
    model.train()
    y = model(x)
    held(y.array, stored["logits"], dtype, **NETWORK[dtype])
    F.cross_entropy(y, labels).backward()
    gradients = {name: p.grad.array for name, p in model.named_parameters()}
    for name, expected in named(stored, "gradients", gradients).items():
        held(gradients[name], expected, dtype, **STORED[dtype])


def test_training_a_resnet(dtype):
    """Some steps of training: losses, parameters, running statistics, counters."""
    stored = read("resnet18")
    model, x, labels = network(stored, dtype)
    optimizer = optim.SGD(model.parameters(), **RESNET_SETTINGS)
    losses = []
    for _ in range(RESNET_STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    held(np.array(losses, dtype), stored["losses"], dtype, **NETWORK[dtype])
    state = model.state_dict()
    for name, expected in named(stored, "trained", state).items():
        if name.endswith("num_batches_tracked"):
            assert state[name] == expected == RESNET_STEPS
        else:
            held(state[name], expected, dtype, **STORED[dtype])


def test_golden_values_can_fail():
    """The network's own gradients, a little wrong, are refused."""
    stored = read("resnet18")
    with pytest.raises(AssertionError, match="largest difference"):
        held(cast(stored["gradients"], np.float64) * (1 + 3e-5), stored["gradients"], np.float64, **STORED[np.float64])
    with pytest.raises(AssertionError, match="dtype"):
        held(stored["logits"].astype(np.float32), stored["logits"], np.float64)
