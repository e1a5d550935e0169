"""The exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.errors import ArgumentError
from minicnn.ops import updates, values


class EMA:
    r"""The mean of a network's weights over the last steps, which often judges better than the weights themselves.

    .. math:: a \leftarrow d\, a + (1 - d)\, w

    after each step, with :math:`d` decay; a begins as the weights of the first `update`. So the mean is over about
    :math:`1 / (1 - d)` steps. It equals `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`.
    Running statistics of batch norm are not averaged: they are means over steps already.

    ::

        ema = optim.EMA(model.parameters(), decay=0.99)
        ...
        optimizer.step()
        ema.update()
        ...
        with ema.applied():
            validate(model)

    Parameters
    ----------
    params : iterable of Tensors
    decay : float
        0 <= decay < 1.

    Attributes
    ----------
    updates : int
        How many there were.
    is_applied : bool
        Whether the parameters hold the averages now.
    """

    def __init__(self, params: Iterable[Tensor], decay: float = 0.999) -> None:
        self.params = [params] if isinstance(params, Tensor) else list(params)
        if not self.params or not all(isinstance(p, Tensor) for p in self.params):
            raise ArgumentError("no parameters", called="EMA", hint="pass model.parameters()")
        if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay < 1:
            raise ArgumentError("decay is not valid", called="EMA", seen=f"decay={decay!r}", rule="0 <= decay < 1")
        self.decay = decay
        self.updates = 0
        self.is_applied = False
        self._averages: list[Any] = []

    def update(self) -> None:
        """Take in the weights after a step."""
        if self.is_applied:
            raise ArgumentError("the parameters hold the averages", called="EMA.update", hint="leave `applied` first")
        if not self.updates:
            self._averages = [values.copy(p.array) for p in self.params]
        else:
            with np.errstate(all="ignore"):  # weights that blow up show it by themselves
                for average, p in zip(self._averages, self.params, strict=True):
                    updates.average(average, p.array, self.decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold the averages in this block; before the first `update` they stay what they are."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Exchange parameters and averages."""
        if self.updates:
            for i, p in enumerate(self.params):
                p.array, self._averages[i] = self._averages[i], p.array
            self.is_applied = not self.is_applied

    def finish(self) -> None:
        """The parameters take the averages for good."""
        if self.updates and not self.is_applied:
            for p, average in zip(self.params, self._averages, strict=True):
                p.array = values.copy(average)

    def state_dict(self) -> dict[str, Any]:
        """The averages as copies on the CPU, numbered as the parameters are: `{"updates": 7, "average": {0: ...}}`."""
        held = [p.array for p in self.params] if self.is_applied else self._averages
        return {"updates": self.updates, "average": {i: moved(a, "cpu").copy() for i, a in enumerate(held)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; nothing is taken over unless everything fits."""
        averages = {int(i): a for i, a in state["average"].items()}
        wanted = {i: (p.shape, p.dtype) for i, p in enumerate(self.params)} if state["updates"] else {}
        if {i: (a.shape, a.dtype) for i, a in averages.items()} != wanted or self.is_applied:
            raise ArgumentError("the averages are of other parameters", called="EMA.load_state_dict")
        self.updates = int(state["updates"])
        self._averages = [moved(averages[i].copy(), self.params[i].device) for i in range(len(averages))]
