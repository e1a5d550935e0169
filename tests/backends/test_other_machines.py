"""The vector kernels as compiled for a machine with other vectors than this one: AVX2, 32 bytes, 16 registers.

LLVM compiles for the features that Numba is told, so a machine with more of them runs the code of one with fewer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding

TESTS = Path(__file__).resolve().parent.parent
FEATURES = "+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+popcnt,+movbe,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+xsave"
HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": FEATURES}

needs_avx2 = pytest.mark.skipif(not binding.get_host_cpu_features().get("avx2"), reason="needs a CPU with AVX2")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(TESTS.parent), *sys.path])
    env = {**os.environ, **HASWELL, "MINICNN_CACHE": str(folder), "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *words], env=env, cwd=TESTS.parent, capture_output=True, text=True, check=False
    )


def run_tests(folder: Path, *files: str, only: str = "") -> None:
    paths = (str(TESTS / file) for file in files)
    done = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only, *paths)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout.splitlines()[-1]


@needs_avx2
def test_vectors_have_32_bytes(tmp_path):
    code = "from minicnn.backends import cpu; print(cpu.INSTRUCTIONS, cpu.VECTOR_BYTES, cpu.TILE)"
    done = run(tmp_path, "-c", code)
    assert done.stdout == "AVX2 32 (6, 2)\n", done.stderr


@needs_avx2
@pytest.mark.slow
def test_vectors_and_tiles(tmp_path):
    run_tests(tmp_path, "backends/test_simd.py")


@needs_avx2
@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "vectors"),
    [
        (("ops/test_matmul.py", "ops/test_linear.py"), "tiled and not strides and not any_kind"),
        (
            ("ops/test_conv2d_algorithms.py", "ops/test_conv2d_orders.py"),
            "(direct or winograd4) and not float64 and not threads and not (arrays_of_any_kind and not last)",
        ),
    ],
)
def test_operations(tmp_path, files, vectors):
    """The algorithms that are made of vectors, on the arrays that they are made for."""
    run_tests(tmp_path, *files, only=vectors)


@needs_avx2
@pytest.mark.slow
def test_fused_networks(tmp_path):
    run_tests(tmp_path, "models/test_fusion.py", only="resnet or networks")
