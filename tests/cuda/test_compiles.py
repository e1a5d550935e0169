"""Every kernel compiles for GPUs of two generations with the macros that are really used, and keeps to its means.

No GPU is needed: NVRTC compiles, and its assembler says how many registers a kernel takes.
"""

from __future__ import annotations

import difflib

import nvrtc
import pytest
import resources

REGISTERS = 65536  # of a multiprocessor, and so of a block
SHARED = 99 << 10  # bytes that a block may have on every GPU from compute capability 8.0 on
STATIC = 48 << 10
ON_THE_STACK: set[str] = set()  # kernels whose arrays do not fit into registers, on purpose


def test_every_kernel_is_launched():
    """A kernel that no operation launches in the tests would never be compiled, nor checked."""
    seen = {(entry.path, entry.name) for entry in resources.launched()}
    written = resources.kernels()
    names = {name for path, name in seen}
    assert written
    assert not {(path.name, name) for path, name in written if path.suffix == ".cu" and (path, name) not in seen}
    assert not {(path.name, name) for path, name in written if path.suffix == ".cuh" and name not in names}


def test_every_kernel_compiles_and_keeps_to_its_means():
    """One test, since compiling takes most of a minute: no spills, no slow memory, blocks that fit, and the table."""
    if nvrtc.missing():
        pytest.skip(nvrtc.missing())
    compiled = resources.launched()
    resources.compile_all(compiled)
    found = resources.table(compiled)
    assert not [entry.label for entry in compiled if any(needs.spilled for needs in entry.needs.values())]
    on_the_stack = {entry.name for entry in compiled if any(needs.stack for needs in entry.needs.values())}
    assert on_the_stack == ON_THE_STACK
    for entry in compiled:
        warps = -(-entry.threads // 32)
        for arch, needs in entry.needs.items():
            registers = warps * -(-32 * needs.registers // 256) * 256  # a warp takes them by 256
            assert needs.registers <= 255, entry.label
            assert registers <= REGISTERS, f"{entry.label} for {arch}"
            assert needs.shared <= STATIC, entry.label
            assert needs.shared + entry.shared <= SHARED, entry.label
    written = resources.TABLE.read_text()
    difference = "\n".join(difflib.unified_diff(written.splitlines(), found.splitlines(), lineterm="", n=0))
    assert written == found, f"run python tests/cuda/resources.py\n{difference}"


def test_errors_name_file_and_line(tmp_path):
    """As a kernel's text is put together of files, errors must still lead to the right one."""
    if nvrtc.missing():
        pytest.skip(nvrtc.missing())
    (tmp_path / "inner.cuh").write_text("// first line\nint wrong = undefined_name;\n")
    (tmp_path / "outer.cu").write_text('// first line\n#include "inner.cuh"\nint also_wrong = other_name;\n')
    with pytest.raises(nvrtc.CompileError, match=r'inner\.cuh\(2\): error: identifier "undefined_name"') as error:
        nvrtc.compiled(resources.cuda_kernels.source(tmp_path / "outer.cu"), (), "sm_90")
    assert 'outer.cu(3): error: identifier "other_name"' in str(error.value)


def test_spills_are_seen():
    """The report is read right: a kernel with more numbers than registers, and one with an array on the stack."""
    if nvrtc.missing():
        pytest.skip(nvrtc.missing())
    code = """
    extern "C" __global__ void __launch_bounds__(1024, 2) crowded(float* x) {
      float a[64];
      #pragma unroll
      for (int i = 0; i < 64; ++i) a[i] = x[i * 1024 + threadIdx.x];
      __syncthreads();
      #pragma unroll
      for (int i = 0; i < 64; ++i)
        #pragma unroll
        for (int j = 0; j < 64; ++j) a[i] = a[i] * a[j] + a[j];
      #pragma unroll
      for (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = a[i];
    }
    extern "C" __global__ void indexed(float* x, const int* at) {
      __shared__ float s[300];
      float a[32];
      for (int i = 0; i < 32; ++i) a[at[i] & 31] = s[i] = x[i];
      x[0] = a[at[32] & 31] + s[at[33]];
    }
    """
    needs = nvrtc.compiled(code, (), "sm_80")
    assert needs["crowded"].registers == 32
    assert needs["crowded"].spilled > 0
    assert needs["indexed"].stack == 128
    assert needs["indexed"].shared == 1200
    assert needs["indexed"].spilled == 0
