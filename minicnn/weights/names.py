"""Names of parameters: torchvision's, which are minicnn's, and other libraries' names for the same, in tables.

A table goes from a name of ours to the name in the file: a file matches a table if it has the names that the table
gives for all parameters of the network, behind one common beginning (`module.`, `state_dict.`, `model.backbone.`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

OPTIONAL = ".num_batches_tracked"  # files made before PyTorch 0.4.1 do not have it, and nothing is computed from it


@dataclass(frozen=True)
class NameMap:
    """The names of one library for one family of networks.

    Attributes
    ----------
    library : str
        For the report: "Hugging Face ResNetForImageClassification".
    architectures : tuple of str
        Beginnings of the architectures that it is for: ("resnet",).
    source : callable
        From a name of ours to the name in the file, or to "" where the library has none.
    layout : "torch" or "keras"
        Only files with kernels in this order of axes are matched; see `Foreign.layout`.
    eps : float or None
        Epsilon of the library's batch normalisation, where it is not the network's own.
    flattened : dict of name to (height, width)
        Linear weights of ours behind a flattened image (C, height, width), which the library flattens as (height,
        width, C): their columns are reordered.
    preprocessing : dict
        Fields of `WeightsInfo` for files of this library with 1000 classes, where they are not torchvision's.
    """

    library: str
    architectures: tuple[str, ...]
    source: Callable[[str], str]
    layout: str = "torch"
    eps: float | None = None
    flattened: dict[str, tuple[int, int]] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OtherNetwork:
    """Another network that is often taken for one of ours: names that only it has, and what to say."""

    names: tuple[str, ...]
    explanation: str
    hint: str = ""


def rules(*pairs: tuple[str, str]) -> Callable[[str], str]:
    """A table of patterns: the first one that matches a whole name gives the other name.

    `{n}` in a pattern stands for a number, `{x}` for a last part; in the other name `{0}`, `{1}`, ... stand for what
    was found, in order, and `{0-}` for the number before.
    """
    compiled = []
    for pattern, other in pairs:
        expression = re.escape(pattern).replace(r"\{n\}", r"(\d+)").replace(r"\{x\}", r"([a-z_]+)")
        compiled.append((re.compile(expression), other))

    def rename(name: str) -> str:
        for expression, other in compiled:
            found = expression.fullmatch(name)
            if found:
                for i, group in enumerate(found.groups()):
                    other = other.replace(f"{{{i}}}", group)
                    other = other.replace(f"{{{i}-}}", str(int(group) - 1)) if group.isdigit() else other
                return other
        return ""

    return rename


_HF_BLOCK = "encoder.stages.{0-}.layers.{1}."
_HF_BODY = (
    ("conv1.weight", "embedder.embedder.convolution.weight"),
    ("bn1.{x}", "embedder.embedder.normalization.{0}"),
    ("layer{n}.{n}.conv{n}.weight", _HF_BLOCK + "layer.{2-}.convolution.weight"),
    ("layer{n}.{n}.bn{n}.{x}", _HF_BLOCK + "layer.{2-}.normalization.{3}"),
    ("layer{n}.{n}.downsample.0.weight", _HF_BLOCK + "shortcut.convolution.weight"),
    ("layer{n}.{n}.downsample.1.{x}", _HF_BLOCK + "shortcut.normalization.{2}"),
)

MAPS: list[NameMap] = [
    NameMap("torchvision or timm", ("",), lambda name: name),
    NameMap(
        "timm's VGG",
        ("vgg",),
        rules(
            ("features.{n}.{x}", "features.{0}.{1}"),
            ("classifier.0.{x}", "pre_logits.fc1.{0}"),
            ("classifier.3.{x}", "pre_logits.fc2.{0}"),
            ("classifier.6.{x}", "head.fc.{0}"),
        ),
    ),
    NameMap(
        "Hugging Face ResNetForImageClassification",
        ("resnet",),
        rules(*((ours, f"resnet.{theirs}") for ours, theirs in _HF_BODY), ("fc.{x}", "classifier.1.{0}")),
    ),
    NameMap("Hugging Face ResNetModel", ("resnet",), rules(*_HF_BODY)),
]
"""Tables of names; the first one that fits a file best is taken."""

OTHER_NETWORKS: list[OtherNetwork] = []
"""Networks that are refused with an explanation."""


def _keras_kind(name: str, module: str) -> str:
    """Keras' word for the last part of one of our names."""
    kinds = {"weight": "kernel", "bias": "bias"}
    if re.search(r"(^|\.)bn\d*$|downsample\.1$", module):
        kinds = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    return kinds.get(name, "")


def _keras_flat(separator: str) -> Callable[[str], str]:
    """torchvision's names as layers: layer1.0.conv1/kernel, or with another separator layer1_0_conv1/kernel."""

    def source(name: str) -> str:
        module, _, last = name.rpartition(".")
        kind = _keras_kind(last, module)
        return f"{module.replace('.', separator)}/{kind}" if kind else ""

    return source


