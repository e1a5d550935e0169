# %% [markdown]
# # 11. The same on a GPU, without a GPU
#
# **Question: a GPU runs thousands of threads at once, in no particular order. How can many threads add up *one* sum,
# and how do I know that my program is right, and not only lucky?**
#
# First we build a GPU in fifteen lines of Python, and find a race on it. Then we run real CUDA C++ on minicnn's
# emulator, which compiles it for the CPU (that part needs `g++`).

# %%
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import minicnn
from minicnn.backends import cuda, cuda_kernels
from minicnn.ops import conv2d
from minicnn.study.emulator import emulated
from minicnn.study.emulator.build import EmulatorError, sanitizer_library
from minicnn.study.figures import figure, numbers, show

# %% [markdown]
# ## Threads, blocks, shared memory, barriers
#
# A *kernel* is the program of one thread. It is launched as a grid of *blocks* of threads. A thread knows its number in
# its block and the number of the block, and finds its work from them. Threads of one block have a small, fast *shared
# memory*, and can wait for each other at a *barrier*: nobody goes on before all have arrived. Blocks know nothing of
# each other, and may run in any order.
#
# Python has just the thing for a thread that stops in the middle: a generator. `yield` is the barrier.


# %%
def launch(kernel, blocks, threads, *arrays, order=sorted):
    """Run the kernel; between two barriers the threads of a block run one after the other, in this order."""
    for block in range(blocks):
        shared = np.full(threads, np.nan)  # whoever reads what nobody wrote, shall notice
        running = {t: kernel(block, t, threads, shared, *arrays) for t in range(threads)}
        while running:
            for t in order(running):
                if next(running[t], "end") == "end":
                    del running[t]


# %% [markdown]
# **A first kernel**: $y = \max(x, 0)$, one thread a number. There are 3 blocks of 8 threads for 20 numbers, so 4
# threads have nothing to do, and must find that out themselves.


# %%
def relu(block, thread, threads, shared, x, y):
    """One thread of y = max(x, 0)."""
    i = block * threads + thread
    if i < len(x):
        y[i] = max(x[i], 0)
    yield


rng = np.random.default_rng(0)
x = rng.standard_normal(20)
y = np.full(20, np.nan)
launch(relu, 3, 8, x, y)
assert np.array_equal(y, np.maximum(x, 0))

# %% [markdown]
# **Many threads, one sum.** Nobody needs another's result in `relu`. In a sum everybody does. In a block of 8 threads,
# each brings one number into shared memory. Then the first 4 threads add to their number the one 4 places on, then the
# first 2 the one 2 places on, then the first: a tree, $\log_2 8 = 3$ steps instead of 7. Between two steps there must
# be a barrier: the right number must be there before it is read. `missing` leaves one of them out.


# %%
drawn, axes = figure(9, 1.3, columns=4)
tree, half = np.arange(1.0, 9), 8
for ax, title in zip(axes, ("shared memory", "after step 1", "after step 2", "after step 3"), strict=True):
    numbers(ax, tree[None], title, marked=[(0, i) for i in range(half)])
    half //= 2
    tree = tree.copy()
    tree[:half] += tree[half : 2 * half]
show(drawn, "11-a-sum-as-a-tree")


# %%
def block_sum(missing):
    """The kernel: y[block] = the sum of the block's part of x."""

    def kernel(block, thread, threads, shared, x, y):
        shared[thread] = x[block * threads + thread]
        if missing != "first":
            yield  # all numbers are there
        half = threads // 2
        while half:
            if thread < half:
                shared[thread] += shared[thread + half]
            if missing != "second":
                yield  # all sums of this step are there
            half //= 2
        if thread == 0:
            y[block] = shared[0]
        yield

    return kernel


