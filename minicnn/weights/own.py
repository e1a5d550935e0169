"""minicnn's own weights that are too large for the wheel: which there are, and where they are found.

In a source tree they lie in the folder `weights`; otherwise in the cache, where they are fetched to from the address in
the environment variable `MINICNN_WEIGHTS_URL`: a server's folder that holds the files of `weights`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minicnn.errors import WeightsError

VARIABLE = "MINICNN_WEIGHTS_URL"


@dataclass(frozen=True)
class Own:
    """One file.

    Attributes
    ----------
    file : str
    sha256 : str
        64 hexadecimal digits.
    most_bytes : int
        Its size.
    """

    file: str
    sha256: str
    most_bytes: int


OWN = {
    "resnet18-tinyimagenet-64": Own(
        "resnet18-tinyimagenet-64.h5",
        "d1a9ccc82406b8b3bcf13f33d467eba2a3b4f28c9ed3000e0b72d036e07e0831",
        22_722_963,
    ),
}


def fetch_own(name: str) -> Path:
    """The path of a file of ours in the cache; fetched, and compared with its SHA-256, if it is not there yet.

    Raises
    ------
    WeightsError
        If it is not in the cache and cannot be fetched.
    """
    from minicnn.weights.download import cache_folder, fetch, sha256_of

    item, address = OWN[name], os.environ.get(VARIABLE, "")
    cached = cache_folder() / item.file
    if address:
        return fetch(item, address)
    if cached.is_file() and sha256_of(cached) == item.sha256:
        return cached
    raise WeightsError(
        "these weights are not on this machine",
        called=name,
        seen=f"no {item.file} in the cache, and {VARIABLE} is not set",
        hint=f"give the path of the file (the folder weights of minicnn's source tree has it), or set {VARIABLE}",
    )
