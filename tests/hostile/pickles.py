"""Pickles that would run code, and pickles that are bombs; most of them in PyTorch's zip format."""

from __future__ import annotations

import pickle
import struct

from making import RUN, STORED, TENSOR, VALUES, Family, checkpoint, t, with_tensor

family = Family(".pth")
refused, accepted = family.refused, family.accepted
CALL = t.several(t.text(RUN)) + b"R"
NOT_WRITTEN = "an instruction that PyTorch does not write"


# ---- code ------------------------------------------------------------------------------------------------------------


@refused("asks for os.system, which is not a tensor: it is not run")
def os_system_by_reduce():
    return with_tensor(t.name("os", "system") + CALL)


@refused("asks for posix.system")
def posix_system_by_its_name_on_the_stack():
    return with_tensor(t.text("posix") + t.text("system") + b"\x93" + CALL)


@refused("asks for subprocess.Popen")
def popen_by_newobj():
    return with_tensor(t.name("subprocess", "Popen") + t.several(t.text(RUN)) + b"\x81")


@refused(NOT_WRITTEN)
def a_class_by_newobj_ex():
    return with_tensor(t.name("collections", "OrderedDict") + b")}\x92")


@refused(NOT_WRITTEN)
def os_system_by_inst():
    return with_tensor(b"(" + t.text(RUN) + b"ios\nsystem\n")


@refused(NOT_WRITTEN)
def a_class_by_obj():
    return with_tensor(b"(" + t.name("collections", "OrderedDict") + t.text(RUN) + b"o")


@refused("asks for os.system")
def a_state_with_setstate():
    return with_tensor(
        t.ordered({}) + b"}(" + t.text("__setstate__") + t.name("os", "system") + b"ub" + t.text(RUN) + b"b"
    )


@refused("an instruction on the wrong kind of object")
def a_state_for_a_class_of_torch():
    return with_tensor(t.name("torch", "FloatStorage") + b"}(" + t.text("__reduce__") + b"Nub")


@refused("asks for builtins.getattr")
def a_chain_of_getattr():
    inner = t.name("torch._utils", "_rebuild_tensor_v2")
    return with_tensor(t.name("builtins", "getattr") + t.several(inner, t.text("__globals__")) + b"R")


@refused("asks for __builtin__.eval")
def eval_of_python_2():
    return with_tensor(t.name("__builtin__", "eval") + t.several(t.text(f"__import__('os').system('{RUN}')")) + b"R")


@refused("asks for torch._utils._rebuild_tensor_v2.__globals__")
def an_attribute_of_an_allowed_function():
    return with_tensor(t.name("torch._utils", "_rebuild_tensor_v2.__globals__"))


@refused("asks for collections.OrderedDict.fromkeys")
def a_method_of_an_allowed_class():
    return with_tensor(t.name("collections", "OrderedDict.fromkeys"))


@refused("asks for collections.namedtuple")
def a_neighbour_of_an_allowed_class():
    return with_tensor(t.name("collections", "namedtuple") + t.several(t.text("x"), t.text(RUN)) + b"R")


@refused("asks for _codecs.encode")
def codecs_encode():
    return with_tensor(t.name("_codecs", "encode") + t.several(t.text(RUN), t.text("latin1")) + b"R")


@refused("asks for torch.storage._load_from_bytes")
def a_checkpoint_within_the_pickle():
    return with_tensor(t.name("torch.storage", "_load_from_bytes") + b"(U\x04eviltR")


@refused("asks for numpy.core.multiarray._reconstruct")
def a_numpy_array_of_objects():
    return with_tensor(t.name("numpy.core.multiarray", "_reconstruct") + b")R")


@refused(r"asks for \x1b[31mos.system")
def a_name_that_colours_the_terminal():
    return with_tensor(t.name("\x1b[31mos", "system") + CALL)


@refused(NOT_WRITTEN)
def a_code_of_the_registry_of_extensions():
    return with_tensor(b"\x82\x01")


@refused(NOT_WRITTEN)
def a_persistent_identity_as_text():
    return with_tensor(b"Pos.system\n")


@refused("asks for os.system")
def a_persistent_identity_with_a_function():
    return with_tensor(
        t.several(t.text("storage"), t.name("os", "system"), t.text("0"), t.text("cpu"), b"K\x06") + b"Q"
    )


@refused("a storage that cannot be")
def a_persistent_identity_with_a_class_that_is_no_storage():
    kind = t.name("collections", "OrderedDict")
    return with_tensor(t.several(t.text("storage"), kind, t.text("0"), t.text("cpu"), b"K\x06") + b"Q")


@refused("a whole network, which is a program: it is not run")
def a_persistent_identity_with_source_code():
    module = t.several(t.text("module"), t.name("collections", "OrderedDict"), t.text("x.py"), t.text(RUN)) + b"Q"
    return t.stream_checkpoint(module, [], [])


class _Malicious:
    def __reduce__(self):
        import os

        return os.system, (RUN,)


@refused("a pickle, but not a PyTorch checkpoint: it is not run")
def a_plain_pickle():
    return pickle.dumps(_Malicious(), protocol=4)


@refused("not a weights file of a known format")
def a_plain_pickle_of_protocol_0():
    return pickle.dumps(_Malicious(), protocol=0)


@refused("asks for os.system")
def os_system_in_the_stream_format():
    return t.stream_checkpoint(t.name("os", "system") + CALL, [], [])


