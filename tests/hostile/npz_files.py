"""NumPy archives: pickles within, and headers that lie or would be evaluated."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
from making import GOOD_NPY, RUN, VALUES, Entry, Family, header, npy, zipped

family = Family(".npz")
refused, accepted = family.refused, family.accepted
NOT_NUMPYS = "a header that is not NumPy's"
NO_NUMBERS = "an array that holds no numbers"
OTHER_SIZE = "the shape declares another number of values than the file holds"
CODE = f"__import__('os').system('{RUN}')"


def one(text: str, values: bytes = VALUES.tobytes(), **lies) -> bytes:
    return zipped(Entry("w.npy", npy(text, values, **lies)))


@refused("an array of objects, which is a pickle: it is not run")
def an_array_of_objects():
    return one(header("'|O'", "(1,)"), pickle.dumps([RUN]))


@refused(NOT_NUMPYS)
def code_in_place_of_the_header():
    return one(CODE)


@refused(NOT_NUMPYS)
def code_in_place_of_the_shape():
    return one(header(shape=CODE))


@refused(NOT_NUMPYS)
def nine_thousand_brackets():
    return one("(" * 9_000)


@refused(NOT_NUMPYS)
def nine_thousand_signs():
    return one("-" * 9_000 + "1")


@refused(NOT_NUMPYS)
def five_thousand_digits():
    return one(header(shape="(" + "9" * 5_000 + ",)"))


@refused(NOT_NUMPYS)
def a_key_that_cannot_be():
    return one("{[]: 1}")


@refused(NOT_NUMPYS)
def another_key_as_well():
    return one(header()[:-1] + "'more': 1}")


@refused("a header too large")
def a_header_longer_than_the_entry():
    return one(header(), length=65_535)


@refused("a header too large")
def a_header_of_4_gigabytes():
    return one(header(), version=2, length=2**32 - 1)


@refused("not a .npy file")
def another_version():
    return one(header(), version=9)


@refused("not a .npy file")
def no_numpy_file():
    return zipped(Entry("w.npy", b"x" * 99))


@refused(NO_NUMBERS)
def fields():
    return one(header("[('w', '<f4')]"))


@refused(NO_NUMBERS)
def texts():
    return one(header("'<U6'", "(1,)"))


@refused(NO_NUMBERS)
def times():
    return one(header("'<M8[ns]'", "(3,)"))


@refused(NO_NUMBERS)
def two_signs_of_byte_order():
    return one(header("'<<f4'"))


@refused(NO_NUMBERS)
def complex_numbers():
    return one(header("'<c8'", "(3,)"))


@refused("a shape that cannot be")
def a_negative_shape():
    return one(header(shape="(-2, -3)"))


@refused("a shape that cannot be")
def a_shape_of_true():
    return one(header(shape="(True, 6)"))


@refused("a shape that cannot be")
def a_shape_of_2_to_the_63():
    return one(header(shape=f"({2**63},)"))


@refused("a shape that cannot be")
def a_shape_that_overflows_although_it_holds_nothing():
    return one(header(shape=f"(0, {2**40}, {2**40})"), b"")


@refused(OTHER_SIZE)
def a_shape_that_overflows():
    return one(header(shape=f"({2**33}, {2**33})"))


@refused(OTHER_SIZE)
def a_terabyte():
    return one(header(shape=f"({2**38},)"))


@refused(OTHER_SIZE)
def bytes_behind_the_values():
    return one(header(), VALUES.tobytes() + b"more")


@refused("an entry whose name cannot be")
def a_path_out_of_the_folder():
    return zipped(GOOD_NPY, replace(GOOD_NPY, name="../../etc/passwd.npy"))


@refused("two arrays of one name")
def a_name_flat_and_nested():
    return zipped(replace(GOOD_NPY, name="a.b.npy"), replace(GOOD_NPY, name="a/b.npy"))


@refused("a single array (.npy), without a name")
def a_single_array():
    return npy(header(), VALUES.tobytes())


@refused("an array that holds no numbers")
def a_type_of_five_thousand_letters():
    return one(header("'" + "f" * 5_000 + "'"))


@accepted({"w": np.asfortranarray(VALUES)})
def columns_first():
    return one(header(fortran="True"), VALUES.T.tobytes())


@accepted()
def a_header_of_version_3():
    return one(header(), version=3)


@accepted({"w": VALUES.astype(">f4")})
def the_other_byte_order():
    return one(header("'>f4'"), VALUES.astype(">f4").tobytes())
