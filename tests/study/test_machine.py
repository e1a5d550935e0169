"""What `minicnn doctor` reads off the machine; GPUs by stand-ins for the driver and for CuPy."""

from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace
from typing import Any

import pytest

from minicnn.backends import cuda
from minicnn.study import machine
from minicnn.study.emulator import emulated


def driver(devices: int, status: int = 0) -> Any:
    """What `ctypes.CDLL` gives for an NVIDIA driver that sees so many devices."""

    def count(pointer: Any) -> int:
        pointer._obj.value = devices
        return 0

    return SimpleNamespace(cuInit=lambda flags: status, cuDeviceGetCount=count)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask for the GPU of a machine with this driver (None: not installed) and this reason why CuPy finds none."""

    def ask(library: Any, reason: str = "") -> dict[str, Any]:
        def load(name: str) -> Any:
            if library is None:
                raise OSError(f"{name}: cannot open shared object file")
            return library

        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(cuda, "reason", lambda: reason)
        monkeypatch.setattr(cuda, "describe", lambda: {"name": "NVIDIA Model 1"})
        return machine._gpu()

    return ask


def test_no_driver(found):
    assert found(None) == {"devices": 0, "used": False, "why not": "no NVIDIA driver is installed"}


def test_a_driver_without_a_device(found):
    assert found(driver(0))["why not"] == "the NVIDIA driver sees no device"
    assert found(driver(0, status=100))["why not"] == "the NVIDIA driver sees no device (CUDA error 100)"


def test_a_device_without_cupy(found):
    reason = "CuPy is not installed; pip install it"
    assert found(driver(2), reason) == {"devices": 2, "used": False, "why not": reason}


def test_a_device_and_cupy(found):
    assert found(driver(4)) == {"devices": 4, "used": True, "name": "NVIDIA Model 1"}


def test_the_emulator():
    with emulated():
        assert machine._gpu() == {"devices": 1, "used": True, "name": "the emulator, on this CPU"}


def test_description():
    answer = machine.describe()
    assert list(answer) == ["versions", "cpu", "kernels", "gpu"]
    assert all(answer["versions"][name] for name in ("minicnn", "python", *machine.PACKAGES))
    assert set(answer["versions"]) >= {"cupy", "torch"}
    assert answer["cpu"]["cores"] == os.cpu_count()
    assert answer["kernels"]["threading layer"] in ("tbb", "omp", "workqueue")
    assert answer["kernels"]["cached kernels"] >= 1
