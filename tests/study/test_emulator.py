"""The emulated GPU: it computes what a GPU would, and refuses what a GPU would refuse or, worse, would not."""

from __future__ import annotations

import os
import subprocess
import threading

import numpy as np
import pytest
from compare import assert_close

from minicnn.study.emulator import build
from minicnn.study.emulator.build import EmulatorError, Module

GIVE = """
extern "C" __global__ void __launch_bounds__(64) give(
    float* y, const double* x, int i, unsigned u, long long l, bool b, unsigned char c, float f, double d) {
  if (threadIdx.x) return;
  y[0] = (x ? x[0] : 0) + 10 * i + 100 * u + 1000 * l + 10000 * b + 100000 * c + f + d;
}
"""


def given(**changed):
    """Arguments of GIVE, one by one replaced."""
    arguments = {"y": np.zeros(1, np.float32), "x": np.ones(1), "i": np.int32(2), "u": np.uint32(3), "l": np.int64(4)}
    arguments |= {"b": np.bool_(True), "c": np.uint8(5), "f": np.float32(0.5), "d": np.float64(0.25)}
    return list({**arguments, **changed}.values())


def run(code, name, grid, block, *arguments, options=(), **settings):
    """Launch a kernel of `code`."""
    Module(code, options).function(name)(grid, block, arguments, **settings)


def kernel(body, parameters="float* y", bounds=""):
    """A kernel `f` in a file of that name; its body begins on line 2."""
    return f'#line 1 "f.cu"\nextern "C" __global__ void {bounds} f({parameters}) {{\n{body}\n}}'


def numbers(count=64):
    return np.zeros(count, np.float32)


# ---- arguments ------------------------------------------------------------------------------------------------------


def test_arguments_of_all_types():
    arguments = given()
    run(GIVE, "give", (1,), (32,), *arguments)
    assert arguments[0][0] == 1 + 20 + 300 + 4000 + 10000 + 500000 + 0.5 + 0.25


def test_a_null_pointer():
    arguments = given(x=np.uintp(0))
    run(GIVE, "give", (1,), (1,), *arguments)
    assert arguments[0][0] == 20 + 300 + 4000 + 10000 + 500000 + 0.5 + 0.25


@pytest.mark.parametrize(
    "changed",
    [
        {"i": 2},  # a Python int has 64 bits
        {"f": 0.5},  # a Python float is a double
        {"u": np.int32(3)},
        {"l": np.int32(4)},
        {"b": np.uint8(1)},
        {"d": np.float32(0)},
        {"y": np.zeros(1)},
        {"x": np.zeros(1, np.float32)},
        {"x": np.float64(1)},
        {"i": np.zeros(1, np.int32)},
        {"i": np.uintp(0)},
        {"x": np.uintp(8)},
    ],
    ids=str,
)
def test_types_must_be_those_of_the_parameters(changed):
    with pytest.raises(EmulatorError, match="another type than the parameter"):
        run(GIVE, "give", (1,), (1,), *given(**changed))


def test_count_of_arguments():
    with pytest.raises(EmulatorError, match=r"not as many arguments as parameters; seen 8; rule: 9"):
        run(GIVE, "give", (1,), (1,), *given()[:-1])
    with pytest.raises(EmulatorError, match="no parameter"):
        run(GIVE, "give", (1,), (1,), *given(), np.int32(1))


def test_of_an_array_only_the_address_is_looked_at():
    """As on a GPU: a kernel is not told the strides. The launcher above (`cuda_kernels`) refuses such arrays."""
    x, y = np.arange(8.0), numbers(1)
    run(GIVE, "give", (1,), (1,), *given(x=x[3::2], y=y))
    assert y[0] == 3 + 20 + 300 + 4000 + 10000 + 500000 + 0.5 + 0.25


def test_an_unknown_kernel():
    with pytest.raises(EmulatorError, match="no kernel is named take; seen give"):
        run(GIVE, "take", (1,), (1,))


# ---- grids and shared memory ----------------------------------------------------------------------------------------

WHO = """
extern "C" __global__ void who(unsigned* y) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  y[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1 + threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z
      + 1000 * blockIdx.x + 10000 * blockIdx.y + 100000 * blockIdx.z;
}
"""


