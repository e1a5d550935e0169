"""What a PyTorch pickle may name, and what is made of it: storages, tensors as descriptions, containers.

A storage is a row of values in the file; a tensor is a view of one: offset, shape, strides. Several tensors may share a
storage. Neither has values while the pickle is read: `view` makes an array of the file's bytes afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import BFLOAT16, LONGEST_NAME, Foreign, check_count, check_name, count_of
from minicnn.weights.importers.pickle_machine import Box, Made, Name

DTYPES: dict[str, np.dtype] = {
    "Float": np.dtype("<f4"),
    "Double": np.dtype("<f8"),
    "Half": np.dtype("<f2"),
    "BFloat16": BFLOAT16,
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
}
BYTES = np.dtype("u1")
_TORCH_DTYPES = {
    "torch.float32": DTYPES["Float"],
    "torch.float64": DTYPES["Double"],
    "torch.float16": DTYPES["Half"],
    "torch.bfloat16": BFLOAT16,
    "torch.int64": DTYPES["Long"],
    "torch.int32": DTYPES["Int"],
    "torch.int16": DTYPES["Short"],
    "torch.int8": DTYPES["Char"],
    "torch.uint8": DTYPES["Byte"],
    "torch.bool": DTYPES["Bool"],
    "torch.uint16": np.dtype("<u2"),
    "torch.uint32": np.dtype("<u4"),
    "torch.uint64": np.dtype("<u8"),
}
DEEPEST, MOST_VISITS, MOST_VALUES, LONGEST_TEXT = 16, 200_000, 20_000, 300


@dataclass(frozen=True)
class Storage:
    """A row of values in the file. `count` values of `dtype` that begin `start` values behind the row's beginning."""

    key: str
    dtype: np.dtype
    count: int
    start: int = 0

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: offset and strides in values of `dtype`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype


def storage_dtype(kind: Any) -> np.dtype | None:
    """dtype of a storage class that the pickle names; bytes for an untyped one; None for anything else."""
    if not isinstance(kind, Name):
        return None
    word = kind.text.rpartition(".")[2]
    if word == "UntypedStorage":
        return BYTES
    return DTYPES.get(word.removesuffix("Storage").removesuffix("Tensor"))


def _whole(values: Any) -> bool:
    return isinstance(values, (tuple, list)) and all(isinstance(n, int) and not isinstance(n, bool) for n in values)


def _tensor(arguments: tuple[Any, ...], dtype: np.dtype | None = None) -> Any:
    """_rebuild_tensor(storage, offset, shape, strides), and _v2, which adds what training needs."""
    if len(arguments) < 4:
        return NotImplemented
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not _whole([offset]) or not _whole(shape) or not _whole(strides):
        return NotImplemented
    return Tensor(storage, offset, tuple(shape), tuple(strides), dtype or storage.dtype)


def _tensor_v3(arguments: tuple[Any, ...]) -> Any:
    """_rebuild_tensor_v3(storage, offset, shape, strides, requires_grad, hooks, dtype, ...)"""
    if len(arguments) < 7 or not isinstance(arguments[6], Name) or arguments[6].text not in _TORCH_DTYPES:
        return NotImplemented
    return _tensor(arguments, _TORCH_DTYPES[arguments[6].text])


def _parameter(arguments: tuple[Any, ...]) -> Any:
    """_rebuild_parameter(tensor, ...), Parameter(tensor), or Parameter(), whose tensor comes later."""
    content = arguments[0] if arguments else None
    return Box(content) if content is None or isinstance(content, Tensor) else NotImplemented


def _ordered_dict(arguments: tuple[Any, ...]) -> Any:
    """OrderedDict(), or from a list of pairs."""
    if not arguments:
        return {}
    pairs = arguments[0]
    if len(arguments) > 1 or not isinstance(pairs, list):
        return NotImplemented
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        return NotImplemented
    made = {pair[0]: pair[1] for pair in pairs}
    return made if len(made) == len(pairs) else NotImplemented


def _size(arguments: tuple[Any, ...]) -> Any:
    return tuple(arguments[0]) if len(arguments) == 1 and _whole(arguments[0]) else NotImplemented


def _nothing(arguments: tuple[Any, ...]) -> Any:
    """A device: not needed."""
    return None