ORDERS = {
    "ascending": sorted,
    "descending": lambda running: sorted(running, reverse=True),
    "even, then odd": lambda running: sorted(running, key=lambda t: (t % 2, t)),
}
x = np.arange(1.0, 17)  # two blocks: 1 + ... + 8 = 36 and 9 + ... + 16 = 100
sums = {}
for missing in ("none", "first", "second"):
    for name, order in ORDERS.items():
        y = np.full(2, np.nan)
        launch(block_sum(missing), 2, 8, x, y, order=order)
        sums[missing, name] = y.tolist()
        print(f"missing barrier: {missing:7} threads {name:15} sums {y}")
assert all(sums["none", name] == [36, 100] for name in ORDERS)
assert sums["second", "descending"] == [36, 100], "wrong, and yet the right numbers"
assert sums["second", "ascending"] != [36, 100]
assert np.isnan(sums["first", "ascending"]).all()

# %% [markdown]
# Look at the last lines. Without the second barrier, two orders give nonsense, and one the right sums: there each
# number happens to be ready before it is read. A real GPU has *its* usual orders. A program with such a *race* may pass
# all tests for years, until a new GPU, another compiler or a busy day brings another order. So a test must try several
# orders, or, better, know what the barriers guarantee.
#
# ## The real language
#
# The same in CUDA C++. Only the launch is different: `threadIdx.x`, `blockIdx.x` and `blockDim.x` are our `thread`,
# `block` and `threads`, and `__syncthreads()` is our `yield`.

# %%
SUM = """
extern "C" __global__ void block_sum(float *y, const float *x) {
  __shared__ float shared[64];
  const int thread = threadIdx.x;
  shared[thread] = x[blockIdx.x * blockDim.x + thread];
  __syncthreads();
  for (int half = blockDim.x / 2; half; half /= 2) {
    if (thread < half) shared[thread] += shared[thread + half];
#ifndef FORGET
    __syncthreads();
#endif
  }
  if (thread == 0) y[blockIdx.x] = shared[0];
}
"""

if not shutil.which("g++"):
    print("The rest of this tutorial needs g++, which is not installed.")
    raise SystemExit(0)


def source(text, name):
    """The text as a .cu file."""
    path = Path(tempfile.mkdtemp()) / f"{name}.cu"
    path.write_text(text)
    return path


# %% [markdown]
# The emulator replaces the GPU behind the same launch. Each thread is a *fiber*, with a stack of its own, switched at
# barriers. `schedule` is the order.

# %%
path, x = source(SUM, "block_sum"), rng.integers(0, 100, 256).astype(np.float32)
right = x.reshape(4, 64).sum(axis=1)
for macros in ({}, {"FORGET": 1}):
    run, found = cuda_kernels.kernel(path, "block_sum", **macros), []
    for schedule in range(4):
        with emulated(schedule=schedule):
            y = cuda.empty((4,), np.float32)
            run((4,), (64,), y, cuda.to_gpu(x))
            found.append(np.array_equal(cuda.to_cpu(y), right))
    print(f"{'without the second barrier' if macros else 'with both barriers':27}: right in orders 0..3:", found)
    assert all(found) != bool(macros)

# %% [markdown]
# ## Finding the race without luck
#
# A sanitizer does not wait for a wrong number. It notes for each place in memory who wrote and read it last, and which
# barriers lie between: two threads, one of them writing, with no barrier in between, is a race, whatever the numbers.
# g++'s ThreadSanitizer must be loaded before Python starts, so we start another Python.

# %%
PROGRAM = """
import sys, numpy as np
from pathlib import Path
from minicnn.backends import cuda, cuda_kernels
from minicnn.study.emulator import emulated
run = cuda_kernels.kernel(Path(sys.argv[1]), "block_sum", **dict.fromkeys(sys.argv[2:], 1))
with emulated(sanitize="thread"):
    run((1,), (64,), cuda.empty((1,), np.float32), cuda.to_gpu(np.ones(64, np.float32)))
print("no race")
"""