@pytest.mark.parametrize("schedule", range(5))
def test_every_thread_of_every_block_runs_once(schedule):
    y = np.zeros((4, 3, 2, 3, 5, 4), np.uint32)
    run(WHO, "who", (2, 3, 4), (4, 5, 3), y, schedule=schedule)
    at = np.indices(y.shape).reshape(6, *y.shape)
    assert np.array_equal(y, 1 + np.tensordot(10 ** np.arange(6)[::-1], at, 1))


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0,), (1,)),
        ((1,), (0,)),
        ((1,), (1025,)),
        ((1,), (32, 33)),
        ((1,), (1, 1, 65)),
        ((1, 65536), (1,)),
        ((1, 1, 65536), (1,)),
    ],
)
def test_grids_that_no_gpu_takes(grid, block):
    with pytest.raises(EmulatorError, match="not a grid"):
        run(WHO, "who", grid, block, np.zeros(2**17, np.uint32))


def test_more_threads_than_launch_bounds():
    code = kernel("y[threadIdx.x] = 1;", bounds="__launch_bounds__(2 * (HALF + 1), 4)")
    run(code, "f", (1,), (64,), numbers(), options=["-DHALF=31"])
    with pytest.raises(EmulatorError, match=r"65 threads in a block, __launch_bounds__ allows 64"):
        run(code, "f", (1,), (65,), numbers(65), options=["-DHALF=31"])


DYNAMIC = """
extern __shared__ __align__(16) double s[];
s[threadIdx.x] = threadIdx.x;
__syncthreads();
y[threadIdx.x] = s[63 - threadIdx.x];
"""


def test_dynamic_shared_memory():
    y = numbers()
    run(kernel(DYNAMIC), "f", (2,), (64,), y, shared=512)
    assert np.array_equal(y, np.arange(64)[::-1])


def test_too_much_shared_memory():
    function = Module(kernel(DYNAMIC)).function("f")
    with pytest.raises(EmulatorError, match="set max_dynamic_shared_size_bytes first"):
        function((1,), (64,), [numbers()], shared=(48 << 10) + 1)
    function.max_dynamic_shared_size_bytes = 1 << 20
    function((1,), (64,), [numbers()], shared=227 << 10)
    with pytest.raises(EmulatorError, match="a GPU has 232448"):
        function((1,), (64,), [numbers()], shared=(227 << 10) + 1)
    with pytest.raises(EmulatorError, match=r"49156 bytes of __shared__ arrays, a kernel may have 49152"):
        run(kernel("__shared__ float a[(48 << 8) + 1];\na[0] = 0;"), "f", (1,), (1,), numbers())


@pytest.mark.parametrize("kind", ["float", "double", "int"])
def test_shared_memory_that_nobody_wrote_is_no_number(kind):
    """Also in the second block, after the first has written there."""
    y = numbers(4)
    code = kernel(f"__shared__ {kind} s[2];\ny[2 * blockIdx.x] = s[0];\ny[2 * blockIdx.x + 1] = s[1];\ns[1] = 5;")
    run(code, "f", (2,), (1,), y)
    assert np.isnan(y).all() if kind != "int" else (y == -1).all()


def test_forms_of_shared_arrays():
    code = kernel(
        """
__shared__ float a[2][3];
__shared__ __align__(16) unsigned char b[TILE + 4];
__shared__ unsigned long long c[2];
__shared__ float2 d;
a[1][2] = 1; b[TILE + 3] = 2; c[1] = 4; d.y = 8;
y[0] = a[1][2] + b[TILE + 3] + c[1] + d.y;
y[1] = sizeof(a) + sizeof(b);"""
    )
    y = numbers(2)
    run(code, "f", (1,), (1,), y, options=["-DTILE=8", "-std=c++17", "-arch=sm_90"])
    assert list(y) == [15, 24 + 12]
    with pytest.raises(EmulatorError, match=r"does not compile; seen .*__shared__"):
        run(kernel("__shared__ float a[2], b[2];"), "f", (1,), (1,), y)


# ---- barriers -------------------------------------------------------------------------------------------------------

SUM = """
__shared__ float s[64];
s[threadIdx.x] = y[threadIdx.x];
__syncthreads();
for (int step = 32; step; step /= 2) {
  if (threadIdx.x < step) s[threadIdx.x] += s[threadIdx.x + step];
  __syncthreads();
}
y[threadIdx.x] = s[0];
"""


@pytest.mark.parametrize("schedule", range(6))
def test_a_sum_by_barriers(schedule):
    y = np.arange(64, dtype=np.float32)
    run(kernel(SUM), "f", (1,), (64,), y, schedule=schedule)
    assert (y == 2016).all()


