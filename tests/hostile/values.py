"""Files whose structure is sound and whose values no trained network has: they are refused at the import."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
from making import Family, t

family = Family(".npz", ways=("import_weights",))
refused = family.refused


def state() -> dict[str, np.ndarray]:
    """A narrow ResNet-18."""
    from minicnn import models

    found = models.resnet18(num_classes=3, width=2, stem="small").state_dict()
    return {name: np.array(array) for name, array in found.items()}


def spoilt(name: str, value: float, dtype: str = "f4") -> dict[str, np.ndarray]:
    found = state()
    found[name] = found[name].astype(dtype)
    found[name].flat[-1] = value
    return found


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def safetensors(header: str, rows: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + rows


@refused("layer4.1.conv2.weight holds NaN or infinity")
def one_nan():
    return npz(spoilt("layer4.1.conv2.weight", np.nan))


@refused("fc.weight holds NaN or infinity", suffix=".safetensors")
def one_infinity_in_safetensors():
    header, rows, at = {}, [], 0
    for name, array in spoilt("fc.weight", -np.inf).items():
        rows.append(array.tobytes())
        dtype = {"f": "F32", "i": "I64"}[array.dtype.kind]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [at, at + len(rows[-1])]}
        at += len(rows[-1])
    return safetensors(json.dumps(header), b"".join(rows))


@refused("bn1.running_var holds NaN or infinity", suffix=".pth")
def one_nan_in_a_checkpoint():
    return t.as_zip(spoilt("bn1.running_var", np.nan))


@refused("fc.bias holds values beyond float32")
def a_value_beyond_float32():
    return npz(spoilt("fc.bias", 1e300, "f8"))


@refused("bn1.running_var is a variance, and negative")
def a_negative_variance():
    return npz(spoilt("bn1.running_var", -1.0))


@refused("fc.weight is not of floating point")
def quantised_values():
    return npz(spoilt("fc.weight", 7, "i1"))


@refused("another number of classes|shapes that are not those|the shapes are not those")
def a_head_of_8_billion_classes_without_values():
    return npz({**state(), "fc.weight": np.empty((2**33, 0), "f4"), "fc.bias": np.empty((0,), "f4")})


@refused("are missing|the shapes are not those")
def a_first_layer_that_asks_for_terabytes():
    found = state()
    found["conv1.weight"] = np.zeros((9_000, 1, 3, 3), "f4")
    for name in ("layer4.1.conv2.weight", "fc.weight", "fc.bias"):
        del found[name]
    return npz(found)


@refused("the names are not those|do not say which|are missing", suffix=".safetensors")
def eight_thousand_deep_names():
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return safetensors("{" + ",".join(f'"a.b.c.d.e.f.g.h.{i}.conv1.weight":{entry}' for i in range(7_900)) + "}")
