"""Worker processes of a `DataLoader`.

Each is a fresh interpreter (`minicnn/data/worker.py`), not a fork: a forked copy of a process whose OpenMP or BLAS
threads have run may hang in the first lock that one of them held. It starts in a quarter of a second, so that processes
stay for the next epoch, and it does not run the main script again, unless the data set's own class stands there.

The loader tells each worker the numbers of batches, one for each slot; the worker writes the images into the slot
(memory that both see) and answers with their shape and the labels. Batches go around the workers in turn, and are taken
from them in turn.

A worker that dies is seen at the end of its connection. So is the loader's end by the workers: when the process of the
loader is killed, they go away.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from minicnn.data.batch_reader import Arrays, BatchReader
from minicnn.data.slots import Slot, anonymous_file
from minicnn.errors import DataError, MinicnnError

GRACE = 0.2  # seconds that workers have to end by themselves, all of them together; then they are killed
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # the cores are for training
MAIN = b"\x8c\x08__main__"  # how a pickle names the main module


Message = tuple[Any, ...]


class Processes:
    """Some worker processes, running until `stop()`, or until this object or the program ends.

    Parameters
    ----------
    count : int
        How many.
    ahead : int
        Batches that each may be ahead.
    """

    def __init__(self, count: int, ahead: int) -> None:
        self._workers: list[_Worker] = []
        self._digest = b""  # of the data set that the workers have
        self.stop = weakref.finalize(self, _stop, self._workers, os.getpid())
        for _ in range(count):
            self._workers.append(_Worker(ahead))

    def read(self, reader: BatchReader, message: Message, batches: range) -> Iterator[Arrays]:
        """The batches in their order; images are copies of the caller's own.

        Parameters
        ----------
        reader : BatchReader
        message : tuple
            The same reader as `epoch_message` packs it.
        batches : range
            Numbers of batches.
        """
        *beginning, data = message
        digest = hashlib.blake2b(data).digest()
        for worker in self._workers:
            worker.send((*beginning, None if digest == self._digest else data), "the start of an epoch")
        self._digest = digest
        turns = self._turns(batches)
        waiting: deque[Turn] = deque()

        def ask(count: int) -> None:
            for turn in islice(turns, count):
                with contextlib.suppress(OSError):  # it has ended: that is said when the batches before have been read
                    turn.worker.connection.send(("batch", turn.batch, turn.slot))
                waiting.append(turn)

        ask(sum(len(worker.slots) for worker in self._workers))
        while waiting:
            arrays = waiting[0].worker.receive(waiting[0].slot, _named(reader, waiting[0].batch))
            waiting.popleft()
            ask(1)  # in the slot that is free now
            yield arrays

    def _turns(self, batches: range) -> Iterator[Turn]:
        """Worker after worker; each takes its slots in turn."""
        for place, batch in enumerate(batches):
            round_, number = divmod(place, len(self._workers))
            worker = self._workers[number]
            yield Turn(worker, batch, round_ % len(worker.slots))


class _Worker:
    """One process, its connection, and its slots."""

    def __init__(self, ahead: int) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.slots = [Slot(anonymous_file()) for _ in range(ahead)]
        files = [theirs.fileno(), *(slot.file.fileno() for slot in self.slots)]
        # -P: no other folder in front of the path; -u: what the data set prints is seen at once
        path = os.pathsep.join(str(folder) for folder in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-u", "-m", "minicnn.data.worker", *map(str, files)],
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONPATH": path},
            process_group=0,  # Ctrl-C in the terminal is for the loader's process, which then stops the workers
        )
        theirs.close()

    def send(self, message: Message, doing: str) -> None:
        try:
            self.connection.send(message)
        except OSError:
            raise self._ended(doing) from None

    def receive(self, slot: int, doing: str) -> Arrays:
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise self._ended(doing) from None
        if isinstance(answer, Exception):
            raise answer
        shape, dtype, labels = answer
        return np.array(self.slots[slot].array(shape, dtype)), labels

    def _ended(self, doing: str) -> DataError:
        try:
            status = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:  # alive, without its connection
            self.process.kill()
            status = self.process.wait()
        return DataError(
            "a worker process was killed" if status < 0 else "a worker process ended",
            called="DataLoader",
            seen=f"{_signal_name(-status) if status < 0 else f'exit status {status}'}, at {doing}",
            hint="where memory ran out: fewer workers, smaller batches, or workers='threads'"
            if status == -signal.SIGKILL
            else "its messages stand above; workers='threads' needs no processes",
        )


class Turn(NamedTuple):
    """Which worker reads which batch into which of its slots."""

    worker: _Worker
    batch: int
    slot: int


def _stop(workers: list[_Worker], owner: int) -> None:
    """End the processes; but not as a forked copy of the process that they belong to."""
    if os.getpid() != owner:
        return
    for worker in workers:
        worker.connection.close()
    until = time.monotonic() + GRACE
    for worker in workers:
        try:
            worker.process.wait(timeout=max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        for slot in worker.slots:
            slot.close()


def epoch_message(reader: BatchReader) -> Message:
    """What workers need for an epoch; the data set comes last, pickled: it may have been changed since the last one."""
    try:
        data = pickle.dumps((reader.dataset, reader.batch_transform), protocol=5)
    except MinicnnError:
        raise
    except Exception as error:  # pickle raises errors of many kinds
        raise DataError(
            "the data set cannot be sent to worker processes",
            called="DataLoader",
            seen=f"{type(error).__name__}: {' '.join(str(error).split())}",
            rule="the data set and its transform can be pickled",
            hint="named functions and classes of a module, no lambdas and no open files; or workers='threads'",
        ) from None
    # Pillow's limit for images, which the user may have raised; 0 where Pillow is not in use
    pixels = getattr(sys.modules.get("PIL.Image"), "MAX_IMAGE_PIXELS", 0)
    settings = reader.order, reader.batch_size, reader.seed, reader.epoch
    return "epoch", settings, _main_module() if MAIN in data else None, pixels, data


def _main_module() -> tuple[str, str]:
    """("module", name) or ("file", path) of the program, if it may be imported a second time."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path) or not _is_guarded(path):
        raise DataError(
            "the data set or its transform is defined in the script itself",
            called="DataLoader",
            seen=str(path or "an interactive session"),
            rule="worker processes import it; a script would then run a second time",
            hint="put the work of the script under `if __name__ == '__main__':`, or the definition into a module "
            "of its own; or workers='threads'",
        )
    if main.__spec__ is not None:
        return "module", main.__spec__.name
    return "file", os.path.abspath(path)


def _is_guarded(path: str) -> bool:
    """Whether a script has an `if __name__ == ...` at its top level."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read())
    tests = (ast.walk(node.test) for node in tree.body if isinstance(node, ast.If))
    return any(isinstance(part, ast.Name) and part.id == "__name__" for test in tests for part in test)


def _named(reader: BatchReader, batch: int) -> str:
    samples = reader.samples(batch)
    return f"batch {batch} (samples {', '.join(map(str, samples[:5]))}{', ...' if len(samples) > 5 else ''})"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"