def test_a_missing_barrier_shows_in_some_schedule():
    code, found = kernel(SUM.replace("  __syncthreads();\n}", "}")), set()
    for schedule in range(4):
        y = np.arange(64, dtype=np.float32)
        run(code, "f", (1,), (64,), y, schedule=schedule)
        found.add(y.tobytes())
    assert len(found) > 1


@pytest.mark.parametrize("schedule", range(4))
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x < 32)\n  __syncthreads();\nelse\n  __syncthreads();",
            r"different __syncthreads \(f\.cu line [35] and f\.cu line [35], block \([01],0,0\), thread",
        ),
        (
            "if (threadIdx.x == 40) return;\n__syncthreads();",
            r"a thread returned while others wait at __syncthreads \(f\.cu line 3",
        ),
        (
            "if (threadIdx.x % 2)\n  __syncwarp();\nelse\n  __shfl_sync(~0u, 1, 0);",
            r"lanes of a warp wait at different instructions of the warp \(f\.cu line [35] and f\.cu line [35]",
        ),
        (
            "if (threadIdx.x % 32)\n  __syncthreads();\nelse\n  __syncwarp();",
            r"a lane waits at __syncthreads, others of its warp at an instruction of the warp "
            r"\(f\.cu line 3 and f\.cu line 5",
        ),
    ],
)
def test_divergent_threads(body, message, schedule):
    with pytest.raises(EmulatorError, match=message):
        run(kernel(body), "f", (2,), (64,), numbers(), schedule=schedule)


def test_whole_warps_and_blocks_may_take_different_ways():
    """An early return of all is no error; after an error, the next launch is a fresh one."""
    with pytest.raises(EmulatorError):
        run(kernel("if (threadIdx.x) return;\n__syncthreads();"), "f", (1,), (64,), numbers())
    code = kernel(
        "if (blockIdx.x) return;\nif (threadIdx.x < 32)\n  __syncwarp();\n__syncthreads();\ny[threadIdx.x] = 1;"
    )
    y = numbers()
    run(code, "f", (2,), (64,), y)
    assert y.all()


def test_errors_name_the_included_file(tmp_path):
    from minicnn.backends.cuda_kernels import source

    (tmp_path / "inner.cuh").write_text("// sums\n__device__ inline void meet() {\n  __syncthreads();\n}\n")
    (tmp_path / "outer.cu").write_text(
        '#include "inner.cuh"\nextern "C" __global__ void f(int n) {\n  if (threadIdx.x < n)\n    meet();\n}\n'
    )
    with pytest.raises(EmulatorError, match=r"others wait at __syncthreads \(inner\.cuh line 3"):
        run(source(tmp_path / "outer.cu"), "f", (1,), (32,), np.int32(3))
    with pytest.raises(EmulatorError, match=r"does not compile; seen outer\.cu:4:5: error: .*meet"):
        run(source(tmp_path / "outer.cu").replace("void meet", "void greet"), "f", (1,), (32,), np.int32(3))


# ---- instructions of whole warps ------------------------------------------------------------------------------------


SHUFFLES = {
    "__shfl_sync(~0u, v, 5)": lambda lane: np.full_like(lane, 5),
    "__shfl_xor_sync(~0u, v, 6)": lambda lane: lane ^ 6,
    "__shfl_down_sync(~0u, v, 4)": lambda lane: np.where(lane + 4 < 32, lane + 4, lane),
    "__shfl_up_sync(~0u, v, 3)": lambda lane: np.where(lane >= 3, lane - 3, lane),
}
KINDS = ("float", "double", "int", "long long")


@pytest.mark.parametrize("schedule", range(4))
def test_shuffles(schedule):
    lines = [f"*y = {word}; y += 64;" for word in SHUFFLES]
    blocks = [f"{{ {kind} v = 7 * threadIdx.x;\n" + "\n".join(lines) + "\n}" for kind in KINDS]
    y = np.zeros((len(KINDS), len(SHUFFLES), 64), np.float32)
    run(kernel("y += threadIdx.x;\n" + "\n".join(blocks)), "f", (1,), (64,), y, schedule=schedule)
    lane, warp = np.arange(64) % 32, np.arange(64) // 32
    for i, source in enumerate(SHUFFLES.values()):
        assert (y[:, i] == 7 * (32 * warp + source(lane))).all()


