"""safetensors: the length of a header (8 bytes), the header (JSON), the values.

    {"__metadata__": {text: text}, "<name>": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}

The offsets count from the end of the header; tensors lie one behind the other, without holes. The format says so, and
this reader, which is small enough to be our own, holds files to all of it. There is no checksum.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights.importers.foreign import BFLOAT16, Foreign, check_count, check_name, count_of, map_file, shown

FORMAT = "safetensors"
LENGTH_BYTES, LARGEST_HEADER, LONGEST_TEXT = 8, 2 * 2**20, 300
MOST_MARKS = 160_000  # commas and opening brackets; a tensor has ten to twenty
DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_safetensors(path: str) -> Foreign:
    """Read a safetensors file; see `read_foreign`."""
    data = map_file(path)
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    begin = LENGTH_BYTES + length
    if length > LARGEST_HEADER:
        raise WeightsError(
            "a header too large", called=path, seen=f"{length:,} bytes", rule=f"at most {LARGEST_HEADER:,}"
        )
    if begin > len(data):
        raise _cut_off(path, len(data), f"{begin:,} bytes, and the values")
    header = _header(bytes(data[LENGTH_BYTES:begin]), path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError("metadata that is not text", called=path, rule='"__metadata__": {text: text}')
    check_count(len(header), path)
    spans: dict[str, tuple[int, int]] = {}
    arrays: dict[str, np.ndarray] = {}
    tensors = {name: _tensor(name, item, path) for name, item in header.items()}
    at = 0
    for name, (_, _, first, last) in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if first != at:
            raise WeightsError(
                "tensors that overlap" if first < at else "a hole between tensors",
                called=f"{path} at {name!r}",
                seen=f"bytes {first:,} to {last:,}",
                rule=f"from {at:,} on",
            )
        spans[name], at = (first, last), last
    if begin + at > len(data):
        raise _cut_off(path, len(data), f"{begin + at:,} bytes")
    if begin + at < len(data):
        raise WeightsError("bytes behind the tensors", called=path, seen=f"{len(data):,} bytes", rule=f"{begin + at:,}")
    for name in sorted(tensors, key=lambda name: spans[name]):
        dtype, shape, first, _ = tensors[name]
        arrays[name] = np.ndarray(shape, dtype, data, begin + first if 0 not in shape else 0)
    if not arrays:
        raise WeightsError("a safetensors file without a tensor", called=path)
    values = {name: text for name, text in metadata.items() if _shown(name) and _shown(text)}
    return Foreign(FORMAT, arrays, values=values)


def _shown(text: str) -> bool:
    return len(text) <= LONGEST_TEXT and text.isprintable()


def _cut_off(path: str, size: int, needed: str) -> WeightsError:
    return WeightsError(
        "a safetensors file that is cut off (half a download?)",
        called=path,
        seen=f"{size:,} bytes",
        rule=needed,
        hint="fetch it again",
    )


def _header(text: bytes, path: str) -> dict[str, Any]:
    """The JSON object; a key that stands twice is an error."""
    if sum(map(text.count, (b"{", b"[", b","))) > MOST_MARKS:
        raise WeightsError("a header too large", called=path, rule=f"at most {MOST_MARKS:,} brackets and commas")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise WeightsError("a name twice in the header", called=path, seen=shown(twice))
        return made

    def whole(number: str) -> int:
        if len(number) > 20:
            raise ValueError("a number of too many digits")
        return int(number)

    try:
        header = json.loads(text.decode(), object_pairs_hook=once, parse_int=whole)
    except WeightsError:
        raise
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            "a header that is not JSON",
            called=path,
            seen=" ".join(str(error).split())[:100],
            hint="fetch the file again",
        ) from None
    if not isinstance(header, dict):
        raise WeightsError("a header that is not a JSON object", called=path)
    return header


def _tensor(name: str, item: Any, path: str) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of one tensor."""
    check_name(name, path)
    where = f"{path} at {name!r}"
    if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError("an entry that is not a tensor", called=where, rule="dtype, shape, data_offsets")
    dtype: np.dtype | None = DTYPES.get(item["dtype"]) if isinstance(item["dtype"], str) else None
    if dtype is None:
        raise WeightsError("an unknown dtype", called=where, seen=shown(item["dtype"]), rule=", ".join(DTYPES))
    shape, offsets = item["shape"], item["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise WeightsError("shape and offsets are not lists of numbers", called=where)
    size = count_of(shape, where) * dtype.itemsize
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in offsets):
        raise WeightsError("offsets that cannot be", called=where, seen=", ".join(map(shown, offsets)))
    first, last = offsets
    if last - first != size:
        raise WeightsError(
            "offsets that do not fit the shape",
            called=where,
            seen=f"{last - first:,} bytes",
            rule=f"{shape} {item['dtype']}: {size:,} bytes"[:200],
        )
    return dtype, tuple(shape), first, last
