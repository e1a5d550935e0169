"""The same networks elsewhere: PyTorch, ONNX Runtime, OpenVINO. Import this before minicnn.

Each library's OpenMP reads its settings when it is loaded; minicnn changes one of them for its own threads. The
networks have torchvision's parameter names, which are minicnn's, so that weights can be copied.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Call = Callable[[], Any]


class Block(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, c: int, k: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, k, 3, stride, 1, bias=False), nn.BatchNorm2d(k)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(k, k, 3, 1, 1, bias=False), nn.BatchNorm2d(k)
        self.downsample = None
        if stride != 1 or c != k:
            self.downsample = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))

    def forward(self, x: Any) -> Any:
        """relu(F(x) + shortcut(x))"""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet18(nn.Module):
    """ResNet-18."""

    def __init__(self, num_classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width))
        self.layer4 = nn.Sequential(Block(4 * width, 8 * width, 2), Block(8 * width, 8 * width))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8 * width, num_classes)

    def forward(self, x: Any) -> Any:
        """Images to logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG16(nn.Module):
    """VGG-16; without dropout, whose random choices two libraries cannot share."""

    def __init__(self, num_classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c = 3
        for times, many in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(many):
                layers += [nn.Conv2d(c, times * width, 3, padding=1), nn.ReLU(inplace=True)]
                c = times * width
            layers.append(nn.MaxPool2d(2, 2))
        hidden = 64 * width
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(7)
        parts = [nn.Linear(c * 49, hidden), nn.ReLU(inplace=True), nn.Dropout(0.0)]
        parts += [nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(0.0), nn.Linear(hidden, num_classes)]
        self.classifier = nn.Sequential(*parts)

    def forward(self, x: Any) -> Any:
        """Images to logits."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


NETWORKS = {"resnet18": ResNet18, "vgg16": VGG16}
LAYOUTS = {"PyTorch": torch.contiguous_format, "PyTorch channels_last": torch.channels_last}


def twin(name: str, state: dict[str, np.ndarray], **options: Any) -> nn.Module:
    """PyTorch's network of that name with these weights."""
    model = NETWORKS[name](**options)
    model.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    return model


def folded(model: nn.Module) -> nn.Module:
    """A copy in which each batch normalisation after a convolution has become part of it."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        children = dict(module.named_children())
        pairs = [("conv1", "bn1"), ("conv2", "bn2"), ("0", "1")]
        for a, b in pairs:
            if isinstance(children.get(a), nn.Conv2d) and isinstance(children.get(b), nn.BatchNorm2d):
                setattr(module, a, fuse_conv_bn_eval(children[a], children[b]))
                setattr(module, b, nn.Identity())
    return model


def forward(model: nn.Module, x: np.ndarray, folder: Path, bfloat16: bool = False) -> tuple[dict[str, Call], list[str]]:
    """Inference of the network by each library, and notes on those that are not installed."""
    model = model.eval()
    calls = {name: _torch_call(model, x, layout) for name, layout in LAYOUTS.items()}
    calls["PyTorch folded, channels_last"] = _torch_call(folded(model), x, torch.channels_last)
    notes = [f"{name} is not installed" for name in ("onnx", "onnxruntime", "openvino") if not _installed(name)]
    if not _installed("onnx"):
        return calls, notes
    path = folder / f"network{x.shape[0]}.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        axes = {"input": {0: "batch"}, "output": {0: "batch"}}
        names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": axes}
        torch.onnx.export(model, (torch.from_numpy(x[:1]),), str(path), dynamo=False, **names)
    if _installed("onnxruntime"):
        calls["ONNX Runtime"] = _onnxruntime(path, x)
    if _installed("openvino"):
        calls["OpenVINO"] = _openvino(path, x, "f32")
        if bfloat16:
            calls["OpenVINO bfloat16"] = _openvino(path, x, "bf16")
    return calls, notes


def training(model: nn.Module, x: np.ndarray, labels: np.ndarray, head_only: bool = False) -> dict[str, Call]:
    """A training step (SGD with momentum) in each layout; each call returns the loss before the step."""
    return {name: _step(copy.deepcopy(model), x, labels, layout, head_only) for name, layout in LAYOUTS.items()}


def _step(model: nn.Module, x: np.ndarray, labels: np.ndarray, layout: Any, head_only: bool) -> Call:
    model = model.train().to(memory_format=layout)
    if head_only:
        model.eval()
        model.requires_grad_(False)
        model.fc.train().requires_grad_(True)
    images, target = torch.from_numpy(x).contiguous(memory_format=layout), torch.from_numpy(labels)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _torch_call(model: nn.Module, x: np.ndarray, layout: Any) -> Call:
    model = copy.deepcopy(model).to(memory_format=layout)
    images = torch.from_numpy(x).contiguous(memory_format=layout)

    def call() -> Any:
        with torch.no_grad():
            return model(images).numpy()

    return call


def _onnxruntime(path: Path, x: np.ndarray) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": x})[0]


def _openvino(path: Path, x: np.ndarray, precision: str) -> Call:
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    model = openvino.Core().read_model(str(path))
    model.reshape(list(x.shape))  # a fixed shape is what it optimises best
    request = (
        openvino.Core().compile_model(model, "CPU", {**hints, "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    )
    return lambda: next(iter(request.infer({0: x}).values()))


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
