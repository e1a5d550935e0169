"""What `minicnn doctor` reads off the machine; GPUs by stand-ins for the driver and for CuPy."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from minicnn.study import machine


def driver(devices: int, status: int = 0) -> Any:
    """What `ctypes.CDLL` gives for an NVIDIA driver that sees so many devices."""

    def count(pointer: Any) -> int:
        pointer._obj.value = devices
        return 0

    return SimpleNamespace(cuInit=lambda flags: status, cuDeviceGetCount=count)


def cupy(devices: int | Exception) -> Any:
    """A stand-in for the package."""

    def count() -> int:
        if isinstance(devices, Exception):
            raise devices
        return devices

    return SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count)))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask for the GPU of a machine with this driver and this CuPy; None: not installed."""

    def ask(library: Any, package: Any = None) -> dict[str, Any]:
        def load(name: str) -> Any:
            if library is None:
                raise OSError(f"{name}: cannot open shared object file")
            return library

        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
        if package is None:
            monkeypatch.setitem(sys.modules, "cupy", None)  # importing it fails
        else:
            monkeypatch.setitem(sys.modules, "cupy", package)
        return machine._gpu()

    return ask


def test_no_driver(found):
    assert found(None, cupy(1)) == {"devices": 0, "used": False, "why not": "no NVIDIA driver is installed"}


def test_a_driver_without_a_device(found):
    assert found(driver(0))["why not"] == "the NVIDIA driver sees no device"
    assert found(driver(0, status=100))["why not"] == "the NVIDIA driver sees no device (CUDA error 100)"


def test_a_device_without_cupy(found):
    assert found(driver(2)) == {"devices": 2, "used": False, "why not": "CuPy is not installed"}


def test_cupy_that_does_not_work(found):
    answer = found(driver(1), cupy(RuntimeError("libcudart.so.12:\n not found")))
    assert answer["why not"] == "CuPy does not work: libcudart.so.12: not found"
    assert answer["devices"] == 1


def test_a_device_and_cupy(found):
    answer = found(driver(4), cupy(3))
    assert answer["devices"] == 3
    assert "not part of this version" in answer["why not"]


def test_description():
    answer = machine.describe()
    assert list(answer) == ["versions", "cpu", "kernels", "gpu"]
    assert all(answer["versions"][name] for name in ("minicnn", "python", *machine.PACKAGES))
    assert set(answer["versions"]) >= {"cupy", "torch"}
    assert answer["cpu"]["cores"] == os.cpu_count()
    assert answer["kernels"]["threading layer"] in ("tbb", "omp", "workqueue")
    assert answer["kernels"]["cached kernels"] >= 1
