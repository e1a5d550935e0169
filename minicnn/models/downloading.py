"""Published weights as a weights file of minicnn: downloaded, compared with their checksum, imported."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from minicnn import weights as weight_files
from minicnn.errors import WeightsError
from minicnn.models.importing import import_weights
from minicnn.weights.download import cache_folder
from minicnn.weights.download import download as fetch
from minicnn.weights.importing import ImportReport
from minicnn.weights.published import ADDRESS, published


def download_weights(
    name: str,
    out: str | os.PathLike[str] | None = None,
    *,
    address: str = ADDRESS,
    timeout: float = 30.0,
    show: bool | None = None,
) -> tuple[Path, ImportReport | None]:
    """Download weights that torchvision published and import them.

    Parameters
    ----------
    name : str
        "resnet18", ...: see `minicnn.weights.published.PUBLISHED`.
    out : path, optional
        Weights file to write; `<name>.h5` in the cache folder, which is kept for the next time.
    address, timeout, show
        As for `minicnn.weights.download.download`.

    Returns
    -------
    (path, report)
        The report is None if the weights file was in the cache already.
    """
    item = published(name)
    folder = cache_folder()
    path = Path(out) if out is not None else folder / f"{item.file.removesuffix('.pth')}.h5"
    if out is None and path.exists():
        try:
            weight_files.read(path)
            return path, None
        except WeightsError:
            path.unlink()  # damaged since; made anew
    source = fetch(name, folder=folder, address=address, timeout=timeout, show=show)
    imported = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # without what was published about it
    try:
        report = import_weights(source, imported, item.architecture)
        state, info = weight_files.read(imported)
    finally:
        imported.unlink(missing_ok=True)
    weight_files.save(path, state, replace(info, **item.info_fields()))
    return path, report
