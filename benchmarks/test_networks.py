"""Whole networks, forward and training steps, next to PyTorch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import functools
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rows

pytestmark = pytest.mark.filterwarnings("default")  # exporters and runtimes of other projects have their own
FORWARD = (
    "minicnn",
    "PyTorch",
    "PyTorch channels_last",
    "PyTorch folded, channels_last",
    "ONNX Runtime",
    "OpenVINO",
    "OpenVINO bfloat16",  # for information: other numbers than float32
)
STEPS = ("minicnn", "PyTorch", "PyTorch channels_last")
BATCHES = (1, 8, 16, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For ONNX files."""
    return tmp_path_factory.mktemp("onnx")


@functools.lru_cache(maxsize=1)
def forward_calls(network: str, batch: int, folder: Path) -> dict[str, Any]:
    """Checked against PyTorch in float64."""
    gc.collect()
    return rows.forward_calls(network, batch, folder, bfloat16=True)[0]


@functools.lru_cache(maxsize=1)
def training_calls(network: str, batch: int) -> dict[str, Any]:
    """Their first losses agree."""
    gc.collect()
    calls = rows.training_calls(network, batch)
    losses = [call() for call in calls.values()]
    assert np.ptp(losses) < 5e-3 * abs(losses[0])
    return calls


@pytest.mark.parametrize("library", FORWARD)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("network", ["resnet18", "vgg16"])
def test_forward(measure, benchmark, network, batch, library, folder):
    """Images to logits."""
    benchmark.group = f"{network} forward, batch {batch}"
    calls = forward_calls(network, batch, folder)
    if library not in calls:
        pytest.skip(f"{library} is not installed")
    measure(calls[library])


@pytest.mark.parametrize("library", STEPS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("network", ["resnet18", "vgg16"])
def test_training_step(measure, benchmark, network, batch, library):
    """Forward, backward, and SGD with momentum."""
    benchmark.group = f"{network} training step, batch {batch}"
    call = training_calls(network, batch)[library]
    measure(call)
    assert np.isfinite(call())
