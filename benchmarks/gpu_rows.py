"""What `gpu.py` measures: kernels against the formula, then rungs, networks and their peers, by the GPU's own clock.

PyTorch runs its convolutions with cuDNN. Its arrays are minicnn's: CuPy takes them over where they lie. On the emulated
GPU (`gpu.py --emulate`, which is how this program is tested) PyTorch computes on the CPU, and times mean nothing.
"""

from __future__ import annotations

import copy
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicnn.backends import cuda
from minicnn.ops import conv2d
from minicnn.ops.conv2d import OPERATION
from minicnn.study.layers import RESNET18, Layer

Row = dict[str, Any]
Call = Callable[[], Any]
PASSES = ("forward", "grad_input", "grad_weight")
SLOW = {"cuda_naive": 8, "cuda_tiled": 32}  # images that these rungs get in place of the whole batch
# a rung's precision, and the largest error beside the float64 result that it may have
PRECISION = {"cuda_tf32": ("tf32", 2e-3), "cuda_bf16": ("bf16", 1.5e-2)}
FLOAT32 = ("float32", 1e-5)
BLOCK_MS = 20.0  # of one block of timed calls
TINY = {
    "resnet18.conv1": Layer((3, 9, 9), (4, 7, 7), 2, 3),
    "resnet18.layer1.0.conv1": Layer((8, 7, 7), (8, 3, 3), 1, 1),
}


