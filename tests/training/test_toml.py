"""What is written must be read back by tomllib."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.errors import ArgumentError
from minicnn.training import toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SIMPLE = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUES = st.recursive(
    SIMPLE, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(TEXT, v, max_size=3)), max_leaves=8
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_round_trip(table):
    assert tomllib.loads(toml.dumps(table)) == table


def test_own_values_come_before_inner_tables():
    text = toml.dumps({"a": {"b": {"c": 1}, "x": 2}, "y": 3})
    assert text == "y = 3\n\n[a]\nx = 2\n\n[a.b]\nc = 1\n"


def test_none_is_left_out_and_other_types_become_toml():
    table = {"none": None, "path": Path("a") / "b", "number": np.float32(0.5), "pair": (1, 2), "inner": {"none": None}}
    assert tomllib.loads(toml.dumps(table)) == {"path": "a/b", "number": 0.5, "pair": [1, 2], "inner": {}}


def test_special_numbers_and_characters():
    table = {"inf": math.inf, "minus": -math.inf, "small": 1e-5, "big": 1e22, "text": 'a"b\\c\n\t\x00\x7f\u2028é'}
    assert tomllib.loads(toml.dumps(table)) == table
    assert math.isnan(tomllib.loads(toml.dumps({"nan": math.nan}))["nan"])


def test_a_file_name_that_is_no_text_is_still_written():
    assert tomllib.loads(toml.dumps({"name": "a\udcff"})) == {"name": "a\\udcff"}


def test_a_value_without_toml():
    with pytest.raises(ArgumentError, match=r"no TOML for this value; seen \{1\} \(set\)"):
        toml.dumps({"a": {1}})
