"""ONNX: the initialisers of a model's graph, and how its convolutions and linear layers use them.

A file is one protobuf message; of it only the fields below are looked at, by walking over the bytes ("Protocol Buffers
Encoding": a tag = field number and wire type, then a number, 4 or 8 bytes, or a length and so many bytes). No operator
is run, and nothing outside the file is read.

    ModelProto 7: graph;  GraphProto 1: node, 5: initializer, 15: sparse_initializer
    TensorProto 1: dims, 2: data_type, 4: float_data, 5: int32_data, 7: int64_data, 8: name, 9: raw_data,
                10: double_data, 13: external_data, 14: data_location
    NodeProto 1: input, 2: output, 4: op_type, 5: attribute;  AttributeProto 1: name, 2: f, 3: i
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import BFLOAT16, Foreign, check_count, check_name, count_of, map_file

FORMAT = "ONNX"
GRAPH, NODE, INITIALIZER, SPARSE = 7, 1, 5, 15
MOST_FIELDS = 300_000
BLOCK = 2**18  # bytes of packed numbers that are unpacked at once
MOST_NODES, LONGEST_TEXT, MOST_DIMS = 5_000, 300, 8
DTYPES: dict[int, np.dtype] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    4: np.dtype("<u2"),
    5: np.dtype("<i2"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
    12: np.dtype("<u4"),
    13: np.dtype("<u8"),
    16: BFLOAT16,
}
LISTS = {4: ("<f4", {1}), 5: ("<i4", {2, 3, 4, 5, 6, 9, 10, 16}), 7: ("<i8", {7}), 10: ("<f8", {11})}
"""Fields of values that are not raw: how they are stored, and for which data types."""

Field = tuple[int, int, Any]  # number, wire type, value (an int, or a view of the bytes)


class _Reader:
    """The walk over one file; counts its steps."""

    def __init__(self, path: str) -> None:
        self.path, self.fields_seen = path, 0
        self.data = memoryview(map_file(path))

    def damaged(self, seen: str) -> WeightsError:
        return WeightsError(
            "an ONNX file that is damaged or cut off",
            called=self.path,
            seen=f"{seen}; {len(self.data):,} bytes",
            hint="fetch it again",
        )

    def fields(self, message: memoryview) -> Iterator[Field]:
        """The fields of a message, in order."""
        at, end = 0, len(message)
        while at < end:
            self.fields_seen += 1
            if self.fields_seen > MOST_FIELDS:
                raise WeightsError("too many fields", called=self.path, rule=f"at most {MOST_FIELDS:,}")
            tag, at = self._varint(message, at)
            field, wire = tag >> 3, tag & 7
            if wire == 0:
                value, at = self._varint(message, at)
                yield field, wire, value
                continue
            if wire == 2:
                size, at = self._varint(message, at)
            else:
                size = {1: 8, 5: 4}.get(wire, -1)
            if size < 0 or at + size > end or not field:
                raise self.damaged(f"field {field} of {size:,} bytes")
            yield field, wire, message[at : at + size]
            at += size

    def _varint(self, message: memoryview, at: int) -> tuple[int, int]:
        value = 0
        for i, byte in enumerate(message[at : at + 10]):
            value |= (byte & 127) << (7 * i)
            if byte < 128:
                return value, at + i + 1
        raise self.damaged("a number without an end")

    def numbers(self, wire: int, value: Any, most: int) -> list[int]:
        """A repeated number, packed or not."""
        if wire == 0:
            return [value]
        found: list[int] = []
        at = 0
        while at < len(value):
            if len(found) > most:
                raise self.damaged(f"more than {most} numbers")
            one, at = self._varint(value, at)
            found.append(one)
        return found

    def text(self, value: Any) -> str:
        if not isinstance(value, memoryview) or len(value) > LONGEST_TEXT:
            raise self.damaged("a name that is none")
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged("a name that is not text") from None


def read_onnx(path: str) -> Foreign:
    """Read the initialisers of an ONNX file; see `read_foreign`.

    `values["graph"]` lists the nodes that the mapping of names needs, in the order of the graph, as texts
    "Conv|inputs|outputs|attributes", each part separated by commas; `eps` has the epsilon of each BatchNormalization.
    """
    reader = _Reader(path)
    graph: memoryview | None = None
    for field, wire, value in reader.fields(reader.data):
        if field == GRAPH:
            if wire != 2 or graph is not None:
                raise reader.damaged("two graphs")
            graph = value
    if graph is None:
        raise reader.damaged("no graph")
    found = Foreign(FORMAT)
    nodes: list[str] = []
    for field, wire, value in reader.fields(graph):
        if field in (NODE, INITIALIZER, SPARSE) and wire != 2:
            raise reader.damaged("a graph that is none")
        if field == INITIALIZER:
            name, array = _tensor(reader, value)
            if name in found.arrays:
                raise WeightsError("a tensor's name twice", called=path, seen=repr(name)[:80])
            found.arrays[name] = array
            check_count(len(found.arrays), path)
        elif field == SPARSE:
            raise WeightsError("sparse initialisers", called=path, rule="dense arrays", hint="export the model densely")
        elif field == NODE:
            _node(reader, value, nodes, found.eps)
    if not found.arrays:
        raise WeightsError(
            "an ONNX file without initialisers",
            called=path,
            hint="export the model with its parameters (export_params=True)",
        )
    found.values["graph"] = nodes
    return found


def _node(reader: _Reader, message: memoryview, nodes: list[str], eps: dict[str, float]) -> None:
    inputs: list[str] = []
    outputs: list[str] = []
    numbers: dict[str, float] = {}
    kind = ""
    for field, _, value in reader.fields(message):
        if field == 1:
            inputs.append(reader.text(value))
        elif field == 2:
            outputs.append(reader.text(value))
        elif field == 4:
            kind = reader.text(value)
        elif field == 5 and isinstance(value, memoryview):
            name, number = _attribute(reader, value)
            if number is not None:
                numbers[name] = number
    if len(nodes) >= MOST_NODES or len(inputs) + len(outputs) > 1_000:
        raise WeightsError("too many nodes", called=reader.path, rule=f"at most {MOST_NODES:,}")
    if kind == "BatchNormalization" and len(inputs) == 5:
        epsilon = numbers.get("epsilon", 1e-5)
        if not 0 <= epsilon <= 1:
            raise reader.damaged(f"a batch normalisation with epsilon {epsilon}")
        eps[inputs[4]] = epsilon
    if any(mark in name for name in (kind, *inputs, *outputs, *numbers) for mark in ",|") or "=" in "".join(numbers):
        raise reader.damaged("a name with a comma, a bar or an equals sign")
    marks = ",".join(f"{name}={number:g}" for name, number in numbers.items())
    nodes.append("|".join([kind, ",".join(inputs), ",".join(outputs), marks]))


def _attribute(reader: _Reader, message: memoryview) -> tuple[str, float | None]:
    """Name and value of an attribute that is one number."""
    name, number = "", None
    for field, wire, value in reader.fields(message):
        if field == 1:
            name = reader.text(value)
        elif field == 2 and wire == 5:
            number = float(np.frombuffer(value, "<f4")[0])
        elif field == 3 and wire == 0:
            number = float(value)
    return name, number


def _tensor(reader: _Reader, message: memoryview) -> tuple[str, np.ndarray]:
    dims: list[int] = []
    name, kind, raw, external = "", 0, None, False
    parts: dict[int, list[memoryview | int]] = {}
    for field, wire, value in reader.fields(message):
        if field == 1:
            dims += reader.numbers(wire, value, MOST_DIMS)
        elif field == 2 and wire == 0:
            kind = value
        elif field == 8:
            name = reader.text(value)
        elif field == 9 and wire == 2:
            raw = value
        elif field in (4, 5, 7, 10):
            parts.setdefault(field, []).append(value)
        elif field == 13 or (field == 14 and value):
            external = True
    check_name(name, reader.path)
    where = f"{reader.path} at {name!r}"
    if external:
        raise WeightsError(
            "values in another file, which is never opened",
            called=where,
            rule="all values within the file",
            hint="save the model with save_as_external_data=False",
        )
    dtype = DTYPES.get(kind)
    if dtype is None:
        raise WeightsError("an unexpected data type", called=where, seen=str(kind), rule="numbers")
    count = count_of(dims, where)
    if raw is not None:
        if parts:
            raise WeightsError("values twice, raw and not", called=where)
        values = raw
    else:
        values = _listed(reader, parts, kind, count, where)
    if len(values) != count * dtype.itemsize:
        raise WeightsError(
            "the shape declares other sizes than the file holds",
            called=where,
            seen=f"{len(values):,} bytes",
            rule=f"{tuple(dims)} of {dtype}: {count * dtype.itemsize:,} bytes",
        )
    return name, np.frombuffer(values, dtype).reshape(dims) if count else np.empty(dims, dtype)


def _listed(reader: _Reader, parts: dict[int, list[Any]], kind: int, count: int, where: str) -> memoryview:
    """The bytes of values that stand in a field of their own type; numbers only if there are `count` of them."""
    if not parts:
        return memoryview(b"")
    if len(parts) > 1 or kind not in LISTS[field := next(iter(parts))][1]:
        raise WeightsError("values in a field for another data type", called=where, seen=f"data type {kind}")
    stored = LISTS[field][0]
    if field in (4, 10):
        if not all(isinstance(part, memoryview) and len(part) % int(stored[-1]) == 0 for part in parts[field]):
            raise reader.damaged("values cut off")
        if len(parts[field]) == 1:
            return parts[field][0]
        return memoryview(b"".join(parts[field]))
    found = sum(_count(reader, part) for part in parts[field])
    if found != count:
        raise WeightsError(
            "the shape declares other sizes than the file holds",
            called=where,
            seen=f"{found:,} values",
            rule=f"{count:,}",
        )
    values = np.empty(count, f"<u{DTYPES[kind].itemsize}")  # of float16, its bits
    at = 0
    for part in parts[field]:
        for numbers in _varints(reader, part):
            values[at : at + len(numbers)] = numbers
            at += len(numbers)
    return memoryview(values.tobytes())


def _count(reader: _Reader, part: Any) -> int:
    """How many numbers a part of a list holds."""
    if isinstance(part, int):
        return 1
    data = np.frombuffer(part, np.uint8)
    if len(data) and data[-1] >= 128:
        raise reader.damaged("a number without an end")
    return sum(int(np.count_nonzero(data[at : at + BLOCK] < 128)) for at in range(0, len(data), BLOCK))


def _varints(reader: _Reader, part: Any) -> Iterator[np.ndarray]:
    """Numbers of a packed list, a block at a time: unpacking takes many times the memory of the bytes."""
    if isinstance(part, int):
        yield np.array([part & (2**64 - 1)], np.uint64)
        return
    data = np.frombuffer(part, np.uint8)
    while len(data):
        ends = np.flatnonzero(data[:BLOCK] < 128)
        if not len(ends):
            raise reader.damaged("a number without an end")
        starts = np.concatenate([[0], ends[:-1] + 1])
        widths = ends - starts + 1
        if widths.max() > 10:
            raise reader.damaged("a number without an end")
        found = np.zeros(len(ends), np.uint64)
        for i in range(int(widths.max())):
            long_enough = widths > i
            bits = (data[starts[long_enough] + i] & 127).astype(np.uint64)
            found[long_enough] |= bits << np.uint64(7 * i)
        yield found
        data = data[ends[-1] + 1 :]
