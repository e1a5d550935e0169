"""Files as Keras writes them, made with h5py from a state in torchvision's names; for tests."""

from __future__ import annotations

import h5py
import numpy as np

KINDS = {"running_mean": "moving_mean", "running_var": "moving_variance"}


def kernel_of(array):
    """OIHW to HWIO, (out, in) to (in, out)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def layers_of(state, rename):
    """Layer to kind to array, from a state; `rename` gives a module's layer."""
    layers = {}
    normalisations = {name.rpartition(".")[0] for name in state if name.endswith("running_var")}
    for name, array in state.items():
        module, _, last = name.rpartition(".")
        if last == "num_batches_tracked":
            continue
        if module in normalisations:
            kind = {"weight": "gamma", "bias": "beta", **KINDS}[last]
        else:
            kind = {"weight": "kernel", "bias": "bias"}[last]
            array = kernel_of(array) if kind == "kernel" else array
        layers.setdefault(rename(module), {})[kind] = array
    return layers


def write(path, layers, *, weight="{layer}/{kind}:0", top="", texts=bytes):
    """A legacy file: lists of names, a group a layer; `texts` bytes (fixed length) or str (any length)."""
    encode = (lambda text: text.encode()) if texts is bytes else str
    with h5py.File(path, "w") as file:
        group = file.create_group(top) if top else file
        names = ["input_1", *layers]
        group.attrs["layer_names"] = [encode(name) for name in names]
        group.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = b'{"class_name": "Lambda", "config": "import os"}'
        group.create_group("input_1").attrs["weight_names"] = np.zeros(0)
        for layer, arrays in layers.items():
            own = group.create_group(layer)
            paths = {kind: weight.format(layer=layer, kind=kind) for kind in arrays}
            own.attrs["weight_names"] = [encode(path) for path in paths.values()]
            for kind, array in arrays.items():
                own[paths[kind]] = array


def write_keras_3(path, layers):
    """A `.weights.h5` file of Keras 3."""
    order = ["kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance"]
    with h5py.File(path, "w") as file:
        for layer, arrays in layers.items():
            own = file.create_group(f"layers/{layer}/vars")
            for i, kind in enumerate(sorted(arrays, key=order.index)):
                own[str(i)] = arrays[kind]
        file.create_group("optimizer/vars")["0"] = np.array(3, np.int64)
