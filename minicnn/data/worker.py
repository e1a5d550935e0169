"""What a worker process does: `python -m minicnn.data.worker CONNECTION SLOT SLOT ...` (numbers of open files).

It reads the batches that it is asked for, in that order, until the connection ends: when the loader stops it, or when
the loader's process is gone, however it ended. Messages come from `minicnn.data.processes`, through a socket that only
these two processes have.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pickle
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from minicnn.data.batch_reader import BatchReader
from minicnn.data.slots import Slot
from minicnn.errors import DataError


def main(connection: Connection, slots: list[Slot]) -> None:
    """Answer until the connection ends."""
    source: Any = None  # data set and batch transform
    reader: Any = None
    while True:
        try:
            request, *values = connection.recv()
        except (EOFError, OSError):
            return
        if request == "epoch":
            (order, batch_size, seed, epoch), *values = values
            source = reader = _source(source, *values)
            if not isinstance(source, Exception):
                dataset, batch_transform = source
                reader = BatchReader(dataset, order, batch_size, seed, epoch, batch_transform)
            continue
        batch, slot = values
        try:
            answer: Any = _read(reader, batch, slots[slot])
        except Exception as error:
            answer = _portable(error)
        try:
            connection.send(answer)
        except OSError:  # nobody wants it any more
            return


def _source(old: Any, main_module: tuple[str, str] | None, pixels: int | None, data: bytes | None) -> Any:
    """Data set and batch transform of an epoch, or the exception that every batch of it will raise.

    `data` is None where they are the same as before: a data set may keep much, and take long to open.
    """
    try:
        if pixels != 0:
            from PIL import Image

            Image.MAX_IMAGE_PIXELS = pixels
        if data is None:
            return old
        if main_module is not None:
            _import_main(*main_module)
        return pickle.loads(data)
    except Exception as error:
        failure = DataError(
            "the data set does not arrive in a worker process",
            called="DataLoader",
            seen=f"{type(error).__name__}: {' '.join(str(error).split())}",
            rule="its classes and functions stand in modules that can be imported",
            hint="workers='threads'",
        )
        failure.add_note(traceback.format_exc())
        return failure


def _read(reader: BatchReader | Exception, batch: int, slot: Slot) -> tuple[Any, ...]:
    if isinstance(reader, Exception):
        raise reader
    images, labels = reader.read(batch, slot.allocate)
    slot.allocate(images.shape, images.dtype)[...] = images  # costs nothing where they are there already
    return images.shape, images.dtype, labels


@functools.cache
def _import_main(kind: str, name: str) -> None:
    """Import the program's main module, as `__main__`, but so that `if __name__ == "__main__"` does not hold."""
    if kind == "module":
        module = importlib.import_module(name)
    else:
        spec = importlib.util.spec_from_file_location("__mp_main__", name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _portable(error: Exception) -> Exception:
    """The same error, with the traceback of its cause as a note; or one of the same text, if it cannot travel."""
    if error.__cause__ is not None:
        error.add_note("".join(traceback.format_exception(error.__cause__)))
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return DataError(str(error))


if __name__ == "__main__":
    files = [int(number) for number in sys.argv[1:]]
    main(Connection(files[0]), [Slot(os.fdopen(number, "r+b", buffering=0)) for number in files[1:]])
