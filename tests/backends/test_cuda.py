"""Finding a GPU, and the true reason where there is none; moving arrays there and back."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from minicnn.backends import cuda
from minicnn.errors import DeviceError
from minicnn.study.emulator import emulated


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


def fake_cupy(count=1, capability="90", error=""):
    """A CuPy that finds `count` GPUs of that compute capability, or fails with `error`."""

    def device_count():
        if error:
            raise CUDARuntimeError(error)
        return count

    def no_memory(*_):
        raise OutOfMemoryError

    module = ModuleType("cupy")
    module.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=device_count, memGetInfo=lambda: (3 << 20, 80 << 30)),
        Device=lambda: SimpleNamespace(compute_capability=capability),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    module.empty = module.asarray = no_memory
    return module


@pytest.fixture
def with_cupy(monkeypatch):
    """Put a fake CuPy in the place of the real one, if there is one; None for no CuPy."""

    def use(module):
        monkeypatch.setitem(sys.modules, "cupy", module)
        cuda._look.cache_clear()

    yield use
    cuda._look.cache_clear()


@pytest.fixture
def with_driver(monkeypatch):
    """Put a driver of that version (12040 is 12.4) in the place of the real one, None for no driver."""

    def use(version):
        def load(name):
            assert name in ("libcuda.so.1", "nvcuda.dll")
            if version is None:
                raise OSError(f"{name}: cannot open shared object file")

            def get_version(pointer):
                pointer._obj.value = version
                return 0

            return SimpleNamespace(cuDriverGetVersion=get_version)

        monkeypatch.setattr(cuda.ctypes, "CDLL", load)

    return use


def refused(*parts):
    """There is no GPU, and error and reason say why."""
    assert not cuda.is_available()
    with pytest.raises(DeviceError) as error:
        cuda.to_gpu(np.zeros(3))
    for part in parts:
        assert part in str(error.value)
        assert part in cuda.reason()
    assert "cuda: no GPU can be used" in str(error.value)


# ---- reasons --------------------------------------------------------------------------------------------------------


def test_without_cupy(with_cupy):
    with_cupy(None)  # Python's own way to say that a module cannot be imported
    refused("CuPy is not installed", "pip install 'minicnn[cuda13]'")


def test_broken_cupy(with_cupy, monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.13: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    cuda._look.cache_clear()
    refused("CuPy cannot be imported: libnvrtc.so.13", "--force-reinstall")
    cuda._look.cache_clear()


def test_no_driver(with_cupy, with_driver):
    with_cupy(fake_cupy(error="cudaErrorInsufficientDriver: CUDA driver version is insufficient"))
    with_driver(None)
    refused("no NVIDIA driver is installed", "minicnn.study.emulator")


def test_old_driver(with_cupy, with_driver):
    with_cupy(fake_cupy(error="cudaErrorInsufficientDriver: CUDA driver version is insufficient"))
    with_driver(12040)
    refused("the NVIDIA driver is too old: it goes up to CUDA 12.4", "minicnn[cuda12]")


@pytest.mark.parametrize("error", ["cudaErrorNoDevice: no CUDA-capable device is detected", "cudaErrorUnknown: odd"])
def test_other_errors_of_the_runtime(with_cupy, with_driver, error):
    with_cupy(fake_cupy(error=error))
    with_driver(13000)
    refused(error, "nvidia-smi")


def test_no_device(with_cupy, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with_cupy(fake_cupy(count=0))
    refused("the driver shows no GPU", "CUDA_VISIBLE_DEVICES is '-1'")


def test_old_device(with_cupy):
    with_cupy(fake_cupy(capability="75"))
    refused("the GPU has compute capability 7.5", "8.0 or later (Ampere) is needed")


@pytest.mark.parametrize("capability", ["80", "89", "90", "100", "120"])
def test_a_gpu_that_can_be_used(with_cupy, capability):
    module = fake_cupy(capability=capability)
    with_cupy(module)
    assert cuda.is_available()
    assert cuda.reason() == ""
    assert cuda.library() is module
    assert not cuda.is_emulated()


def test_the_reason_is_looked_for_once(with_cupy):
    with_cupy(fake_cupy(count=0))
    assert not cuda.is_available()
    sys.modules["cupy"].cuda.runtime.getDeviceCount = None  # would fail
    assert not cuda.is_available()


def test_the_real_cupy_if_there_is_one():
    """Whatever this machine has: a GPU, or one reason."""
    assert cuda.is_available() == (cuda.reason() == "")


def test_the_cpu_never_imports_cupy():
    code = """
import sys
import numpy as np
import minicnn
from minicnn import nn, optim
from minicnn.ops.registry import OPERATIONS
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
step = optim.SGD(model.parameters(), lr=0.1)
x, labels = minicnn.randn(5, 1, 8, 8), minicnn.Tensor(np.arange(5) % 3)
for _ in range(2):
    step.zero_grad()
    with minicnn.algorithm(**dict.fromkeys(OPERATIONS, "formula")):  # nothing to compile
        nn.functional.cross_entropy(model(x), labels).backward()
    step.step()
