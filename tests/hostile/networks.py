"""Whole narrow networks in foreign formats, so that conventions and names are converted too."""

from __future__ import annotations

import json

import numpy as np
import onnx_files
import values
from hdf5_files import made

from minicnn.weights.names import _keras_flat


def safetensors() -> bytes:
    """A ResNet-18 under torchvision's names."""
    header, rows = {}, b""
    for name, array in values.state().items():
        dtype = {"f": "F32", "i": "I64"}[array.dtype.kind]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(rows), len(rows) + array.nbytes]}
        rows += array.tobytes()
    return values.safetensors(json.dumps(header), rows)


def keras() -> bytes:
    """The same as a Keras file: kernels (h, w, in, out), and lists of names."""
    rename = _keras_flat("_")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in values.state().items():
        layer, _, kind = rename(name).rpartition("/")
        if kind:
            axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, (0,))
            layers.setdefault(layer, {})[f"{layer}/{kind}:0"] = array.transpose(axes)

    def fill(file):
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in weights])
            for name, array in weights.items():
                group.create_dataset(name, data=np.ascontiguousarray(array))

    return made(fill)


def onnx() -> bytes:
    """The same as an exporter writes it that folds batch normalisations: the graph says which weight is which."""
    state = values.state()
    tensors: list[bytes] = []
    nodes: list[bytes] = []

    def conv(name: str, x: str) -> str:
        weight, count = f"onnx::Conv_{len(tensors)}", len(state[f"{name}.weight"])
        array = state[f"{name}.weight"]
        tensors.append(onnx_files.tensor(array.shape, raw=array.tobytes(), name=weight))
        tensors.append(onnx_files.tensor((count,), raw=bytes(4 * count), name=f"{weight}_bias"))
        nodes.append(onnx_files.node("Conv", (x, weight, f"{weight}_bias"), (f"{name}.y",)))
        return f"{name}.y"

    x = conv("conv1", "images")
    for stage in range(1, 5):
        for block in range(2):
            name = f"layer{stage}.{block}"
            y = conv(f"{name}.conv2", conv(f"{name}.conv1", x))
            if f"{name}.downsample.0.weight" in state:
                x = conv(f"{name}.downsample.0", x)
            nodes.append(onnx_files.node("Add", (y, x), (name,)))
            x = name
    fc = state["fc.weight"]
    tensors += [onnx_files.tensor(fc.T.shape, raw=fc.T.tobytes(), name="fc")]
    tensors += [onnx_files.tensor((3,), raw=state["fc.bias"].tobytes(), name="fc_bias")]
    nodes.append(onnx_files.node("Gemm", (x, "fc", "fc_bias"), ("logits",)))
    return onnx_files.model(*tensors, nodes=b"".join(nodes))