def watch(*macros):
    """What the sanitizer says of the kernel: a line or two."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    options = {"LD_PRELOAD": sanitizer_library("thread"), "TSAN_OPTIONS": "halt_on_error=1", "PYTHONMALLOC": "malloc"}
    given = [sys.executable, "-c", PROGRAM, str(path), *macros]
    done = subprocess.run(given, env={**os.environ, **one, **options}, capture_output=True, text=True)
    return [line.strip() for line in (done.stdout + done.stderr).splitlines() if "race" in line or ".cu:" in line]


for macros in ((), ("FORGET",)):
    said = watch(*macros)
    print(*said[:4], sep="\n")
    assert ("no race" in said) != bool(macros)
assert any("block_sum.cu:8" in line for line in said), "and it names the line"

# %% [markdown]
# The line is the one with `+=`. (If there is a whole run without a race, that holds for these sizes; a race on a path
# that did not run is not seen. So the tests of minicnn run every kernel on odd sizes.)
#
# ## Why shared memory: count the bytes
#
# A product of two $N \times N$ matrices, a thread for each result: every thread reads a row and a column from the
# large, slow memory, $2N^3$ numbers in all. If a block of $T \times T$ threads first brings tiles of both matrices into
# shared memory, each number is fetched once for a block instead of once for a thread, $2N^3/T$ in all. We let each
# thread count what it fetches.

# %%
PRODUCT = """
extern "C" __global__ void product(float *c, const float *a, const float *b, int *fetched, int N) {
  const int tx = threadIdx.x % TILE, ty = threadIdx.x / TILE;
  const int row = blockIdx.y * TILE + ty, column = blockIdx.x * TILE + tx;
  float sum = 0;
  int count = 0;
#ifdef TILED
  __shared__ float as[TILE * TILE];
  __shared__ float bs[TILE * TILE];
  for (int k0 = 0; k0 < N; k0 += TILE) {
    as[ty * TILE + tx] = a[row * N + k0 + tx];
    bs[ty * TILE + tx] = b[(k0 + ty) * N + column];
    count += 2;
    __syncthreads();  // both tiles are there
    for (int k = 0; k < TILE; ++k) sum += as[ty * TILE + k] * bs[k * TILE + tx];
    __syncthreads();  // nobody reads them any more
  }
#else
  for (int k = 0; k < N; ++k) {
    sum += a[row * N + k] * b[k * N + column];
    count += 2;
  }
#endif
  c[row * N + column] = sum;
  fetched[row * N + column] = count;
}
"""
N, TILE = 32, 8
path = source(PRODUCT, "product")
a, b = (rng.standard_normal((N, N)).astype(np.float32) for _ in range(2))
counts = {}
for name, macros in (("a thread for itself", {}), ("in tiles of 8 x 8", {"TILED": 1})):
    with emulated():
        c, fetched = cuda.empty((N, N), np.float32), cuda.empty((N, N), np.int32)
        run = cuda_kernels.kernel(path, "product", TILE=TILE, **macros)
        run((N // TILE, N // TILE), (TILE * TILE,), c, cuda.to_gpu(a), cuda.to_gpu(b), fetched, N)
        assert np.allclose(cuda.to_cpu(c), a @ b, atol=1e-4)
        counts[name] = int(cuda.to_cpu(fetched).sum())
    print(f"{name:20}: {counts[name]:6,} numbers fetched, {2 * N**3 / counts[name] / 4:.2f} operations a byte")
assert counts["a thread for itself"] == 2 * N**3
assert counts["in tiles of 8 x 8"] == 2 * N**3 // TILE

# %% [markdown]
# It is the idea of tutorial 10, once more: what has been fetched must be used many times. The next steps are the same,
# too: each thread keeps a block of results in its registers, and fetches the next tile while it multiplies this one
# (`minicnn/ops/conv2d/registers.cu`, `vectorised.cu`, `warps.cu`).
#
# ## Why channels last: count the lines
#
# Memory hands out not numbers but lines of 32 bytes. The 32 threads of a *warp* ask at the same time. If they ask for
# neighbouring numbers, 4 lines are enough; if the numbers are far apart, 32 lines come, and 28 bytes of each are for
# nothing. When a thread is a channel, an image that has its channels side by side gives the first case.


# %%
def lines(addresses):
    """How many lines of 32 bytes hold float32 numbers with these indices."""
    return len(np.unique(np.asarray(addresses) * 4 // 32))


C, H, W, h, w = 64, 14, 14, 5, 7
warp = np.arange(32)  # 32 channels of the pixel (h, w)
asked = {"channels last": (h * W + w) * C + warp, "channels first": (warp * H + h) * W + w}
for name, addresses in asked.items():
    print(f"{name:15}: {lines(addresses):2} lines for a warp")
assert [lines(addresses) for addresses in asked.values()] == [4, 32]

# %% [markdown]
# ## A convolution of minicnn, on the GPU that is not there
#
# The array decides where it runs. These are the kernels that run on a real GPU, character by character.

# %%
x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 3, 6, 6), (4, 3, 3, 3)))
with emulated(), minicnn.algorithm(conv2d="cuda_naive"):
    y = cuda.to_cpu(conv2d.forward(cuda.to_gpu(x), cuda.to_gpu(w), padding=1))
    try:
        conv2d.forward(cuda.to_gpu(x), w, padding=1)
    except minicnn.MinicnnError as error:
        print("mixed:", error)
expected = conv2d.forward(x.astype(float), w.astype(float), padding=1)
print(f"largest difference from the formula in float64: {np.abs(y - expected).max():.1e}")
assert np.abs(y - expected).max() < 1e-5

# %% [markdown]
# And what the emulator does not forgive: a barrier that only some threads reach. On a GPU this may hang, or not.

# %%
STUCK = """
extern "C" __global__ void stuck(float *y) {
  if (threadIdx.x < 10) __syncthreads();
  y[threadIdx.x] = 1;
  __syncthreads();
}
"""
try:
    with emulated():
        cuda_kernels.kernel(source(STUCK, "stuck"), "stuck")((1,), (64,), cuda.empty((64,), np.float32))
    refused = ""
except EmulatorError as error:
    refused = str(error)
print(refused)
assert refused

# %% [markdown]
# ## Exercises
#
# Replace `None` in the last cells; the assertions say whether you are right. The others are experiments: what you
# should find stands in brackets.
#
# 1. In how many of the 24 orders of threads 0 to 3 does the kernel without the second barrier give the right sum?
#    (First think: which thread must come after which others?)
# 2. 1,024 numbers are to be added by 64 threads. A thread can take 16 neighbours, or every 64th number. How many lines
#    come for the first numbers of a warp, in both cases?
# 3. How many numbers are fetched from the large memory for a product of two $32 \times 32$ matrices in tiles of
#    $16 \times 16$?
# 4. In `product`, forget the second barrier in the tiled loop. Which orders of the emulator find it? (Try `schedule` 0
#    to 3: all four give wrong numbers. `watch`, adapted, names a line that writes to shared memory.)
# 5. `own_cuda_kernel.py`, beside this tutorial, has a convolution with a patch in shared memory, used in a network. How
#    often is each pixel fetched there, and how often in `naive.cu`? ($(T+2)^2/T^2$ against 9, for each output channel.)

# %%
answer_1 = None
answer_2 = None  # (16 neighbours, every 64th)
answer_3 = None

# %%
good = 0
for first in itertools.permutations(range(4)):
    y = np.full(1, np.nan)
    launch(
        block_sum("second"), 1, 8, np.arange(1.0, 9), y, order=lambda t, f=first: [*f, *sorted(t)[4:]] if 0 in t else t
    )
    good += y[0] == 36
assert answer_1 in (None, good)
assert answer_2 in (None, (lines(16 * warp), lines(warp)))
assert answer_3 in (None, 2 * 32**3 // 16)
