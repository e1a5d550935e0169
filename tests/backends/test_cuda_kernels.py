"""Launching kernels: arguments that are checked, text put together of files, and copies of any strides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.cuda_kernels import Strided, kernel, merged, signature, source
from minicnn.errors import DeviceError, DTypeError
from minicnn.study.emulator import emulated

TEXT = """
// extern "C" __global__ void scaled(no such thing)
extern "C" __global__ void __launch_bounds__(2 * (32 + 96), 2) scaled(
    REAL* __restrict__ y, const REAL *x,  /* the input,
    of many */ float by, double plus, int count, unsigned skip, long long step, bool negative,
    const unsigned char *mask) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  y[i] = (mask && mask[i] ? 0 : x[skip + i * step]) * (negative ? -by : by) + plus;
}
extern "C" __global__ void scaled_not(int* x) { x[0] = 1; }
#define LISTED float* y, int count
extern "C" __global__ void listed(LISTED) {}
extern __shared__ float many[];
extern "C" __global__ void shared(float* y) { many[threadIdx.x] = threadIdx.x; y[threadIdx.x] = many[threadIdx.x]; }
"""


@pytest.fixture(autouse=True)
def gpu():
    with emulated():
        yield


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "scaled.cu"
    path.write_text(TEXT)
    return path


# ---- signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("real", "dtype"), [("float", np.float32), ("double", np.float64)])
def test_signature(real, dtype):
    found = signature(TEXT, "scaled", {"REAL": real, "TILE": 8})
    types = [dtype, dtype, np.float32, np.float64, np.int32, np.uint32, np.int64, np.bool_, np.uint8]
    assert found == [(np.dtype(t), i in (0, 1, 8)) for i, t in enumerate(types)]
    assert signature(TEXT, "scaled_not", {}) == [(np.dtype(np.int32), True)]


def test_signature_by_a_list_of_parameters():
    assert signature(TEXT, "listed", {}) == [(np.dtype(np.float32), True), (np.dtype(np.int32), False)]


def test_signature_of_no_kernel():
    with pytest.raises(DeviceError, match="no kernel is named scale;"):
        signature(TEXT, "scale", {})
    with pytest.raises(KeyError):
        signature(TEXT, "scaled", {})  # REAL is not known


# ---- launches -------------------------------------------------------------------------------------------------------


def launch(path, *arguments, count=5):
    x, y = cuda.to_gpu(np.arange(20.0)), cuda.empty((count,), np.float64)
    run = kernel(path, "scaled", REAL="double")
    run.over(count, y, x, *arguments)
    return cuda.to_cpu(y)


def test_numbers_are_converted_to_the_parameters(file):
    """Python's numbers and NumPy's of other types; a null pointer for an array that is left out."""
    assert np.array_equal(launch(file, 2, 1, 5, 3, 2, False, None), 2 * (3 + 2 * np.arange(5)) + 1)
    others = np.float64(0.5), np.float32(1), np.int64(5), np.uint8(3), np.int16(2), np.int64(1)
    assert np.array_equal(launch(file, *others, None), -0.5 * (3 + 2 * np.arange(5)) + 1)
    mask = cuda.to_gpu(np.array([0, 1, 0, 1, 1], np.uint8))
    assert np.array_equal(launch(file, 1, 0, 5, 0, 1, False, mask), [0, 0, 2, 0, 0])


def test_numbers_that_do_not_fit_are_errors(file):
    with pytest.raises(OverflowError):
        launch(file, 2, 1, 2**31, 3, 2, False, None)
    with pytest.raises(OverflowError):
        launch(file, 2, 1, 5, -1, 2, False, None)


def test_nothing_is_launched_over_nothing(file):
    y = cuda.to_gpu(np.ones(1, np.float32))
    run = kernel(file, "shared", REAL="float")
    run.over(0, y)
    run((3, 0), (1,), y)
    assert cuda.to_cpu(y)[0] == 1


def test_count_of_arguments(file):
    with pytest.raises(DTypeError, match=r"scaled: a kernel was given too many or too few arguments; seen 8; rule: 9"):
        launch(file, 2, 1, 5, 3, 2, False)


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        (
            lambda: np.zeros(5, np.uint8),
            DeviceError,
            r'argument 8 is not on the GPU; seen ndarray; hint: use .to\("cuda"',
        ),
        (lambda: 1, DeviceError, "argument 8 is not on the GPU; seen int"),
        (lambda: np.float32(1), DeviceError, "argument 8 is not on the GPU; seen float32"),
        (lambda: cuda.empty((5,), np.int8), DTypeError, "argument 8 does not fit the kernel; seen int8 for uint8"),
        (lambda: cuda.empty((5,), np.bool_), DTypeError, "seen bool for uint8"),
        (lambda: cuda.empty((10,), np.uint8)[::2], DTypeError, r"seen shape \(5,\), strides \(2,\)"),
        (lambda: Strided(cuda.empty((10,), np.int8)[::2]), DTypeError, "seen int8 for uint8"),
        (lambda: Strided(np.zeros(5, np.uint8)), DeviceError, "argument 8 is not on the GPU"),
    ],
)
def test_arrays_that_do_not_fit(file, argument, error, message):
    with pytest.raises(error, match=message):
        launch(file, 2, 1, 5, 3, 2, False, argument())


def test_arrays_of_any_strides_where_the_kernel_is_told_them(file):
    mask = cuda.to_gpu(np.array([0, 1, 1, 1, 0, 0, 1, 1, 0, 0], np.uint8))
    assert np.array_equal(launch(file, 1, 0, 5, 0, 1, False, Strided(mask[::2])), [0, 0, 0, 0, 4])


def test_much_shared_memory(file):
    y = cuda.empty((64,), np.float32)
    kernel(file, "shared", REAL="float")((1,), (64,), y, shared=100 << 10)
    assert np.array_equal(cuda.to_cpu(y), np.arange(64))


def test_kernels_are_compiled_once_for_each_set_of_macros(file):
    assert kernel(file, "scaled", REAL="float", A=1) is kernel(file, "scaled", A=1, REAL="float")
    assert kernel(file, "scaled", REAL="float") is not kernel(file, "scaled", REAL="double")
    first = cuda_kernels._module(cuda.library(), file, (("REAL", "float"),))
    assert cuda_kernels._module(cuda.library(), file, (("REAL", "float"),)) is first


# ---- text -----------------------------------------------------------------------------------------------------------


def test_includes_are_written_out_once(tmp_path):
    (tmp_path / "one.cuh").write_text('#include "two.cuh"\nint one;\n')
    (tmp_path / "two.cuh").write_text("int two;\n")
    (tmp_path / "main.cu").write_text(
        'int first;\n#include "one.cuh"\n  #include "two.cuh"\n#include <cuda_bf16.h>\nint last;'
    )
    assert source(tmp_path / "main.cu").splitlines() == [
        '#line 1 "main.cu"',
        "int first;",
        '#line 1 "one.cuh"',
        '#line 1 "two.cuh"',
        "int two;",
        '#line 2 "one.cuh"',
        "int one;",
        '#line 3 "main.cu"',
        '#line 4 "main.cu"',
        "#include <cuda_bf16.h>",
        "int last;",
    ]


def test_shared_headers_are_found(tmp_path):
    (tmp_path / "main.cu").write_text('#include "ptx.cuh"\n')
    assert "mma_16x8x8_tf32" in source(tmp_path / "main.cu")


# ---- copies ---------------------------------------------------------------------------------------------------------


def test_merged_axes():
    x = np.zeros((2, 3, 4, 5), np.float32)
    assert merged(x.shape, [x]) == ((120,), [(1,)])
    assert merged(x.shape, [x, x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)]) == (
        (6, 4, 5),
        [(20, 5, 1), (20, 1, 4)],
    )
    assert merged((2, 1, 3), [np.zeros((2, 1, 3))]) == ((6,), [(1,)])
    assert merged((1, 1), [np.zeros((1, 1))]) == ((), [()])
    assert merged((4, 6), [np.zeros((8, 6))[::2]]) == ((4, 6), [(12, 1)])
    assert merged((4, 6), [np.zeros((4, 12))[:, ::2]]) == ((24,), [(2,)])
    assert merged((4, 6), [np.zeros((4, 6))[::-1, ::-1]]) == ((24,), [(-1,)])
    assert merged((4, 6), [np.broadcast_to(np.zeros(()), (4, 6))]) == ((24,), [(0,)])
    assert merged((4, 6), [np.broadcast_to(np.zeros(6), (4, 6))]) == ((4, 6), [(0, 1)])


def test_too_many_axes():
    x = cuda.empty((2,) * 7, np.float32)
    assert np.isnan(cuda.to_cpu(cuda_kernels.copy(x))).all()  # one line
    with pytest.raises(DeviceError, match=r"too many axes for the GPU; seen shape .*rule: 6 axes"):
        cuda_kernels.copy(x.transpose(6, 5, 4, 3, 2, 1, 0))


def values(shape, dtype):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_, np.int32])
def test_copies_of_every_dtype(dtype):
    x = values((3, 5, 2), dtype)
    there = cuda.to_gpu(x)
    y = cuda_kernels.copy(there.transpose(2, 0, 1))
    assert (y.dtype, y.flags.c_contiguous) == (x.dtype, True)
    assert np.array_equal(cuda.to_cpu(y), x.transpose(2, 0, 1))


@pytest.mark.parametrize("axes", range(7))
def test_copies_of_up_to_six_axes(axes):
    x = values((2, 3, 1, 2, 3, 2)[:axes], np.float32)
    there = cuda.to_gpu(x.reshape(-1)).reshape(x.shape)
    for order in itertools.islice(itertools.permutations(range(axes)), 0, None, 1 + 7 * (axes > 4)):
        y = cuda_kernels.copy(there.transpose(order))
        assert np.array_equal(cuda.to_cpu(y), x.transpose(order)), order


VIEWS = {
    "every second": np.s_[::2, 1::2],
    "backwards": np.s_[::-1, ::-1],
    "backwards by three": np.s_[::-3, 4::-1],
    "one row": np.s_[3],
    "one column": np.s_[:, 3],
    "one number": np.s_[2, 2],
    "nothing": np.s_[3:3],
    "an axis more": np.s_[None, :, None, 2:5],
}


@pytest.mark.parametrize("view", list(VIEWS))
def test_copies_of_parts(view):
    x = values((7, 6, 3), np.float32)
    y = cuda_kernels.copy(cuda.to_gpu(x)[VIEWS[view]])
    assert y.flags.c_contiguous
    assert np.array_equal(cuda.to_cpu(y), x[VIEWS[view]])


@pytest.mark.parametrize("view", list(VIEWS))
def test_copies_into_parts(view):
    x, y = values((7, 6, 3), np.float32), np.zeros((7, 6, 3), np.float32)
    there = cuda.to_gpu(y)
    cuda_kernels.copy_into(there[VIEWS[view]], cuda.to_gpu(x)[VIEWS[view]])
    y[VIEWS[view]] = x[VIEWS[view]]
    assert np.array_equal(cuda.to_cpu(there), y)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1), (1, 3), (5, 1, 3), (1, 4, 1), (5, 4, 3)])
def test_copies_repeat(shape):
    x = values(shape, np.float64)
    there = cuda.empty((5, 4, 3), np.float64)
    cuda_kernels.copy_into(there, cuda.to_gpu(x))
    assert np.array_equal(cuda.to_cpu(there), np.broadcast_to(x, (5, 4, 3)))


def test_contiguous_copies_only_where_it_must():
    x = cuda.to_gpu(values((3, 4), np.float32))
    assert cuda_kernels.contiguous(x) is x
    assert np.array_equal(cuda.to_cpu(cuda_kernels.contiguous(x.transpose())), cuda.to_cpu(x).T)


def address(x):
    return x.__cuda_array_interface__["data"][0]


def test_channels_last():
    x = values((2, 3, 4, 5), np.float32)
    there = cuda.to_gpu(x)
    last = cuda_kernels.channels_last(there)
    assert address(last) == address(there)
    assert np.array_equal(cuda.to_cpu(last), x.transpose(0, 2, 3, 1))
    cut = cuda_kernels.channels_last(there[:, :2])
    assert cut.flags.c_contiguous
    assert np.array_equal(cuda.to_cpu(cut), x[:, :2].transpose(0, 2, 3, 1))


def test_line():
    x = values((2, 3, 4, 5), np.float32)
    there = cuda.to_gpu(x)
    assert address(cuda_kernels.line(there)) == address(there)
    assert np.array_equal(cuda.to_cpu(cuda_kernels.line(there)), x.transpose(0, 2, 3, 1).reshape(-1))
    cut = there[:, 1:, ::-1]
    assert np.array_equal(cuda.to_cpu(cuda_kernels.line(cut)), x[:, 1:, ::-1].reshape(-1))


def test_lines():
    """The order of the first array's memory, for all."""
    a, b = values((2, 3, 4, 5), np.float32), values((2, 3, 4, 5), np.float64)
    first = cuda.to_gpu(a)
    others = [cuda.to_gpu(b), cuda_kernels.copy(cuda.to_gpu(b)), cuda.to_gpu(b[..., ::-1].copy())[..., ::-1]]
    y, (y_line, *found) = cuda_kernels.lines(first, *others)
    assert (y.shape, y.dtype, y.strides) == (first.shape, first.dtype, first.strides)
    assert address(y_line) == address(y)
    assert address(found[0]) == address(first)
    for line, x in zip(found, (a, b, b, b), strict=True):
        assert np.array_equal(cuda.to_cpu(line), x.transpose(0, 2, 3, 1).reshape(-1))


def test_names_of_dtypes():
    assert cuda_kernels.real(cuda.empty((1,), np.float32)) == "float"
    assert cuda_kernels.real(cuda.empty((1,), np.float64)) == "double"
    assert cuda_kernels.type_name(np.int64) == "long long"
    with pytest.raises(DTypeError, match="no kernels for this dtype; seen complex64"):
        cuda_kernels.type_name(np.dtype(np.complex64))
