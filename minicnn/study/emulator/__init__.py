"""A GPU without a GPU: runs the same `.cu` files, through the same launches, on the CPU.

::

    from minicnn.study.emulator import emulated

    with emulated():
        model.to("cuda")
        loss = criterion(model(images.to("cuda")), labels.to("cuda"))
        loss.backward()

Slow (a thousandth of a GPU), but strict: arguments of a wrong type, threads that wait at different barriers, shared
memory that nobody wrote, indices out of their array (with `sanitize="address"`) and races (with `sanitize="thread"`)
are errors that name the line of the `.cu` file. `schedule` changes the order in which threads run: 0 ascending, 1
descending, others permuted; a right kernel gives the same numbers in all.

It needs g++. What it cannot show: speed, registers, the newest instructions (`wgmma`), and rounding to the last bit.

`cuda.h` gives g++ the words of CUDA C++, `scheduler.cpp` runs the threads, `build.py` compiles and launches,
`stand_in.py` is the part of CuPy that minicnn uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minicnn.backends import cuda


@contextmanager
def emulated(schedule: int = 0, sanitize: str = "") -> Iterator[None]:
    """In this block "cuda" is the emulated GPU.

    Parameters
    ----------
    schedule : int
        Order of the threads: 0 ascending, 1 descending, others a permutation. With odd ones asynchronous copies arrive
        at once, with even ones as late as they may.
    sanitize : str
        `"thread"`, `"address"` or `"undefined"`: watch the kernels with these sanitizers of g++ (see `build.Module`).
    """
    from minicnn.study.emulator import stand_in

    tokens = stand_in.schedule.set(schedule), stand_in.sanitizer.set(sanitize)
    try:
        with cuda.using(stand_in):
            yield
    finally:
        stand_in.schedule.reset(tokens[0])
        stand_in.sanitizer.reset(tokens[1])
