"""ONNX: values in other files, numbers that overflow, graphs in graphs, and what takes long."""

from __future__ import annotations

import struct

import numpy as np
from making import ELSEWHERE, VALUES, Family

family = Family(".onnx")
refused, accepted = family.refused, family.accepted
DAMAGED = "an ONNX file that is damaged or cut off"
OTHER_SIZE = "the shape declares other sizes than the file holds"
NO_SHAPE = "a shape that cannot be"
FLOAT, INT32, STRING, COMPLEX = 1, 6, 8, 14


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def sized(field: int, content: bytes | str) -> bytes:
    content = content if isinstance(content, bytes) else content.encode()
    return varint(field << 3 | 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def tensor(dims=(2, 3), kind: int = FLOAT, raw: bytes | None = VALUES.tobytes(), more: bytes = b"", name="w") -> bytes:
    values = b"" if raw is None else sized(9, raw)
    return b"".join(number(1, n) for n in dims) + number(2, kind) + sized(8, name) + values + more


def model(*initialisers: bytes, nodes: bytes = b"", more: bytes = b"") -> bytes:
    graph = nodes + b"".join(sized(5, content) for content in initialisers)
    return number(1, 8) + sized(7, graph) + more


def node(kind: str, inputs=("x", "w"), outputs=("y",), attributes: bytes = b"") -> bytes:
    names = b"".join(sized(1, name) for name in inputs) + b"".join(sized(2, name) for name in outputs)
    return sized(1, names + sized(4, kind) + attributes)


# ---- files beside it -------------------------------------------------------------------------------------------------

EXTERNAL = "values in another file, which is never opened"


@refused(EXTERNAL)
def values_in_a_file_beside_it():
    place = sized(13, sized(1, "location") + sized(2, f"{ELSEWHERE}/weights.bin"))
    return model(tensor(raw=None, more=place + number(14, 1)))


@refused(EXTERNAL)
def values_in_a_file_of_the_system():
    return model(tensor(raw=None, more=sized(13, sized(1, "location") + sized(2, "../../../../../../etc/passwd"))))


@refused(EXTERNAL)
def values_that_are_said_to_be_elsewhere():
    return model(tensor(more=number(14, 1)))


# ---- sizes -----------------------------------------------------------------------------------------------------------


@refused(DAMAGED)
def a_number_of_eleven_bytes():
    return model(b"\x08" + b"\xff" * 10 + b"\1" + tensor())


@refused(DAMAGED)
def a_message_beyond_the_end():
    return model(tensor())[:-9]


@refused(DAMAGED)
def a_message_of_8_exabytes():
    return number(1, 8) + b"\x3a" + varint(2**63) + tensor()


@refused(DAMAGED)
def a_group_which_nobody_writes():
    return model(b"\x0b" + tensor())


@refused(OTHER_SIZE)
def a_shape_that_overflows_64_bits():
    return model(tensor((2**32, 2**32)))


@refused(OTHER_SIZE)
def a_terabyte():
    return model(tensor((2**38,)))


@refused(NO_SHAPE)
def negative_lengths():
    return model(tensor((2**64 - 2, 2**64 - 3)))


@refused(NO_SHAPE)
def nine_axes():
    return model(tensor((1,) * 9))


@refused(NO_SHAPE)
def a_shape_that_overflows_although_it_holds_nothing():
    return model(tensor((0, 2**40, 2**40), raw=b""))


@refused(OTHER_SIZE)
def half_the_values():
    return model(tensor(raw=VALUES.tobytes()[:12]))


@refused(OTHER_SIZE)
def five_million_packed_numbers():
    return model(tensor((3,), INT32, None, sized(5, bytes(5_000_000))))


@refused("too many fields")
def half_a_million_fields():
    return model(tensor(), more=b"\x08\x01" * 500_000)


@refused("too many nodes")
def six_thousand_nodes():
    return model(tensor(), nodes=node("Relu") * 6_000)


@refused("too many nodes")
def two_thousand_inputs():
    return model(tensor(), nodes=node("Concat", ("x",) * 2_000))


@refused("", by=("import_weights",))
def five_thousand_convolutions_of_one_image():
    return model(tensor((1, 1, 1, 1), raw=bytes(4)), nodes=node("Conv") * 5_000)


# ---- types and names -------------------------------------------------------------------------------------------------


@refused("an unexpected data type")
def texts():
    return model(tensor((1,), STRING, None, sized(6, "x")))


@refused("an unexpected data type")
def complex_numbers():
    return model(tensor((3,), COMPLEX))


@refused("an unexpected data type")
def a_type_of_64_bits():
    return model(tensor(kind=2**63))


@refused("sparse initialisers")
def sparse_values():
    return number(1, 8) + sized(7, sized(15, sized(1, tensor())))


@refused("values twice, raw and not")
def values_twice():
    return model(tensor(more=sized(4, VALUES.tobytes())))


@refused("values in a field for another data type")
def values_of_another_type():
    return model(tensor(raw=None, more=sized(10, bytes(48))))


@refused("a tensor's name twice")
def a_name_twice():
    return model(tensor(), tensor())


@refused("a tensor's name that cannot be")
def no_name():
    return model(tensor(name=""))


@refused("a tensor's name that cannot be")
def a_name_that_clears_the_terminal():
    return model(tensor(name="\x1b[2J"))


@refused("a name that is not text")
def a_name_that_is_no_text():
    return model(tensor().replace(sized(8, "w"), sized(8, b"\xff")))


@refused("a name with a comma, a bar or an equals sign")
def a_name_that_looks_like_several():
    return model(tensor(), nodes=node("Conv|w", ("x,y", "w")))


@refused("a name with a comma, a bar or an equals sign")
def an_attribute_that_looks_like_two():
    return model(tensor(), nodes=node("Conv", attributes=sized(5, sized(1, "a=b=c") + number(3, 1))))


@refused("a batch normalisation with epsilon nan")
def an_epsilon_that_is_no_number():
    epsilon = sized(5, sized(1, "epsilon") + b"\x15" + struct.pack("<f", np.nan))
    return model(tensor(), nodes=node("BatchNormalization", ("x", "w", "b", "m", "v"), attributes=epsilon))


@refused("two graphs")
def two_graphs():
    return model(tensor()) + sized(7, sized(5, tensor(name="v")))


@refused("no graph")
def no_graph():
    return number(1, 8) + sized(2, "pytorch")


@refused("an ONNX file without initialisers")
def no_values():
    return model(nodes=node("Relu"))


@accepted()
def a_thousand_graphs_in_each_other():
    graph = b""
    for _ in range(1_000):
        graph = sized(1, sized(5, sized(1, "body") + sized(6, graph)))
    return model(tensor(), nodes=graph)


@accepted({"w": np.array([-1, 2, 3], np.int32)})
def negative_packed_numbers():
    return model(tensor((3,), INT32, None, sized(5, varint(2**64 - 1) + varint(2) + varint(3))))
