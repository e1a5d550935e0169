"""Finding the files that cannot be read, before the training and not in the middle of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from minicnn.data.images import check_image
from minicnn.errors import DataError

READERS = min(8, os.cpu_count() or 1)  # threads: Pillow decodes without holding Python's lock
AFTER = 2.0  # seconds until a bar appears

Result = TypeVar("Result")


def without_bad(
    samples: list[tuple[str, int]], progress: bool | None = None
) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
    """Decode every file once; the samples that can be read, and (path, reason) of the others.

    Parameters
    ----------
    samples : list of (path, label)
    progress : bool, optional
        None: a bar only if stderr is a terminal, and after two seconds.
    """

    def reason(sample: tuple[str, int]) -> str:
        try:
            check_image(sample[0])
        except DataError as error:
            return str(error)
        return ""

    reasons = list(in_threads(reason, samples, "checking the images", progress))
    good = [sample for sample, text in zip(samples, reasons, strict=True) if not text]
    return good, [(sample[0], text) for sample, text in zip(samples, reasons, strict=True) if text]


def in_threads(
    work: Callable[[Any], Result], items: Iterable[Any], name: str, progress: bool | None = None
) -> Iterator[Result]:
    """`map(work, items)` on threads, in order, with a progress bar."""
    from tqdm import tqdm

    items = list(items)
    left = iter(items)
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="minicnn-images")
    bar = tqdm(
        desc=name,
        total=len(items),
        disable=None if progress is None else not progress,
        delay=AFTER,
        leave=False,
        dynamic_ncols=True,
        unit=" images",
    )
    try:
        # Not pool.map, which would hold the results of all items where the caller is slower than the threads.
        waiting = deque(pool.submit(work, item) for item in islice(left, 8 * READERS))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(left, 1))
            bar.update()
            yield result
    finally:  # also after an error or Ctrl-C
        bar.close()
        pool.shutdown(wait=True, cancel_futures=True)