def test_lanes_that_are_not_there_give_no_number():
    y = numbers(40)
    run(kernel("y[threadIdx.x] = __shfl_sync(~0u, 1.0f, 20);"), "f", (1,), (40,), y)
    assert (y[:32] == 1).all()
    assert np.isnan(y[32:]).all()
    code = kernel("if (threadIdx.x == 20) return;\ny[threadIdx.x] = __shfl_sync(~0u, 1.0f, 20);")
    y = numbers(32)
    run(code, "f", (1,), (32,), y)
    assert np.isnan(np.delete(y, 20)).all()


def test_ballot():
    code = kernel(
        "if (threadIdx.x % 32 == 31) return;\n"
        "y[threadIdx.x] = __ballot_sync(~0u, threadIdx.x % 3 == 0);\n"
        "y[threadIdx.x] += __any_sync(~0u, threadIdx.x == 40);",
        "unsigned* y",
    )
    y = np.zeros(50, np.uint32)
    run(code, "f", (1,), (50,), y)
    assert (y[:31] == sum(2**i for i in range(31) if i % 3 == 0)).all()
    assert (y[32:] == sum(2 ** (i - 32) for i in range(32, 50) if i % 3 == 0) + 1).all()


def test_atomics():
    code = kernel("atomicAdd(y, 0.5f);\natomicMax(m, (int)(blockIdx.x * 64 + threadIdx.x));", "float* y, int* m")
    y, m = numbers(1), np.zeros(1, np.int32)
    run(code, "f", (3,), (64,), y, m, schedule=3)
    assert (y[0], m[0]) == (96, 191)


# ---- products of matrices -------------------------------------------------------------------------------------------

# the tables of the PTX manual, "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16", written out once more:
# groupID = lane >> 2, threadID_in_group = lane % 4
TF32 = """
const int lane = threadIdx.x % 32, group = lane >> 2, member = lane % 4;
const float *A = x + threadIdx.x / 32 * 192, *B = A + 128;
const unsigned a[4] = {to_tf32(A[group * 8 + member]), to_tf32(A[(group + 8) * 8 + member]),
                       to_tf32(A[group * 8 + member + 4]), to_tf32(A[(group + 8) * 8 + member + 4])};
const unsigned b[2] = {to_tf32(B[member * 8 + group]), to_tf32(B[(member + 4) * 8 + group])};
float d[4] = {1, 1, 1, 1};
mma_16x8x8_tf32(d, a, b);
"""
BF16 = """
const int lane = threadIdx.x % 32, group = lane >> 2, member = lane % 4;
const float *A = x + threadIdx.x / 32 * 384, *B = A + 256;
const float *upper = A + group * 16 + 2 * member, *lower = upper + 8 * 16, *column = B + 2 * member * 8 + group;
const unsigned a[4] = {to_bf16x2(upper[0], upper[1]), to_bf16x2(lower[0], lower[1]), to_bf16x2(upper[8], upper[9]),
                       to_bf16x2(lower[8], lower[9])};
const unsigned b[2] = {to_bf16x2(column[0], column[8]), to_bf16x2(column[64], column[72])};
float d[4] = {1, 1, 1, 1};
mma_16x8x16_bf16(d, a, b);
"""
STORE = """
float *D = y + threadIdx.x / 32 * 128 + group * 8 + 2 * member;
D[0] = d[0]; D[1] = d[1]; D[64] = d[2]; D[65] = d[3];
"""


@pytest.mark.parametrize("schedule", range(4))
@pytest.mark.parametrize(("body", "depth", "bits"), [(TF32, 8, 11), (BF16, 16, 8)], ids=["tf32", "bf16"])
def test_products_by_tensor_cores(body, depth, bits, schedule):
    rng = np.random.default_rng(schedule)
    x = rng.standard_normal((2, (16 + 8) * depth)).astype(np.float32)
    y = np.zeros((2, 16, 8), np.float32)
    run(kernel(body + STORE, "float* y, const float* x"), "f", (1,), (64,), y, x, schedule=schedule)
    mantissa, exponent = np.frexp(x.astype(np.float64))
    rounded = np.ldexp(np.round(mantissa * 2.0**bits), exponent - bits)  # no ties among these numbers
    a, b = rounded[:, : 16 * depth].reshape(2, 16, depth), rounded[:, 16 * depth :].reshape(2, depth, 8)
    assert_close(y, (1 + a @ b).astype(np.float32), rtol=1e-6)


