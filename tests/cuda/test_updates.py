"""The optimizers' steps on the GPU: the trajectories of the CPU, in any layout; state on the parameter's device."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import Tensor
from minicnn.backends import cuda
from minicnn.errors import DeviceError
from minicnn.optim import EMA, SGD, Adagrad, Adam, Adamax, AdamW, RMSprop

SHAPES = [(), (7,), (300,), (5, 3), (4, 3, 3, 2), (0, 3)]
OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "weight decay": lambda p: SGD(p, lr=0.1, weight_decay=0.3),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "dampening": lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: Adam(p, lr=0.1),
    "adam, weight decay": lambda p: Adam(p, lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.2),
    "adamw": lambda p: AdamW(p, lr=0.1, weight_decay=0.2),
    "adamax": lambda p: Adamax(p, lr=0.1, weight_decay=0.2),
    "adagrad": lambda p: Adagrad(p, lr=0.1, initial_accumulator_value=0.1, weight_decay=0.2),
    "rmsprop": lambda p: RMSprop(p, lr=0.1),
    "rmsprop, all": lambda p: RMSprop(p, lr=0.1, momentum=0.5, centered=True, weight_decay=0.2),
}
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-13}


def normal(shape, seed, dtype=np.float64) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def steps(make, there, dtype, count=4, between=lambda optimizer, parameters: None) -> list[np.ndarray]:
    """The parameters after some steps, with `there` moving arrays to the device."""
    parameters = [Tensor(there(normal(shape, i, dtype)), requires_grad=True) for i, shape in enumerate(SHAPES)]
    optimizer = make(parameters)
    for step in range(count):
        for i, p in enumerate(parameters):
            p.grad = Tensor(there(normal(p.shape, (step, i), dtype)))
        optimizer.step()
        between(optimizer, parameters)
    return [cuda.to_cpu(p.array) for p in parameters]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trajectories_are_those_of_the_cpu(gpu, name, dtype):
    expected = steps(OPTIMIZERS[name], np.copy, dtype)
    for found, w in zip(steps(OPTIMIZERS[name], cuda.to_gpu, dtype), expected, strict=True):
        assert found.dtype == dtype
        assert np.allclose(found, w, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["momentum", "adam", "rmsprop", "rmsprop, all"])
def test_gradients_and_memory_of_another_layout(gpu, name):
    w, g = normal((4, 3, 5, 2), 0), normal((4, 3, 2, 5), 1)
    results = []
    for there in (np.copy, cuda.to_gpu):
        p = Tensor(there(w), requires_grad=True)
        optimizer = OPTIMIZERS[name]([p])
        for _ in range(2):
            p.grad = Tensor(there(g).transpose(0, 1, 3, 2))
            optimizer.step()
        results.append(cuda.to_cpu(p.array))
    assert np.allclose(*results, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_average_of_weights(gpu, dtype):
    results = []
    for there in (np.copy, cuda.to_gpu):
        p = Tensor(there(normal((4, 3, 5, 2), 0, dtype)), requires_grad=True)
        ema = EMA([p], decay=0.75)
        for step in range(3):
            ema.update()
            p.array = there(normal(p.shape, step, dtype))
        copy = EMA([p], decay=0.75)
        copy.load_state_dict(ema.state_dict())
        with copy.applied():
            results.append(cuda.to_cpu(p.array))
    assert not np.array_equal(results[0], cuda.to_cpu(p.array))
    assert np.allclose(*results, rtol=TOLERANCE[dtype])


def test_a_parameter_with_gaps_in_memory(gpu):
    whole = cuda.to_gpu(normal((6, 8), 0))
    p = Tensor(whole[1:5, ::2], requires_grad=True)
    p.grad = Tensor(cuda.to_gpu(normal((4, 4), 1)))
    SGD([p], lr=0.5).step()
    expected = normal((6, 8), 0)
    expected[1:5, ::2] -= 0.5 * normal((4, 4), 1)
    assert np.allclose(cuda.to_cpu(whole), expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_state_is_saved_for_the_cpu_and_comes_back(gpu, name):
    def reload(optimizer, parameters):
        saved = optimizer.state_dict()
        arrays = [v for values in saved["state"].values() for v in values.values() if not isinstance(v, int)]
        assert arrays
        assert all(isinstance(v, np.ndarray) for v in arrays)
        optimizer.state.clear()
        optimizer.load_state_dict(saved)

    expected = steps(OPTIMIZERS[name], cuda.to_gpu, np.float64)
    for found, w in zip(steps(OPTIMIZERS[name], cuda.to_gpu, np.float64, between=reload), expected, strict=True):
        assert np.array_equal(found, w)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_parameter_that_moved_after_the_first_step(gpu, name):
    p = Tensor(normal((3, 2), 0), requires_grad=True)
    optimizer = OPTIMIZERS[name]([p])
    p.grad = Tensor(normal((3, 2), 1))
    optimizer.step()
    p.array, p.grad = cuda.to_gpu(p.array), p.grad.to("cuda")
    with pytest.raises(DeviceError, match=r"different devices.*move the model first"):
        optimizer.step()


@pytest.mark.parametrize("name", ["adam", "adamax", "adagrad", "rmsprop"])
def test_not_a_number_travels(gpu, name):
    p = Tensor(cuda.to_gpu(np.ones(3, np.float32)), requires_grad=True)
    p.grad = Tensor(cuda.to_gpu(np.array([np.nan, np.inf, 1e-3], np.float32)))
    OPTIMIZERS[name]([p]).step()
    assert np.array_equal(np.isnan(cuda.to_cpu(p.array)), [True, True, False])


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamax", "adagrad", "rmsprop, all"])
def test_every_schedule(any_schedule, name):
    expected = steps(OPTIMIZERS[name], np.copy, np.float64)
    for found, w in zip(steps(OPTIMIZERS[name], cuda.to_gpu, np.float64), expected, strict=True):
        assert np.allclose(found, w, rtol=1e-13)
