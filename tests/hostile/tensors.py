"""PyTorch's zip format with sound pickles: storages and tensors that lie about sizes, places and types."""

from __future__ import annotations

import numpy as np
from making import ROWS, STORED, TENSOR, VALUES, Family, checkpoint, t

family = Family(".pth")
refused, accepted = family.refused, family.accepted
OUT = "a tensor that reaches out of its storage"
NO_SHAPE = "a shape that cannot be"
NO_STORAGE = "a storage that cannot be"


def tensor(shape, strides=None, offset=0, storage=STORED):
    return checkpoint(t.ordered({"w": t.tensor(storage, shape, strides, offset)}))


def huge(value: int) -> bytes:
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


@refused(OUT)
def a_shape_beyond_the_storage():
    return tensor((7,))


@refused(OUT)
def an_offset_beyond_the_storage():
    return tensor((2, 3), offset=1)


@refused(OUT)
def an_offset_before_the_storage():
    return tensor((2,), offset=-1)


@refused(OUT)
def an_offset_of_128_bits():
    return checkpoint(t.ordered({"w": TENSOR.replace(t.number(0) + b"(", huge(2**120) + b"(", 1)}))


@refused(OUT)
def strides_beyond_the_storage():
    return tensor((2, 3), (4, 1))


@refused(OUT)
def strides_that_go_backwards():
    return tensor((2,), (-1,), 1)


@refused(OUT)
def strides_that_overflow_64_bits():
    return tensor((2,), (2**62,))


@refused("a tensor of more values than its storage holds")
def a_shape_that_overflows_64_bits():
    return tensor((2**33, 2**33), (0, 0))


@refused("a tensor of more values than its storage holds")
def one_value_a_billion_times():
    return tensor((10**9,), (0,))


@refused(NO_SHAPE)
def a_shape_that_overflows_although_it_holds_nothing():
    return tensor((0, 2**40, 2**40))


@refused(NO_SHAPE)
def a_length_of_2_to_the_41():
    return tensor((2**41,), (0,))


@refused(NO_SHAPE)
def negative_lengths():
    return tensor((-2, -3), (3, 1))


@refused(NO_SHAPE)
def nine_axes():
    return tensor((1,) * 9)


@refused("_rebuild_tensor_v2 with arguments that do not fit")
def a_length_that_is_a_fraction():
    return checkpoint(t.ordered({"w": TENSOR.replace(t.number(2), b"G@\0\0\0\0\0\0\0", 1)}))


@refused("shape and strides differ in length")
def fewer_strides_than_axes():
    return tensor((2, 3), (1,))


@refused("a storage has the wrong size")
def a_storage_of_another_size():
    return tensor((2, 3), storage=t.storage("0", "Float", 1_000))


@refused("a storage has the wrong size")
def a_storage_of_another_dtype():
    return tensor((2, 3), storage=t.storage("0", "Double", 6))


@refused("asks for torch.ComplexFloatStorage")
def complex_values():
    return tensor((2, 3), storage=t.storage("0", "ComplexFloat", 6))


@refused("asks for torch.QInt8Storage")
def quantised_values():
    return tensor((2, 3), storage=t.storage("0", "QInt8", 24))


@refused(NO_STORAGE)
def a_storage_of_fewer_than_no_values():
    return tensor((2, 3), storage=t.storage("0", "Float", -6))


@refused(NO_STORAGE)
def a_storage_of_an_exabyte():
    return tensor((2, 3), storage=t.storage("0", "Float", 2**58))


@refused("a storage is missing")
def a_storage_in_another_folder():
    return tensor((2, 3), storage=t.storage("../../etc/passwd", "Float", 6))


@refused("a storage of two sizes")
def a_storage_of_two_sizes():
    other = t.tensor(t.storage("0", "Float", 7), (2, 3))
    return checkpoint(t.ordered({"w": TENSOR, "v": other}))


@refused("an unknown byte order")
def a_byte_order_that_is_none():
    return t.zip_checkpoint(t.ordered({"w": TENSOR}), ROWS, byteorder=b"middle")


@refused("a tensor's name that cannot be")
def a_name_that_clears_the_terminal():
    return checkpoint(t.ordered({"w\x1b[2J": TENSOR}))


@refused("a part of a storage that reaches out of it")
def a_part_beyond_its_storage_in_the_stream_format():
    part = t.several(t.text("v"), t.number(4), t.number(4))
    root = t.ordered({"w": t.tensor(t.storage("0", "Float", 6, part), (4,))})
    return t.stream_checkpoint(root, ["0"], [(6, ROWS["0"])])


@refused("a storage of two sizes")
def another_count_in_front_of_the_values_in_the_stream_format():
    root = t.ordered({"w": t.tensor(t.storage("0", "Float", 6, b"N"), (6,))})
    return t.stream_checkpoint(root, ["0"], [(2**60, ROWS["0"])])


@refused("a storage that reaches out of the file")
def a_storage_beyond_the_tar_file():
    members = t.tar_members({"w": VALUES})
    count = np.array([6], "<i8").tobytes()
    return t.tar_checkpoint(
        {**members, "storages": members["storages"].replace(count, np.array([2**40], "<i8").tobytes(), 1)}
    )


@refused("a header that does not match its checksum")
def a_tar_header_with_another_size():
    content = bytearray(t.as_tar({"w": VALUES}))
    at = content.index(b"sys_info\0")
    content[at + 124 : at + 135] = b"77777777777"
    return bytes(content)


@refused("a tar file, but not a PyTorch checkpoint")
def a_tar_file_with_a_path_out_of_it():
    return t.tar_checkpoint({**t.tar_members({"w": VALUES}), "../../etc/passwd": b"root"})


@accepted({"w": VALUES[:1]})
def a_stride_of_62_bits_where_it_is_not_used():
    return tensor((1, 3), (2**62, 1))


@accepted({"w": np.ascontiguousarray(VALUES.T)})
def strides_of_a_transposed_tensor():
    return tensor((3, 2), (1, 3))
