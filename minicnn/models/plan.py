"""A network as a list of steps, and how it runs: what `minicnn.fuse` makes.

The first steps of a network for images are all work of kernels: convolutions with packed weights, pooling, sums. They
run once as Python; after that only their kernels are called again (`backends/capture.py`), on the plan's own buffers.
The steps after them (a classifier's, often) run as Python each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.backends.capture import Capture
from minicnn.backends.threads import Lock
from minicnn.ops.registry import Operation


@dataclass
class Step:
    """One operation of the list: values are numbered, constants are arrays."""

    operation: Operation
    inputs: list[int | Array | None]
    options: dict[str, Any]
    output: int
    shape: tuple[int, ...]
    shapes: list[tuple[int, ...]]
    label: str = ""
    run: Callable[..., Array] = field(default=lambda: None, repr=False)
    kernels_only: bool = False  # nothing but kernels depends on the values: can be captured
    used: list[int] = field(default_factory=list)  # numbers of the values that `run` takes
    last: list[int] = field(default_factory=list)  # values that nobody needs after this step


class Plan:
    """The steps of a network for images of one shape, in order; value 0 is the images, the last one the result.

    Parameters
    ----------
    steps : list of Step
    images : array
        Images of the shape for which the steps were made.
    """

    def __init__(self, steps: list[Step], images: Array) -> None:
        self.steps = steps
        self._result = steps[-1].output
        self._lock = Lock()
        self._images = np.empty(images.shape, images.dtype)
        self._images[...] = images
        self._through(steps, {0: self._images})  # packs weights, compiles
        many = next((i for i, step in enumerate(steps) if not step.kernels_only), len(steps))
        self._rest = steps[many:]
        self._values: dict[int, Array] = {0: self._images}  # that the other steps, or the caller, need
        with Capture() as self._capture:
            self._through(steps[:many], self._values)

    @staticmethod
    def _through(steps: list[Step], values: dict[int, Array]) -> None:
        with np.errstate(all="ignore"):
            for step in steps:
                values[step.output] = step.run(*[values[i] for i in step.used])
                for i in step.last:
                    del values[i]

    def __call__(self, images: Array) -> Array:
        """The network's result for these images; threads take turns."""
        with self._lock:
            self._images[...] = images
            self._capture.replay()
            values = dict(self._values)
            self._through(self._rest, values)
            result = values[self._result]
            mine = any(np.may_share_memory(result, kept) for kept in self._values.values())
            return result.copy() if mine else result  # the next run would write into it
