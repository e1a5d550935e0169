"""HDF5 of any origin: Keras files, files of ours, and plain ones, whose paths are the names.

/layer1.0.conv1.weight            flat, or
/layer1/0/conv1/weight            nested: both are read as layer1.0.conv1.weight
"""

from __future__ import annotations

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import Foreign
from minicnn.weights.importers.hdf5_tree import Tree, open_tree
from minicnn.weights.importers.keras import is_keras, is_keras_3, read_keras, read_keras_3

FORMAT = "HDF5"
OWN = {"format", "sha256", "architecture"}  # attributes that minicnn's own files have


def read_hdf5(path: str) -> Foreign:
    """Read an HDF5 file; see `read_foreign`."""
    with open_tree(path) as tree:
        if tree.attributes >= OWN:
            return _own(path)
        if is_keras(tree):
            return read_keras(tree)
        if is_keras_3(tree):
            return read_keras_3(tree)
        return read_plain(tree)


def _own(path: str) -> Foreign:
    """A file of minicnn: read as such, with its checksums."""
    from minicnn.weights.hdf5 import read

    state, info = read(path)
    found = Foreign("minicnn weights (HDF5)", state)
    found.values = {"architecture": info.architecture, "classes": info.classes}
    return found


def read_plain(tree: Tree) -> Foreign:
    """Arrays under their paths, dots between the parts; a group around everything is left out of the names."""
    found = Foreign(FORMAT)
    prefix = _container(tree, found.notes)
    for path, stored in tree.datasets.items():
        if not path.startswith(prefix):
            continue
        name = path.removeprefix(prefix).replace("/", ".")
        if name in found.arrays:
            raise WeightsError("a name twice, flat and nested", called=tree.source.called, seen=repr(name)[:120])
        found.arrays[name] = stored.read(tree.source)
    if not found.arrays:
        raise WeightsError("an HDF5 file without arrays", called=tree.source.called)
    return found


def _container(tree: Tree, notes: list[str]) -> str:
    """The group that holds the arrays under dotted names, with a slash; "" where the paths themselves are the names."""
    counts: dict[str, int] = {}
    for path in tree.datasets:
        top, _, rest = path.partition("/")
        if "." not in rest or "." in top:
            return ""
        counts[top] = counts.get(top, 0) + 1
    if not counts:
        return ""
    largest = max(counts, key=lambda top: counts[top])
    notes.append(f"the arrays of the group {largest!r}")
    notes.extend(f"left out: {n} arrays of the group {top!r}" for top, n in counts.items() if top != largest)
    return f"{largest}/"
