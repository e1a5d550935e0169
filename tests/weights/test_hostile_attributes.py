"""Attributes at the root: missing, of another format, too many, too large, or with values that cannot be."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from minicnn import weights


def test_another_format(edit, refused):
    with edit() as file:
        file.attrs["format"] = np.bytes_("somebody-elses")
    refused("an HDF5 file, but not minicnn weights; seen format 'somebody-elses'; rule: 'minicnn-weights'")


def test_a_later_version(edit, refused):
    with edit() as file:
        file.attrs["version"] = np.bytes_("2")
    refused("another version of the format; seen 2; rule: 1; hint: update minicnn")


@pytest.mark.parametrize("name", ["architecture", "classes", "input_size", "mean", "std", "licence", "log"])
@pytest.mark.parametrize("read", [weights.read, weights.describe])
def test_missing_attributes(edit, refused, name, read):
    with edit() as file:
        del file.attrs[name]
    refused(f"the attribute '{name}' is missing; rule: a minicnn weights file", read=read)


@pytest.mark.parametrize("name", ["format", "version"])
def test_missing_format_or_version(edit, refused, name):
    with edit() as file:
        del file.attrs[name]
    refused("not minicnn weights" if name == "format" else "another version of the format; seen None")


ATTRIBUTES = {
    "text of any length": "notes",
    "an array": np.zeros(4),
    "texts": np.array([b"a", b"b"]),
    "a number": 3,
    "nothing": h5py.Empty("S3"),
    "compound": np.zeros((), [("a", "<f4")]),
    "8 MB of numbers": np.zeros(2**20),
    "1 MB of text": np.bytes_(b"x" * 2**20),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_that_are_not_short_texts(edit, refused, case):
    with edit() as file:
        file.attrs["notes"] = ATTRIBUTES[case]
    refused("the attribute 'notes' is not a short text; rule: text of at most 65536 bytes", read=weights.describe)


def test_an_attribute_bomb(edit, refused):
    with edit() as file:
        for i in range(3000):
            file.attrs[f"a{i}"] = np.bytes_(b"x" * 100)
    refused("too many attributes; seen 3,0..; rule: at most 100")


def test_an_additional_attribute_changes_the_checksum(edit, refused):
    with edit() as file:
        file.attrs["extra"] = np.bytes_(b"x")
    refused("the contents do not match their SHA-256 checksum")


def test_attributes_below_the_root_are_never_read(path, edit, state):
    with edit() as file:
        for i in range(500):
            file["fc"].attrs[f"a{i}"] = "text of any length"
            file["fc/bias"].attrs[f"a{i}"] = np.zeros(100)
    assert set(weights.read(path)[0]) == set(state)


DEEP = "[" * 20_000
VALUES = {
    "not JSON": ("arguments", "{", "is not JSON; seen {"),
    "deep": ("log", DEEP, "is not JSON"),
    "long number": ("arguments", f'{{"width": {"9" * 10_000}}}', "is not JSON"),
    "large number": ("arguments", '{"width": 1000000000}', "has a value that cannot be"),
    "large float": ("accuracy", "1e999", "has a value that cannot be; seen inf"),
    "large integer": ("mean", f"[{'9' * 400}]", "has a value that cannot be"),
    "NaN": ("std", "[NaN, NaN, NaN]", "has a value that cannot be"),
    "nested argument": ("arguments", '{"width": [1, 2]}', "has a value that cannot be"),
    "arguments no dict": ("arguments", "[]", "has a value that cannot be"),
    "classes no list": ("classes", '{"a": 1}', "has a value that cannot be"),
    "truth": ("input_size", "true", "has a value that cannot be"),
    "no mean": ("mean", "[]", "has a value that cannot be"),
    "many means": ("mean", json.dumps([0.5] * 17), "has a value that cannot be"),
    "log no dicts": ("log", "[1]", "has a value that cannot be"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_of_attributes(edit, refused, case):
    name, value, text = VALUES[case]
    with edit() as file:
        file.attrs[name] = np.bytes_(value.encode())
    refused(f"the attribute '{name}' {text}", read=weights.describe)


def test_an_attribute_that_is_not_utf8(edit, refused):
    with edit() as file:
        file.attrs["notes"] = np.bytes_(b"\xff\xfe")
    refused("the file is damaged; seen UnicodeDecodeError")
