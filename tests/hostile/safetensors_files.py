"""safetensors: headers that are too large, no JSON, or made to take long; tensors that overlap or are not there."""

from __future__ import annotations

import json
import struct

from making import VALUES, Family

family = Family(".safetensors")
refused = family.refused
CUT = "a safetensors file that is cut off (half a download?)"
NOT_JSON = "a header that is not JSON"
NO_SHAPE = "a shape that cannot be"
TOO_LARGE = "a header too large"


def made(text: str | bytes, values: bytes = VALUES.tobytes(), length: int | None = None) -> bytes:
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + values


def tensor(shape=(2, 3), offsets=(0, 24), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def one(**changes) -> bytes:
    return made(json.dumps({"w": {**tensor(), **changes}}))


# ---- the header ------------------------------------------------------------------------------------------------------


@refused(TOO_LARGE)
def a_header_of_90_megabytes():
    return made("{", length=90_000_000)


@refused("not a weights file of a known format")
def a_header_of_16_exabytes():
    return made("{" + " " * 99, length=2**64 - 1)


@refused(CUT)
def a_header_beyond_the_file():
    return made("{", length=5_000)


@refused(NOT_JSON)
def a_header_that_is_cut():
    return made('{"w": ')


@refused(NOT_JSON)
def a_header_that_is_not_utf8():
    return made(b'{"\xff\xfe": 1}')


@refused(NOT_JSON)
def five_thousand_brackets():
    return made('{"w":' + "[" * 5_000 + "]" * 5_000 + "}")


@refused(TOO_LARGE)
def two_million_brackets():
    return made('{"w":' + "[" * 2_000_000)


@refused(TOO_LARGE)
def half_a_million_names():
    return made('{"__metadata__":{' + ",".join(f'"{i:x}":""' for i in range(500_000)) + "}}")


@refused(TOO_LARGE)
def two_million_numbers():
    return made('{"w":[' + "0.5," * 1_900_000 + "1]}")


@refused("a name twice in the header")
def a_name_twice():
    return made(f'{{"w": {json.dumps(tensor())}, "w": {json.dumps(tensor())}}}')


@refused("a name twice in the header")
def a_name_twice_behind_a_hundred_thousand():
    return made('{"__metadata__":{' + ",".join(f'"{i:x}":""' for i in range(100_000)) + ',"0":"","0":""}}')


@refused("metadata that is not text")
def metadata_that_is_no_text():
    return made(json.dumps({"__metadata__": {"a": {"b": 1}}, "w": tensor()}))


@refused("too many tensors")
def nine_thousand_tensors():
    entry = json.dumps(tensor((0,), (0, 0)), separators=(",", ":"))
    return made("{" + ",".join(f'"{i}":{entry}' for i in range(9_000)) + "}", b"")


@refused("a safetensors file without a tensor")
def no_tensor():
    return made("{}", b"")


# ---- tensors ---------------------------------------------------------------------------------------------------------


@refused("an entry that is not a tensor")
def a_tensor_with_a_file_name():
    return one(location="../../etc/passwd")


@refused("an entry that is not a tensor")
def a_tensor_that_is_a_list():
    return made('{"w": [1, 2, 3]}')


@refused("an unknown dtype")
def an_unknown_dtype():
    return one(dtype="F8_E4M3")


@refused("an unknown dtype")
def a_dtype_of_nested_lists():
    return one(dtype=json.loads("[" * 900 + "]" * 900))


@refused(NO_SHAPE)
def a_negative_shape():
    return one(shape=[-2, -3])


@refused(NO_SHAPE)
def a_shape_of_fractions():
    return one(shape=[2.0, 3.0])


@refused(NO_SHAPE)
def a_shape_of_true():
    return one(shape=[True, 6])


@refused(NO_SHAPE)
def a_shape_of_nan():
    return made(f'{{"w": {json.dumps(tensor()).replace("[2, 3]", "[NaN, Infinity]")}}}')


@refused(NO_SHAPE)
def nine_axes():
    return one(shape=[1] * 9)


@refused(NO_SHAPE)
def a_shape_that_overflows_although_it_holds_nothing():
    return made(json.dumps({"w": tensor((0, 2**40, 2**40), (0, 0))}), b"")


@refused("offsets that do not fit the shape")
def a_shape_that_overflows_64_bits():
    return one(shape=[2**31, 2**31, 4])


@refused(NOT_JSON)
def a_length_of_five_thousand_digits():
    return made(f'{{"w": {json.dumps(tensor()).replace("[2, 3]", "[" + "9" * 5_000 + "]")}}}')


@refused(CUT)
def a_terabyte():
    return one(shape=[2**38], data_offsets=[0, 2**40])


@refused("offsets that cannot be")
def negative_offsets():
    return one(data_offsets=[-24, 0])


@refused("offsets that do not fit the shape")
def offsets_that_go_backwards():
    return one(data_offsets=[24, 0])


@refused("shape and offsets are not lists of numbers")
def three_offsets():
    return one(data_offsets=[0, 24, 48])


@refused("tensors that overlap")
def tensors_that_overlap():
    return made(json.dumps({"w": tensor(), "v": tensor(offsets=(12, 36))}), bytes(36))


@refused("tensors that overlap")
def two_tensors_in_one_place():
    return made(json.dumps({"w": tensor(), "v": tensor()}))


@refused("a hole between tensors")
def a_hole():
    return made(json.dumps({"w": tensor(), "v": tensor(offsets=(32, 56))}), bytes(56))


@refused("bytes behind the tensors")
def bytes_behind():
    return made(json.dumps({"w": tensor()}), VALUES.tobytes() + b"#!/bin/sh")


@refused("a tensor's name that cannot be")
def an_empty_name():
    return made(json.dumps({"": tensor()}))


@refused("a tensor's name that cannot be")
def a_name_that_clears_the_terminal():
    return made(json.dumps({"\x1b[2J": tensor()}))


@refused("a tensor's name that cannot be")
def a_name_of_half_a_letter():
    return made('{"\\ud800": ' + json.dumps(tensor()) + "}")
