"""A state on disk: arrays, and values as JSON; in the safe container that weights have too."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import WeightsError
from minicnn.weights import archive

KIND = "minicnn-checkpoint"


class State(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    arrays : dict of dotted name to array
        Floats as they are, integers as int64.
    values : dict of name to anything that JSON has
        At most 60,000 bytes of text each.
    """

    arrays: dict[str, np.ndarray]
    values: dict[str, Any]

    def part(self, name: str) -> dict[str, np.ndarray]:
        """The arrays below a name, without it: `part("model")`."""
        return {key[len(name) + 1 :]: array for key, array in self.arrays.items() if key.startswith(f"{name}.")}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file atomically; the same state gives the same bytes."""
        texts = {name: json.dumps(value, allow_nan=False) for name, value in self.values.items()}
        archive.write(path, self.arrays, texts, KIND)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> State:
        """Read a file back; a WeightsError for one that is not as it was written."""
        arrays, texts = archive.read(path, KIND)
        try:
            return cls(arrays, {name: json.loads(text) for name, text in texts.items()})
        except (ValueError, RecursionError):
            raise WeightsError("an attribute is not JSON", called=os.fspath(path)) from None
