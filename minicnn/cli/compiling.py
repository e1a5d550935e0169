"""Kernels are compiled when they first run: says so on stderr, and how long it took."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def compiling_shown(in_lines: bool = True) -> Iterator[None]:
    """Show the compiling of kernels in this block: a line before, one after, and on a terminal a counter in between.

    Parameters
    ----------
    in_lines : bool
        False for the counter alone, where the work in the block has lines of its own.
    """
    from tqdm import tqdm

    from minicnn.backends.jit import CompileClock

    counters: list[Any] = []

    def show(kernel: str) -> None:
        if not counters:
            if in_lines:
                say("compiling kernels for this machine; later runs find them compiled ...")
            form = "kernel {n_fmt}, {elapsed}{postfix}"
            counters.append(tqdm(bar_format=form, disable=None, leave=False))  # None: on a terminal only
        counters[0].set_postfix_str(kernel, refresh=False)
        counters[0].n += 1
        counters[0].refresh()  # at once: `update` waits for more, and a kernel takes seconds

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)  # beside the bars that may be there
        sys.stderr.flush()

    with CompileClock(show) as clock:
        try:
            yield
        finally:
            for counter in counters:
                counter.close()
    if in_lines and clock.kernels:
        many = len(clock.kernels)
        say(f"compiled {many} kernel{'s' * (many > 1)} in {clock.seconds:.1f} s")
