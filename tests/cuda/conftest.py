"""The same tests on the emulated GPU and, where there is one, on a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minicnn.backends import cuda
from minicnn.study.emulator import emulated


@pytest.fixture(params=["emulator", "device"])
def gpu(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where "cuda" is; on a machine without a GPU the tests of the device are skipped, with the true reason."""
    if request.param == "emulator":
        with emulated():
            yield "emulator"
    elif not cuda.is_available():
        pytest.skip(cuda.reason())
    else:
        yield "device"
        cuda.synchronize()


SCHEDULES = (0, 1, 2, 3)  # of the emulator: ascending and descending, permuted; copies at once or late


@pytest.fixture(params=SCHEDULES)
def any_schedule(request: pytest.FixtureRequest) -> Iterator[int]:
    """The emulated GPU, its threads in several orders."""
    with emulated(schedule=request.param):
        yield request.param