@refused("asks for os.system")
def os_system_in_the_list_of_keys():
    good = t.stream_checkpoint(t.ordered({}), [], [])
    return good[: good.rindex(b"\x80\x02")] + t.pickled(t.name("os", "system") + CALL)


@refused("asks for os.system")
def os_system_in_the_tar_format():
    return t.tar_checkpoint({**t.tar_members({"w": VALUES}), "sys_info": t.pickled(t.name("os", "system") + CALL)})


@refused("a call of str")
def a_call_of_a_text():
    return with_tensor(t.text("x") + b")R")


@refused("_rebuild_tensor_v2 with arguments that do not fit")
def arguments_of_other_kinds():
    return with_tensor(t.name("torch._utils", "_rebuild_tensor_v2") + t.several(STORED, b"N", b"N", b"N") + b"R")


@accepted({"0.w": VALUES})
def an_allowed_name_split_elsewhere():
    split = TENSOR.replace(b"ctorch._utils\n_rebuild_tensor_v2", b"ctorch\n_utils._rebuild_tensor_v2")
    return checkpoint(b"](" + t.ordered({"w": split}) + b"e")


@accepted()
def a_dictionary_whose_attributes_are_set():
    state = b"}(" + t.text("__class__") + t.text(RUN) + t.text("_metadata") + b"}ub"
    return checkpoint(t.ordered({"w": TENSOR}) + state)


@accepted()
def a_frame_of_16_exabytes():
    return checkpoint(b"\x95" + b"\xff" * 8 + t.ordered({"w": TENSOR}))


# ---- bombs -----------------------------------------------------------------------------------------------------------

TOO_MANY = "containers that are too many, too deep, or in themselves"


@refused(TOO_MANY)
def billion_laughs():
    lines = [b"]q\x00" + t.text("ha") + b"a"]
    lines += [b"](" + b"h%c" % (i - 1) * 10 + b"eq%c" % i for i in range(1, 12)]
    return checkpoint(b"](" + b"".join(lines) + b"e")


@refused(TOO_MANY)
def a_list_of_itself_two_hundred_thousand_times():
    return checkpoint(b"]q\x00(" + b"h\x00" * 200_000 + b"e")


@refused(TOO_MANY)
def names_of_classes_thirty_thousand_times():
    names = b"](" + t.text("ant") + b"q\x01" + b"h\x01" * 60_000 + b"eq\x00"
    keys = b"".join(b"J" + struct.pack("<i", i) + b"h\x00" for i in range(30_000))
    return checkpoint(b"](" + names + b"}(" + keys + b"ue")


@refused(TOO_MANY)
def two_hundred_thousand_tuples_in_each_other():
    return checkpoint(b")" + b"\x85" * 200_000)


@refused("a damaged pickle")
def three_hundred_thousand_marks():
    return checkpoint(b"(" * 300_000)


@refused("a pickle too long for a checkpoint")
def three_hundred_thousand_lists():
    return checkpoint(b"]" * 300_000)


@refused("a pickle too long for a checkpoint")
def a_list_copied_two_thousand_times():
    row = b"](" + b"K\x01" * 50_000 + b"eq\x00"
    return checkpoint(row + (t.name("torch", "Size") + b"h\x00\x85R") * 2_000)


@refused("a pickle too long for a checkpoint")
def a_stream_that_begins_with_a_long_pickle():
    return t.pickled(b"\x8a\x0a" + t.MAGIC) + t.pickled(b"N" * 240_000)


@refused("a pickle too long for a checkpoint")
def five_megabytes_of_text():
    return checkpoint(b"](" + (t.text("x" * 999_999) + b"q\x00") * 5 + b"e")


@refused("a pickle that ends at byte")
def a_text_of_8_exabytes():
    return checkpoint(b"\x8d" + struct.pack("<Q", 2**63))


@refused("a pickle that ends at byte")
def bytes_of_4_gigabytes():
    return checkpoint(b"B\xff\xff\xff\xff")


@refused(NOT_WRITTEN)
def a_number_of_2_gigabytes():
    return checkpoint(b"\x8b" + struct.pack("<i", 2**31 - 1))


@refused("a number of 255 bytes")
def a_number_of_600_digits():
    return checkpoint(b"\x8a\xff" + b"\x7f" * 255)


@refused("a key that is a tuple")
def keys_that_are_nested_tuples():
    return checkpoint(b"})" + b"\x85" * 30 + b"Ns")


@refused("the key 'w' twice")
def a_key_twice():
    return checkpoint(b"}(" + (t.text("w") + TENSOR) * 2 + b"u")


@refused("object 7 before it was made")
def an_object_before_it_was_made():
    return checkpoint(b"h\x07")


@refused("an instruction that needs more than there is")
def an_end_without_an_object():
    return checkpoint(b"")


@refused("a PyTorch checkpoint without a tensor")
def no_tensor():
    return checkpoint(b"}")


@refused("too many tensors")
def nine_thousand_tensors():
    return checkpoint(b"]q\x00(" + TENSOR + b"q\x01" + b"h\x01" * 9_000 + b"e")


@refused("a tensor's name that cannot be")
def a_name_of_100_kilobytes():
    return checkpoint(b"}(" + t.text("x" * 100_000) + b"](" + TENSOR * 20 + b"eu")


@refused("two tensors of one name")
def two_tensors_of_one_name():
    return checkpoint(t.ordered({"a.b": TENSOR, "a": t.ordered({"b": TENSOR})}))
