"""Keras: weights by layer, from `.h5` files (legacy format) and `.weights.h5` files (Keras 3).

    layer_names, and in each layer's group weight_names     attributes: lists of texts; saved models have all this in a
    block1_conv1/block1_conv1/kernel:0                      group `model_weights`
    layers/conv2d/vars/0                                    Keras 3, which numbers layers by their kind

Names become "layer/kind", kind one of `KINDS`. The configuration that a saved model carries (`model_config`) is never
read: it can hold code.
"""

from __future__ import annotations

import re

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import Foreign
from minicnn.weights.importers.hdf5_tree import Tree

FORMAT, FORMAT_3 = "Keras weights (HDF5)", "Keras 3 weights (HDF5)"
KINDS = {
    "kernel": "kernel",
    "W": "kernel",
    "bias": "bias",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "running_mean": "moving_mean",
    "moving_variance": "moving_variance",
    "running_std": "moving_variance",  # Keras 1 kept the variance under this name
}
_OLD = re.compile(rf"(?P<layer>.+)_(?P<kind>{'|'.join(KINDS)})(_\d+)?")  # block1_conv1_W_1:0


def is_keras(tree: Tree) -> bool:
    """Whether a file has the lists of names that Keras writes."""
    return any(path in tree.lists for path in ("layer_names", "model_weights/layer_names"))


def is_keras_3(tree: Tree) -> bool:
    """Whether a file has the groups that Keras 3 writes."""
    return any(re.search(r"(^|/)vars/\d+$", path) for path in tree.datasets)


def read_keras(tree: Tree) -> Foreign:
    """Arrays of a legacy file, in the order of its layers and weights."""
    called = tree.source.called
    top = "" if "layer_names" in tree.lists else "model_weights/"
    found = Foreign(FORMAT, layout="keras")
    listed: set[str] = set()
    for layer in tree.lists[f"{top}layer_names"]:
        group = f"{top}{layer}"
        if group not in tree.groups:
            raise WeightsError("a layer that is listed, but not there", called=called, seen=repr(layer)[:80])
        for weight in tree.lists.get(f"{group}/weight_names", []):
            path = f"{group}/{weight}"
            if path not in tree.datasets:
                raise WeightsError("a weight that is listed, but not there", called=called, seen=repr(path)[:120])
            name = name_of(layer, weight)
            if name in found.arrays or path in listed:
                raise WeightsError("a weight that is listed twice", called=called, seen=repr(name)[:120])
            listed.add(path)
            found.arrays[name] = tree.datasets[path].read(tree.source)
    if not found.arrays:
        raise WeightsError("a Keras file without weights", called=called)
    others = [path for path in tree.datasets if path not in listed and not path.startswith("optimizer_weights/")]
    if others:
        found.notes.append(f"not in the lists of weights, and left out: {', '.join(others[:6])}")
    if top:
        found.notes.append("a saved model: its configuration was not read, only its weights")
    return found


def name_of(layer: str, weight: str) -> str:
    """Layer and kind of a weight: "block1_conv1/kernel" of "block1_conv1/kernel:0" and of "block1_conv1_W_1:0"."""
    *scopes, last = weight.split(":")[0].split("/")
    old = _OLD.fullmatch(last)
    kind = last if last in KINDS else old["kind"] if old else re.sub(r"_\d+$", "", last)
    inner = scopes[-1] if scopes else old["layer"] if old else layer
    if re.fullmatch(rf"{re.escape(layer)}(_\d+)?", inner):  # TensorFlow counts layers of one name
        inner = layer
    return f"{inner}/{KINDS.get(kind, kind)}"


def read_keras_3(tree: Tree) -> Foreign:
    """Arrays of a Keras 3 file: `layers/<name>/vars/<number>`; what a number means follows from the axes."""
    layers: dict[str, list[str]] = {}
    for path in tree.datasets:
        group, _, number = path.rpartition("/vars/")
        if number.isdigit() and group and not path.startswith("optimizer/"):
            layers.setdefault(group, []).append(path)
    found = Foreign(FORMAT_3, layout="keras")
    for group, paths in layers.items():
        paths.sort(key=lambda path: int(path.rpartition("/")[2]))
        axes = [len(tree.datasets[path].shape) for path in paths]
        if axes == [1, 1, 1, 1]:
            kinds = ["gamma", "beta", "moving_mean", "moving_variance"]
        elif axes in ([2], [2, 1], [4], [4, 1]):
            kinds = ["kernel", "bias"]
        elif group.rpartition("/")[2].startswith("seed_generator"):
            continue
        else:
            raise WeightsError(
                "a layer that is no convolution, dense layer or batch normalisation",
                called=f"{tree.source.called} at {group[:120]!r}",
                seen=", ".join(str(tree.datasets[path].shape) for path in paths[:6]),
            )
        layer = group.rpartition("/")[2]
        for path, kind in zip(paths, kinds, strict=False):
            name = f"{layer}/{kind}"
            if name in found.arrays:
                raise WeightsError("two layers of one name", called=tree.source.called, seen=repr(group)[:80])
            found.arrays[name] = tree.datasets[path].read(tree.source)
    if not found.arrays:
        raise WeightsError("a Keras file without weights", called=tree.source.called)
    return found