def test_rounding_to_short_floats():
    code = kernel(
        "const unsigned i = threadIdx.x;\nu[i] = to_tf32(x[i]);\nv[i] = to_bf16x2(x[i], -x[i]);",
        "unsigned* u, unsigned* v, const float* x",
    )
    one = 0x3F800000
    bits = [one, one + 0x1000, one + 0xFFF, one + 0x8000, one + 0x18000, one + 0x7FFF, 0x7F800000, 0x7FC00000]
    x = np.array(bits, np.uint32).view(np.float32)
    u, v = np.zeros(8, np.uint32), np.zeros(8, np.uint32)
    run(code, "f", (1,), (8,), u, v, x)
    # tf32: ties away from zero; bf16: ties to even
    assert [hex(n) for n in u[:6]] == [hex(one + n) for n in (0, 0x2000, 0, 0x8000, 0x18000, 0x8000)]
    upper = [0x3F80, 0x3F80, 0x3F80, 0x3F80, 0x3F82, 0x3F80, 0x7F80]
    assert [hex(n & 0xFFFF) for n in v[:7]] == [hex(n) for n in upper]
    assert [hex(n >> 16) for n in v[:7]] == [hex(n | 0x8000) for n in upper]
    assert u[6] == 0x7F800000
    assert u.view(np.float32)[7] != u.view(np.float32)[7]
    assert v[7] & 0x7FFF > 0x7F80


# ---- asynchronous copies --------------------------------------------------------------------------------------------

COPIES = """
__shared__ __align__(16) float s[3][8];
for (int part = 0; part < 3; ++part) {
  copy_async_16(&s[part][0], x + 8 * part, true);
  copy_async_4(&s[part][4], x + 8 * part + 4, true);
  copy_async_4(&s[part][5], x + 8 * part + 5, false);
  copy_commit();
}
WAIT
for (int part = 0; part < 3; ++part)
  for (int i = 0; i < 6; ++i) y[part * 6 + i] = s[part][i];
"""


@pytest.mark.parametrize("schedule", range(4))
@pytest.mark.parametrize("pending", [0, 1, 2, 3])
def test_copies_arrive_as_late_as_they_may_or_at_once(pending, schedule):
    x, y = np.arange(24, dtype=np.float32) + 1, numbers(18)
    code = kernel(COPIES.replace("WAIT", f"copy_wait<{pending}>();"), "float* y, const float* x")
    run(code, "f", (1,), (1,), y, x, schedule=schedule)
    expected = x.reshape(3, 8)[:, :6].copy()
    expected[:, 5] = 0  # not filled
    arrived = 3 if schedule % 2 else 3 - pending
    assert np.array_equal(y.reshape(3, 6)[:arrived], expected[:arrived])
    assert np.isnan(y.reshape(3, 6)[arrived:]).all()


def test_copies_that_nobody_waits_for_do_not_reach_the_next_block():
    x, y = np.ones(24, np.float32), numbers(18)
    run(kernel(COPIES.replace("WAIT", ""), "float* y, const float* x"), "f", (2,), (1,), y, x)
    assert np.isnan(y).all()


# ---- compiling ------------------------------------------------------------------------------------------------------


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    with pytest.raises(EmulatorError, match=r"no C\+\+ compiler; .*hint: install g\+\+"):
        Module(GIVE)


def test_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    commands = []
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **o: (commands.append(command), real(command, **o))[1])
    code = kernel("y[0] = 1;")
    Module(code)
    assert len(commands) == 3  # the header, the scheduler and the kernel
    Module(code)
    assert len(commands) == 3
    Module(code, ["-DTILE=2"])
    Module(code + "// changed")
    assert len(commands) == 5
    kept = [path.suffix for path in (tmp_path / "emulator").iterdir()]
    assert sorted(kept) == [".gch", ".h", ".o", ".so", ".so", ".so"]


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path))
    assert build._cache() == tmp_path / f"minicnn-emulator-{os.getuid()}"
    assert build._cache().stat().st_mode & 0o777 == 0o700


def test_sanitizers():
    with pytest.raises(EmulatorError, match="no such sanitizer; seen memory"):
        Module(GIVE, sanitize="memory")
    with pytest.raises(EmulatorError, match=r"library is not loaded; .*LD_PRELOAD=.*libtsan\.so"):
        Module(GIVE, sanitize="thread")


def test_two_python_threads_at_once():
    """Launches wait for each other, as the kernels of one stream do."""
    function = Module(kernel(SUM)).function("f")
    wrong = []

    def work(seed):
        for i in range(20):
            y = np.arange(64, dtype=np.float32) + seed + i
            function((1,), (64,), [y], schedule=i)
            if not (y == 2016 + 64 * (seed + i)).all():
                wrong.append((seed, i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