def interleaved(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Milliseconds a call of each: medians of blocks that take turns, between two events of the GPU."""
    cupy = cuda.library()
    many, blocks = {}, {name: [] for name in calls}
    for name, call in calls.items():
        for _ in range(3):
            call()
        many[name] = max(1, min(200, int(BLOCK_MS / max(1e-3, _block(cupy, call, 1)))))
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            blocks[name].append(_block(cupy, calls[name], many[name]))
    return {name: statistics.median(times) for name, times in blocks.items()}


def _block(cupy: Any, call: Call, count: int) -> float:
    if cuda.is_emulated():
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) * 1e3 / count
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(begin, end) / count


def device() -> str:
    """Where PyTorch computes."""
    return "cpu" if cuda.is_emulated() else "cuda"


def as_ours(tensor: Any) -> Any:
    """PyTorch's tensor as an array for minicnn, with the same strides."""
    if cuda.is_emulated():
        return cuda.to_gpu(tensor.numpy())
    return cuda.library().asarray(tensor)


def as_theirs(result: Any) -> Any:
    """An array or a tensor as a tensor of PyTorch."""
    import torch

    if isinstance(result, torch.Tensor):
        return result
    return torch.as_tensor(cuda.to_cpu(result) if cuda.is_emulated() else result, device=device())


# ---- convolutions ----------------------------------------------------------------------------------------------------


def convolutions(batch: int, rounds: int, layers: dict[str, Layer] = RESNET18) -> Iterator[Row]:
    """Every rung and cuDNN, on each distinct convolution of ResNet-18, in each pass."""
    for name, layer in layers.items():
        for pass_name in PASSES:
            if name == "resnet18.conv1" and pass_name == "grad_input":
                continue  # nobody wants the gradient of the images
            yield from convolution(name, layer, pass_name, batch, rounds)
            gc.collect()
            if not cuda.is_emulated():
                cuda.library().get_default_memory_pool().free_all_blocks()


def convolution(name: str, layer: Layer, pass_name: str, batch: int, rounds: int) -> Iterator[Row]:
    """One layer and pass: results are held against float64, before and after the timing."""
    import torch

    torch.backends.cudnn.benchmark = True
    arrays = _Arrays(layer, batch)
    calls: dict[str, Call] = {}
    images: dict[str, int] = {}
    for rung in OPERATION.cuda:
        some = min(batch, SLOW.get(rung, batch))
        call = arrays.ours(rung, pass_name, some)
        try:
            call()
        except Exception as error:  # a rung that lacks this pass, or does not take this layer
            print(f"  {name} {pass_name} {rung}: left out: {error}", flush=True)
            continue
        calls[rung], images[rung] = call, some
    for label, call in arrays.cudnn(pass_name).items():
        calls[label], images[label] = call, batch
    errors = {key: arrays.error(pass_name, call(), images[key]) for key, call in calls.items()}
    for key, error in errors.items():
        allowed = PRECISION.get(key, FLOAT32)[1]
        if key in OPERATION.cuda and not error <= allowed:
            raise AssertionError(f"{name} {pass_name} {key}: error {error:.2e} is more than {allowed:.0e}")
    times = interleaved(calls, rounds)
    flops = 2.0 * layer.kernel[0] * layer.image[0] * layer.kernel[1] * layer.kernel[2] * arrays.pixels
    for key, measured in times.items():
        ms, own = measured * batch / images[key], key in OPERATION.cuda
        if own and arrays.error(pass_name, calls[key](), images[key]) != errors[key]:
            raise AssertionError(f"{name} {pass_name} {key}: other bits after the timing")
        yield {
            "group": "convolutions",
            "layer": name,
            "pass": pass_name,
            "who": key,
            "precision": PRECISION.get(key, FLOAT32)[0] if own else key.split(", ")[1],
            "images": images[key],
            "ms": ms,
            "tflops": flops / ms / 1e9,
            "error": errors[key],
        }
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Arrays:
    """The arrays of one layer: PyTorch's, channels last in memory, and the same for minicnn."""

    def __init__(self, layer: Layer, batch: int) -> None:
        import torch

        self.layer, self.batch, self.torch = layer, batch, torch
        generator = torch.Generator(device()).manual_seed(0)

        def draw(*shape: int) -> Any:
            n, c, h, w = shape
            return torch.randn(n, h, w, c, device=device(), generator=generator).permute(0, 3, 1, 2)

        w_shape = (layer.kernel[0], layer.image[0], *layer.kernel[1:])
        x_shape = (batch, *layer.image)
        self.options, y_shape = conv2d.check_shapes(x_shape, w_shape, layer.stride, layer.padding, 1, 1)
        self.pixels = y_shape[0] * y_shape[2] * y_shape[3]
        self.x, self.w, self.dy = draw(*x_shape), draw(*w_shape), draw(*y_shape)
        self.w /= float(np.prod(w_shape[1:])) ** 0.5
        self.ours_of = {key: as_ours(t) for key, t in (("x", self.x), ("w", self.w), ("dy", self.dy))}
        self.right: dict[str, Any] = {}

    def ours(self, rung: str, pass_name: str, images: int) -> Call:
        """A rung on the first images."""
        x, w, dy = self.ours_of["x"][:images], self.ours_of["w"], self.ours_of["dy"][:images]
        arrays, more = {
            "forward": ((x, w, None), {}),
            "grad_input": ((dy, w), {"x_shape": x.shape}),
            "grad_weight": ((dy, x), {"w_shape": w.shape}),
        }[pass_name]
        found = OPERATION.algorithm(rung)
        problem = OPERATION.problem(pass_name, arrays, {**self.options, **more})
        rule = found.broken_rule(problem)

        def call() -> Any:
            if rule:
                raise ValueError(rule)
            return found.passes[pass_name](*arrays, **self.options, **more)

        return call

    def cudnn(self, pass_name: str) -> dict[str, Call]:
        """PyTorch's, in each precision and both layouts."""
        torch, calls = self.torch, {}
        for precision, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
            for layout, form in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
                given = [t.to(dtype).contiguous(memory_format=form) for t in (self.x, self.w, self.dy)]
                calls[f"cuDNN, {precision}, {layout}"] = self._torch_call(pass_name, precision, *given)
        return calls

    def _torch_call(self, pass_name: str, precision: str, x: Any, w: Any, dy: Any) -> Call:
        torch, options = self.torch, self.options
        mask = [pass_name == "grad_input", pass_name == "grad_weight", False]
        given = (None, options["stride"], options["padding"], (1, 1), False, (0, 0), 1, mask)

        def call() -> Any:
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            if pass_name == "forward":
                return torch.nn.functional.conv2d(x, w, None, options["stride"], options["padding"])
            return torch.ops.aten.convolution_backward(dy, x, w, *given)[mask.index(True)]

        return call

    def error(self, pass_name: str, result: Any, images: int) -> float:
        """Largest difference to float64, beside the largest number; of a result for so many images."""
        if (pass_name, images) not in self.right:
            exact = [t.double() for t in (self.x[:images], self.w, self.dy[:images])]
            self.right[pass_name, images] = self._torch_call(pass_name, "float32", *exact)()
        right = self.right[pass_name, images]
        got = as_theirs(result).double()
        return float((got - right).abs().max() / right.abs().max())


# ---- networks --------------------------------------------------------------------------------------------------------


def networks(batches: tuple[int, ...], rounds: int, side: int = 224, width: int = 64) -> Iterator[Row]:
    """ResNet-18, float32 with TF32 off: the forward pass, and a step of training with momentum."""
    import peers
    import torch

    from minicnn.autograd import Tensor
    from minicnn.models import resnet18

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    for batch in batches:
        x = torch.randn(batch, side, side, 3, device=device()).permute(0, 3, 1, 2)
        labels = torch.randint(0, 1000, (batch,), device=device())
        ours, theirs = resnet18(width=width).to("cuda"), peers.ResNet18(width=width)
        theirs.load_state_dict({name: torch.as_tensor(value) for name, value in ours.state_dict().items()})
        everyone = [ours]
        our_x, our_labels = Tensor(as_ours(x)), Tensor(as_ours(labels))
        forward, train = {"minicnn": _our_forward(ours, our_x)}, {"minicnn": _our_train(ours, our_x, our_labels)}
        for layout, form in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
            network = copy.deepcopy(theirs).to(device()).to(memory_format=form)
            images = x.contiguous(memory_format=form)
            everyone.append(network)
            forward[f"PyTorch, {layout}"] = _torch_forward(network, images)
            train[f"PyTorch, {layout}"] = _torch_train(network, images, labels)
        for network in everyone:
            network.eval()
        mine, other = as_theirs(forward["minicnn"]().array), forward["PyTorch, NCHW"]()
        error = float((mine - other).abs().max() / other.abs().max())
        if not error < 1e-3:
            raise AssertionError(f"ResNet-18: the logits differ by {error:.1e}")
        for what, calls in (("forward", forward), ("train", train)):
            for network in everyone:
                network.train(what == "train")
            for who, ms in interleaved(calls, rounds).items():
                row = {"group": "networks", "what": what, "batch": batch, "who": who, "ms": ms}
                yield {**row, "images_per_second": batch / ms * 1e3, "error": error}


def _our_forward(network: Any, images: Any) -> Call:
    from minicnn.autograd import no_grad

    def call() -> Any:
        with no_grad():
            return network(images)

    return call


def _our_train(network: Any, images: Any, labels: Any) -> Call:
    from minicnn import nn, optim

    optimizer, loss = optim.SGD(network.parameters(), lr=1e-4, momentum=0.9), nn.CrossEntropyLoss()

    def call() -> None:
        optimizer.zero_grad()
        loss(network(images), labels).backward()
        optimizer.step()

    return call


def _torch_forward(network: Any, images: Any) -> Call:
    import torch

    def call() -> Any:
        with torch.no_grad():
            return network(images)

    return call


def _torch_train(network: Any, images: Any, labels: Any) -> Call:
    import torch

    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def call() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return call