NAMES: dict[str, Made | None] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.autograd.variable.Variable": _parameter,
    "torch.Size": _size,
    "torch.device": _nothing,
    "torch.storage.UntypedStorage": None,
    "torch.UntypedStorage": None,
    **{f"torch.{word}Storage": None for word in DTYPES},
    **{f"torch.{word}Tensor": None for word in DTYPES},
    **{f"torch.cuda.{word}Storage": None for word in DTYPES},
    **{f"torch.cuda.{word}Tensor": None for word in DTYPES},
    **dict.fromkeys(_TORCH_DTYPES),
}


def collect(root: Any, called: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors and plain values of nested containers, by dotted name, in order.

    A container that the file names twice is visited twice: visits and depth are limited, so that containers in
    themselves and doublings end.
    """
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    stack: list[tuple[str, Any, int]] = [("", root, 0)]
    visits = 0
    while stack:
        name, item, depth = stack.pop()
        if isinstance(item, Box):
            item = item.content
        # What a container holds counts before it is copied: a large one may be named many times.
        visits += 1 + (len(item) if isinstance(item, (dict, list, tuple)) else 0)
        if visits > MOST_VISITS or depth > DEEPEST:
            raise WeightsError(
                "containers that are too many, too deep, or in themselves",
                called=called,
                rule=f"at most {MOST_VISITS:,} objects, {DEEPEST} deep",
            )
        if len(name) > LONGEST_NAME:
            check_name(name, called)
        if isinstance(item, Tensor):
            name = name or "tensor"
            check_name(name, called)
            if name in tensors:
                raise WeightsError("two tensors of one name", called=called, seen=name)
            tensors[name] = item
            check_count(len(tensors), called)
        elif isinstance(item, dict):
            inner = [(f"{name}.{key}" if name else key, value, depth + 1) for key, value in item.items()]
            stack += inner[::-1]
        elif isinstance(item, (list, tuple)):
            if item and all(
                isinstance(part, str) and len(part) <= LONGEST_TEXT and part.isprintable() for part in item
            ):
                _note(values, name, list(item))
                continue
            stack += [(f"{name}.{i}" if name else str(i), part, depth + 1) for i, part in enumerate(item)][::-1]
        elif isinstance(item, (int, float, str)):
            _note(values, name, item)
    return tensors, values


def _note(values: dict[str, Any], name: str, value: Any) -> None:
    """Keep a plain value that can be shown; what cannot is of no use."""
    short = len(value) <= LONGEST_TEXT and value.isprintable() if isinstance(value, str) else True
    if short and name.isprintable() and len(values) < MOST_VALUES:
        values[name] = value


def view(data: Any, place: int, tensor: Tensor, where: str, order: str = "<") -> np.ndarray:
    """The tensor's array, over the file's bytes.

    Parameters
    ----------
    data : bytes-like
        The mapped file.
    place : int
        Where its storage's row begins.
    tensor : Tensor
    where : str
        For errors.
    order : "<" or ">"
        Byte order of the values.
    """
    count = count_of(tensor.shape, where)
    storage, size = tensor.storage, tensor.dtype.itemsize
    held = storage.bytes // size
    if len(tensor.strides) != len(tensor.shape):
        raise WeightsError("shape and strides differ in length", called=where, seen=f"{tensor.shape}, {tensor.strides}")
    inside = tensor.offset >= 0 and all(stride >= 0 for stride in tensor.strides)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if not inside or (count and last >= held) or tensor.offset > held:
        raise WeightsError(
            "a tensor that reaches out of its storage",
            called=where,
            seen=f"shape {tensor.shape}, strides {tensor.strides}, offset {tensor.offset}"[:200],
            rule=f"a storage of {held:,} values",
        )
    if count > held:
        raise WeightsError(
            "a tensor of more values than its storage holds", called=where, seen=f"{count:,}", rule=f"at most {held:,}"
        )
    # Where an axis has one value, or a tensor none, a stride may be any number, and is not used.
    strides = [stride * size if count and n > 1 else 0 for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
    dtype = tensor.dtype if order == "<" else tensor.dtype.newbyteorder(">")
    begin = place + storage.start * storage.dtype.itemsize + tensor.offset * size
    array: np.ndarray = np.ndarray(tensor.shape, dtype, data, begin if count else 0, strides)
    return array


def checkpoint(
    kind: str, tensors: dict[str, np.ndarray], values: dict[str, Any], called: str, checksum: str = ""
) -> Foreign:
    """The `Foreign` of a checkpoint; raises if it holds no tensor."""
    if not tensors:
        raise WeightsError("a PyTorch checkpoint without a tensor", called=called)
    return Foreign(kind, tensors, values=values, checksum=checksum)