def _keras_resnet(name: str) -> str:
    """keras.applications' names for ResNets of two convolutions a block: conv2_block1_1_conv is layer1.0.conv1."""
    module, _, last = name.rpartition(".")
    kind = _keras_kind(last, module)
    if module == "fc":
        return f"predictions/{kind}"
    found = re.fullmatch(r"(?:layer(\d)\.(\d+)\.)?(conv|bn|downsample\.)(\d)", module)
    if not found or not kind:
        return ""
    stage, block, what, which = found.groups()
    layer = {"conv": "conv", "bn": "bn"}.get(what) or ("conv", "bn")[int(which)]
    if stage is None:
        return f"conv1_{layer}/{kind}"
    return f"conv{int(stage) + 1}_block{int(block) + 1}_{0 if what == 'downsample.' else which}_{layer}/{kind}"


_VGG16 = {  # the convolutions of torchvision's features, by stage
    1: (0, 2),
    2: (5, 7),
    3: (10, 12, 14),
    4: (17, 19, 21),
    5: (24, 26, 28),
}


def _keras_vgg16(name: str) -> str:
    """keras.applications' names for VGG-16."""
    layers = {f"features.{at}": f"block{b}_conv{i}" for b, row in _VGG16.items() for i, at in enumerate(row, 1)}
    layers.update({"classifier.0": "fc1", "classifier.3": "fc2", "classifier.6": "predictions"})
    module, _, last = name.rpartition(".")
    return f"{layers[module]}/{_keras_kind(last, module)}" if module in layers else ""


def _gluon_resnet(name: str) -> str:
    """MXNet Gluon's names for ResNet-18 and -34 of version 1: a stage's convolutions are counted, shortcuts too."""
    module, _, last = name.rpartition(".")
    kind = {"weight": "weight", "bias": "bias"}
    if module == "fc":
        return f"dense0_{kind.get(last, '')}"
    found = re.fullmatch(r"(?:layer(\d)\.(\d+)\.)?(conv|bn|downsample\.)(\d)", module)
    if not found:
        return ""
    stage, block, what, which = found.groups()
    layer = {"conv": "conv", "bn": "batchnorm"}.get(what) or ("conv", "batchnorm")[int(which)]
    if layer == "batchnorm":
        kind = {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"}
    if last not in kind:
        return ""
    if stage is None:
        return f"{layer}0_{kind[last]}"
    count = 2 if what == "downsample." else 2 * int(block) + int(which) - 1
    if int(block) > 0 and int(stage) > 1:
        count += 1  # the shortcut of the stage's first block
    return f"stage{stage}_{layer}{count}_{kind[last]}"


MAPS += [
    NameMap(
        "keras.applications' VGG16",
        ("vgg16",),
        _keras_vgg16,
        layout="keras",
        flattened={"classifier.0.weight": (7, 7)},
        preprocessing={
            "resize": 224,
            "channels": "BGR",
            "scale": 255,
            "mean": (103.939, 116.779, 123.68),
            "std": (1.0, 1.0, 1.0),
        },
    ),
    NameMap("a Keras port in keras.applications' names", ("resnet18", "resnet34"), _keras_resnet, "keras", 1.001e-5),
    NameMap("a Keras port in torchvision's names", ("resnet",), _keras_flat("."), "keras", 1e-5),
    NameMap("a Keras port in torchvision's names", ("resnet",), _keras_flat("_"), "keras", 1e-3),
    NameMap("the ONNX model zoo's resnet18-v1 (MXNet Gluon)", ("resnet18", "resnet34"), _gluon_resnet),
]

OTHER_NETWORKS += [
    OtherNetwork(
        ("conv2d/kernel", "conv2d_1/kernel"),
        "Keras numbers layers by their kind (conv2d, conv2d_1, ...) where they were given no names, so that the file "
        "does not say which layer is which",
        "name the layers as torchvision does (layer1.0.conv1, ...) and save the weights again",
    ),
    OtherNetwork(
        ("bn_data/beta", "stage1_unit1_bn1/gamma"),
        "the pre-activation ResNet of `classification_models`, which is another network: it normalises before each "
        "convolution, so that its weights cannot be those of torchvision's",
        "take weights that were trained in torchvision's topology",
    ),
    *(
        OtherNetwork(
            (name,),
            "keras.applications' ResNet with bottlenecks, which is another network: it strides in the first 1x1 "
            "convolution of a block, torchvision's in the 3x3",
            "take torchvision's weights: minicnn weights download resnet50",
        )
        for name in ("conv2_block1_3_conv/kernel", "res2a_branch2c/kernel")
    ),
    OtherNetwork(
        ("conv2_block1_0_conv/kernel",),
        "a ResNet with a convolution in the shortcut of its first block, where torchvision's has none",
        "take weights that were trained in torchvision's topology",
    ),
]
