"""Your own CUDA kernel, without a GPU.

Question: a kernel gives the right numbers today. How do I know that it has no race?

`own_cuda_kernel.cu`, beside this file, is a convolution. It is launched as on a GPU, but an emulator runs it on the
CPU, with its threads in any order that we like. Needs g++. Run:  python tutorials/own_cuda_kernel.py
"""

from pathlib import Path

import numpy as np

import minicnn
from minicnn import nn
from minicnn.backends import cuda, cuda_kernels
from minicnn.ops import conv2d
from minicnn.study.emulator import emulated

FILE, TILE = Path(__file__).with_name("own_cuda_kernel.cu"), 8


# 1. Launch it: allocate the result, choose blocks and threads. Arrays of images lie channels last on the GPU.
def launch(x, w, **macros):
    """y for x (N, C, H, W) and w (K, C, 3, 3), padding 1."""
    (n, c, height, width), k = x.shape, w.shape[0]
    y = cuda.empty_images((n, k, height, width), x.dtype)
    tiles = -(-height // TILE) * -(-width // TILE)
    arrays = (cuda_kernels.channels_last(a) for a in (y, x, w))
    run = cuda_kernels.kernel(FILE, "patch", TILE=TILE, **macros)
    run((tiles, k, n), (TILE * TILE,), *arrays, height, width, c, k, height, width, 1, 1)
    return y


# 2. Register it for what it can do. Everything else, the backward passes too, goes to the built-in kernels.
def supports(problem):
    """The rule that a problem breaks, or nothing."""
    if problem.device != "cuda" or problem.dtype != np.float32:
        return "float32 arrays on the GPU"
    plain = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    return "" if problem.options == plain and problem.shapes[1][2:] == (3, 3) else "3x3, padding 1, nothing else"


def forward(x, w, b, **options):
    """As `conv2d.forward`; without a bias, to keep it short."""
    assert b is None
    return launch(x, w)


minicnn.register_algorithm("conv2d", "patch", forward=forward, supports=supports)

# 3. Hold it against the formula, with its threads in several orders. A right kernel gives the same bits in each.
rng = np.random.default_rng(0)
x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 5, 11, 13), (4, 5, 3, 3)))
with minicnn.algorithm(conv2d="formula"):
    expected = conv2d.forward(x.astype(np.float64), w.astype(np.float64), padding=1)


def errors(**macros):
    """The largest error in each of four orders of the threads."""
    found = []
    for schedule in range(4):
        with emulated(schedule=schedule):
            y = cuda.to_cpu(launch(cuda.to_gpu(x), cuda.to_gpu(w), **macros))
        found.append(float(np.abs(y - expected).max()))
    return found


print("with both barriers, largest errors in four orders of the threads:", *map("{:.1e}".format, errors()))
assert max(errors()) < 1e-5

# 4. Forget the second barrier. On a GPU that may go well for years; here, some orders of the threads show it.
forgotten = errors(FORGET=1)
print("without the second:", *map("{:.1e}".format, forgotten))
assert max(forgotten) > 1e-2

# 5. Use it in a network, forward and backward.
with emulated(), minicnn.algorithm(conv2d="patch"):
    layer = nn.Conv2d(5, 4, 3, padding=1, bias=False).to("cuda")
    loss = layer(minicnn.Tensor(x).to("cuda")).sum()
    loss.backward()
    print(
        "a layer with it:",
        loss.device,
        layer.weight.grad.shape,
        f"gradient {float(layer.weight.grad.sum().item()):.3f}",
    )

# Exercises: (a) the first barrier instead of the second: which orders show it? (b) a patch one row too small: what does
# `minicnn.study.emulator` say with sanitize="address"? (c) two results a thread: how often is shared memory read then?
