"""What other libraries do in another way than torchvision, turned into its way before names are matched; each is exact.

- A convolution's bias before a batch normalisation goes into the running mean: (x + b) - m = x - (m - b).
- A batch normalisation that an exporter has folded into its convolution, w' = w g / sqrt(v + eps), comes back as one
  that only adds: the convolution keeps w', and the normalisation has g = 1, m = 0, v = 1 - eps and the bias.
- ONNX's Gemm without transB, and MatMul, keep a linear layer as (in, out).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import Foreign, as_float32

Shape = tuple[int, ...]
EPS = 1e-5  # of batch normalisation in torchvision
_NORMALISATIONS = ((r"conv(\d*)$", r"bn\1"), (r"downsample([._])0$", r"downsample\g<1>1"))
_GLUON = re.compile(r"resnetv1\d_")  # Gluon counts the networks that it made before
_HEADS = ("fc", "fc1000", "dense", "logits", "probs")


def prepare(found: Foreign, expected: Mapping[str, Shape], called: str, bn_epsilon: float | None = None) -> Foreign:
    """The same weights by torchvision's conventions, where the format has others; names and axes mostly stay.

    Parameters
    ----------
    found : Foreign
    expected : mapping of name to shape
        Of the network that the weights are for, in its order.
    called : str
        The file, for errors.
    bn_epsilon : float, optional
        Epsilon of the file's batch normalisations, where the user knows it: it goes before what the file, or the
        library of its names, says.
    """
    if found.layout == "keras":
        found = _without_biases(_one_head(found), called)
    elif found.format == "ONNX":
        found = _onnx(found, expected, called)
    if bn_epsilon is not None:
        variances = [name for name in found.arrays if name.endswith(("moving_variance", "running_var"))]
        found = replace(found, eps=dict.fromkeys(variances, bn_epsilon))
    return found


def _one_head(found: Foreign) -> Foreign:
    """The last layer under the name that keras.applications gives it."""
    arrays = found.arrays
    if "conv1_conv/kernel" not in arrays or "predictions/kernel" in arrays:
        return found
    heads = [head for head in _HEADS if f"{head}/kernel" in arrays]
    if len(heads) != 1:
        return found
    old = f"{heads[0]}/"
    return replace(
        found,
        arrays={
            f"predictions/{name.removeprefix(old)}" if name.startswith(old) else name: array
            for name, array in arrays.items()
        },
    )


def _without_biases(found: Foreign, called: str) -> Foreign:
    """Biases of convolutions that a batch normalisation follows, moved into its running mean."""
    arrays, moved = dict(found.arrays), 0
    for name in found.arrays:
        layer, _, kind = name.rpartition("/")
        if kind != "bias":
            continue
        for pattern, other in _NORMALISATIONS:
            mean = f"{re.sub(pattern, other, layer)}/moving_mean"
            if re.search(pattern, layer) and mean in arrays:
                bias, old = arrays.pop(name), arrays[mean]
                if bias.shape != old.shape:
                    raise WeightsError("a bias that does not fit its batch normalisation", called=called, seen=name)
                arrays[mean] = (old.astype(np.float64) - bias.astype(np.float64)).astype(np.float32)
                moved += 1
                break
    if not moved:
        return found
    note = f"{moved} biases of convolutions before a batch normalisation were moved into its running mean"
    return replace(found, arrays=arrays, notes=[*found.notes, note])


# ---- ONNX ------------------------------------------------------------------------------------------------------------


class _Node:
    """A node of the graph, from its text."""

    def __init__(self, text: str, same: Mapping[str, str]) -> None:
        self.kind, inputs, outputs, marks = text.split("|")
        self.inputs = [same.get(name, name) for name in inputs.split(",")]
        self.outputs = outputs.split(",")
        self.marks = dict(mark.split("=") for mark in marks.split(",") if mark)

    def parameters(self, arrays: Mapping[str, np.ndarray]) -> list[str]:
        return [name for name in self.inputs if name in arrays]


def _onnx(found: Foreign, expected: Mapping[str, Shape], called: str) -> Foreign:
    texts: list[str] = found.values.get("graph", [])
    same: dict[str, str] = {}  # exporters store equal arrays once, and name the others by Identity
    for text in texts:
        kind, inputs, outputs, _ = text.split("|")
        if kind == "Identity":
            same[outputs] = same.get(inputs, inputs)
    nodes = [_Node(text, same) for text in texts if not text.startswith("Identity|")]
    arrays, notes = dict(found.arrays), list(found.notes)
    arrays.update({alias: arrays[name] for alias, name in same.items() if name in arrays and alias in expected})
    turned = _turn_linear(nodes, arrays)
    if turned:
        notes.append(f"{turned} linear layers are stored as (in, out), and were transposed")
    eps = dict(found.eps)
    normalised = any(name.endswith(".running_var") for name in expected)
    if nodes and normalised and not any(node.kind == "BatchNormalization" for node in nodes):
        arrays = _unfolded(nodes, arrays, expected, called)
        eps = {}
        notes.append(
            "the exporter folded each batch normalisation into its convolution: the convolutions keep these weights, "
            "and the batch normalisations only add the bias (weight 1, running mean 0, running variance 1 - eps)"
        )
    names = {name: _GLUON.sub("", name, count=1) if _GLUON.match(name) else name for name in arrays}
    if len(set(names.values())) == len(names):
        arrays = {names[name]: array for name, array in arrays.items()}
        eps = {names.get(name, name): value for name, value in eps.items()}
    return replace(found, arrays=arrays, notes=notes, eps=eps)


def _turn_linear(nodes: list[_Node], arrays: dict[str, np.ndarray]) -> int:
    turned: set[str] = set()
    for node in nodes:
        plain = node.kind == "MatMul" or (node.kind == "Gemm" and float(node.marks.get("transB", "0")) == 0)
        if plain and len(node.inputs) > 1:
            name = node.inputs[1]
            if name in arrays and arrays[name].ndim == 2 and name not in turned:
                arrays[name] = arrays[name].T
                turned.add(name)
    return len(turned)


def _unfolded(
    nodes: list[_Node], arrays: dict[str, np.ndarray], expected: Mapping[str, Shape], called: str
) -> dict[str, np.ndarray]:
    """Arrays under the network's names, from their places in the graph.

    A convolution of a shortcut is known by what it is connected to: its input goes to another convolution too, and its
    output straight to an addition. The others are in the network's order.
    """
    users: dict[str, list[_Node]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)

    def is_shortcut(node: _Node) -> bool:
        after = users.get(node.outputs[0], [])
        beside = [other for other in users.get(node.inputs[0], []) if other.kind == "Conv"]
        return len(beside) > 1 and bool(after) and all(other.kind in ("Add", "Sum") for other in after)

    convolutions = [node for node in nodes if node.kind == "Conv" and len(node.parameters(arrays)) in (1, 2)]
    linear = [node for node in nodes if node.kind in ("Gemm", "MatMul") and node.parameters(arrays)]
    own = [name.removesuffix(".weight") for name, shape in expected.items() if len(shape) == 4]
    _as_many(convolutions, own, called)  # before each is compared with its neighbours: there may be thousands
    shortcuts = [name for name in own if ".downsample." in name]
    pairs = [
        (name, node)
        for names, some in (
            ([name for name in own if name not in shortcuts], [node for node in convolutions if not is_shortcut(node)]),
            (shortcuts, [node for node in convolutions if is_shortcut(node)]),
            ([name.removesuffix(".weight") for name, shape in expected.items() if len(shape) == 2], linear),
        )
        for name, node in zip(names, _as_many(some, names, called), strict=True)
    ]
    made: dict[str, np.ndarray] = {}
    for name, node in pairs:
        weight, *bias = node.parameters(arrays)
        made[f"{name}.weight"] = arrays[weight]
        if not bias:
            continue
        normalisation = _normalisation_of(name, expected)
        if node.kind != "Conv" or normalisation is None:
            made[f"{name}.bias"] = arrays[bias[0]]
            continue
        values = as_float32(arrays[bias[0]])
        if f"{name}.bias" in expected:
            made[f"{name}.bias"] = np.zeros_like(values)
        made[f"{normalisation}.weight"] = np.ones_like(values)
        made[f"{normalisation}.bias"] = values
        made[f"{normalisation}.running_mean"] = np.zeros_like(values)
        made[f"{normalisation}.running_var"] = np.full_like(values, 1 - EPS)
    return made


def _as_many(nodes: list[_Node], names: list[str], called: str) -> list[_Node]:
    if len(nodes) != len(names):
        raise WeightsError(
            "the graph has another number of layers than the network",
            called=called,
            seen=f"{len(nodes)} of {nodes[0].kind if nodes else 'none'}",
            rule=f"{len(names)}: {', '.join(names[:4])}",
            hint="is it the right architecture?",
        )
    return nodes


def _normalisation_of(convolution: str, expected: Mapping[str, Shape]) -> str | None:
    """The batch normalisation that follows a convolution, by torchvision's names."""
    candidates = [re.sub(pattern, other, convolution) for pattern, other in _NORMALISATIONS]
    head, _, last = convolution.rpartition(".")
    if last.isdigit():
        candidates.append(f"{head}.{int(last) + 1}")
    for name in candidates:
        if name != convolution and f"{name}.running_var" in expected:
            return name
    return None
