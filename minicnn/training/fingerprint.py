"""A short name for what a data set holds, so that a training does not go on with other images unnoticed."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

import numpy as np

# What data sets keep their content in. Images in memory count with every bit, files with their place and size.
CONTENT = ("classes", "labels", "targets", "images", "indices", "source", "index", "split", "transform")
PARTS = ("dataset", "datasets")
FILES = ("samples", "path")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def fingerprint(dataset: Any) -> str:
    """SHA-256 over classes, labels, images or names and sizes of their files, transform, and choice of samples.

    Parameters
    ----------
    dataset : Dataset
        One with a method `fingerprint()` answers for itself. Of an unknown kind, its type and length are all that
        counts.

    Returns
    -------
    str
        64 hexadecimal digits; the same in every process, and where a folder was moved as a whole.
    """
    digest = hashlib.sha256()
    _add(digest, dataset)
    return digest.hexdigest()


def _add(digest: Any, dataset: Any) -> None:
    if callable(own := getattr(dataset, "fingerprint", None)):
        digest.update(str(own()).encode())
        return
    length = len(dataset) if hasattr(dataset, "__len__") else 0
    digest.update(f"{type(dataset).__name__} {length}\n".encode())
    for name in (*CONTENT, *FILES, *PARTS):
        value = getattr(dataset, name, None)
        if value is None:
            continue
        digest.update(f"{name}:".encode())
        if name in PARTS:
            for part in value if isinstance(value, (list, tuple)) else [value]:
                _add(digest, part)
        elif name in FILES:
            _add_files(digest, value, getattr(dataset, "root", None))
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        else:
            digest.update(_ADDRESS.sub("", repr(value)).encode())


def _add_files(digest: Any, files: Any, root: Any) -> None:
    """Names, from the root where there is one, and sizes; a file that is gone has none."""
    for item in [files] if isinstance(files, (str, os.PathLike)) else files:
        path, *rest = item if isinstance(item, (tuple, list)) else (item,)
        base = os.fspath(root) if root is not None else os.path.dirname(os.fspath(path))
        try:
            size = os.path.getsize(path)
        except OSError:
            size = -1
        digest.update(f"{os.path.relpath(path, base or os.curdir)!r} {size} {rest}\n".encode("utf-8", "replace"))