model.to("cpu").state_dict()
assert not [name for name, module in sys.modules.items() if module and name.startswith("cupy")]
assert not [name for name in sys.modules if "emulator" in name]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- the stand-in ---------------------------------------------------------------------------------------------------


def test_using_the_emulator(with_cupy):
    with_cupy(None)
    with emulated():
        assert cuda.is_available()
        assert cuda.is_emulated()
        assert cuda.reason() == ""
        outer = cuda.library()
        with emulated(schedule=3):
            assert cuda.library() is outer
        assert cuda.library() is outer
        cuda.synchronize()
    assert not cuda.is_available()


def test_using_ends_with_an_error(with_cupy):
    with_cupy(None)
    other = object()
    with pytest.raises(AttributeError), cuda.using(other):
        cuda.empty((3,), np.float32)
    assert not cuda.is_emulated()


# ---- memory ---------------------------------------------------------------------------------------------------------

DTYPES = (np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8, np.bool_)
SHAPES = [
    (),
    (1,),
    (7,),
    (0,),
    (3, 5),
    (2, 3, 4),
    (2, 3, 4, 5),
    (1, 3, 1, 2),
    (0, 3, 2, 2),
    (2, 0, 3, 1),
    (2, 1, 3, 2, 2),
]


@pytest.fixture
def gpu():
    with emulated():
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_there_and_back(gpu, shape, dtype):
    x = np.asarray(np.random.default_rng(0).integers(0, 2, shape), dtype)
    there = cuda.to_gpu(x)
    assert not isinstance(there, np.ndarray)
    assert (there.shape, there.dtype) == (x.shape, x.dtype)
    back = cuda.to_cpu(there)
    assert (back.shape, back.dtype) == (x.shape, x.dtype)
    assert back.flags.c_contiguous
    assert np.array_equal(back, x)
    assert not np.shares_memory(back, x)


LAYOUTS = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "reversed": lambda x: np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1],
    "every second": lambda x: np.repeat(x, 2, 3)[..., ::2],
    "repeated": lambda x: np.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_any_layout_there_and_back(gpu, layout):
    x = LAYOUTS[layout](np.random.default_rng(0).standard_normal((2, 3, 4, 5)))
    there = cuda.to_gpu(x)
    assert there.transpose(0, 2, 3, 1).flags.c_contiguous  # images lie channels last
    assert np.array_equal(cuda.to_cpu(there), x)
    view = there.transpose(3, 1, 0, 2)
    assert np.array_equal(cuda.to_cpu(view), x.transpose(3, 1, 0, 2))
    assert np.array_equal(cuda.to_cpu(there[1, :, ::-1, 2:4]), x[1, :, ::-1, 2:4])


def test_what_is_there_already_is_not_copied(gpu):
    x = np.zeros(3)
    assert cuda.to_cpu(x) is x
    there = cuda.to_gpu(x)
    assert cuda.to_gpu(there) is there
    x[0] = 1
    assert cuda.to_cpu(there)[0] == 0


def test_empty_arrays(gpu):
    x = cuda.empty((2, 3), np.float32)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((2, 3), np.float32, True)
    assert np.isnan(cuda.to_cpu(x)).all()  # of the emulator: nobody wrote there
    images = cuda.empty_images((2, 3, 4, 5), np.float32)
    assert images.shape == (2, 3, 4, 5)
    assert images.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_like_another(gpu, order):
    x = cuda.empty((2, 3, 4, 5), np.float32).transpose(order)
    assert cuda.memory_order(x) == tuple(np.argsort(order))
    like = cuda.empty_like(x)
    assert (like.shape, like.dtype, like.strides) == (x.shape, x.dtype, x.strides)


def test_the_order_of_axes_of_length_1_does_not_matter(gpu):
    x = cuda.empty((4, 1, 5), np.float32)
    like = cuda.empty_like(x.transpose(2, 1, 0))
    assert like.shape == (5, 1, 4)
    assert like.transpose(2, 1, 0).flags.c_contiguous
    assert cuda.empty_like(cuda.empty((0, 3, 2), np.float32)).shape == (0, 3, 2)


def test_out_of_memory(with_cupy):
    with_cupy(fake_cupy())
    for call in (
        lambda: cuda.empty((1 << 20, 5), np.float64),
        lambda: cuda.empty_images((1 << 20, 5, 1, 1), np.float64),
        lambda: cuda.to_gpu(np.broadcast_to(np.zeros(()), (5 << 20,))),
        lambda: cuda.to_gpu(np.broadcast_to(np.zeros(()), (5 << 20, 1, 1, 1))),
    ):
        with pytest.raises(DeviceError, match=r"not enough memory; seen 40 MiB wanted, 3 of 81,920 MiB free.*batch"):
            call()


def test_out_of_the_emulator_s_memory(gpu):
    with pytest.raises(DeviceError, match="not enough memory"):
        cuda.empty((1 << 40,), np.float32)
