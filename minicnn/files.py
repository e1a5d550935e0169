"""Writing a file so that nobody ever sees half of it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from minicnn.errors import MinicnnError

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a whole file: under a temporary name first, then renamed. A file that was there stays whole until then.

    Parameters
    ----------
    path : path
        In a folder that exists.
    content : bytes or str
        Text is written as UTF-8, with the line ends that it has.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name to write a whole file under; renamed to `path` after the block, and removed after an error.

    Parameters
    ----------
    path : path
        In a folder that exists.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove temporary files that killed processes left in a folder; for one that no other process writes into."""
    for path in Path(folder).glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """The new name must be on the disk too, not only the bytes; a system that cannot open folders does it by itself."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_write(path: str | os.PathLike[str], error: OSError) -> MinicnnError:
    """The error for a file or folder that cannot be written."""
    return MinicnnError(
        "cannot be written",
        called=os.fspath(path),
        seen=error.strerror or type(error).__name__,
        hint="choose another folder, or free space and check its permissions",
    )
