r"""A learning rate to begin with, found in one sweep (Smith 2017: Cyclical Learning Rates, section 3.3).

The rate rises from step to step by the same factor, from far too small to far too large, and the loss of each batch is
noted. First nothing happens, then the loss falls, then it grows without bounds. A rate where it falls fastest, well
before it turns, is one to train with. The loss is smoothed, :math:`s_t = \beta s_{t-1} + (1 - \beta) l_t`, divided by
:math:`1 - \beta^t` for the start from 0.

::

    found = find_learning_rate(model, optimizer, nn.CrossEntropyLoss(), loader)
    optimizer.param_groups[0]["lr"] = found.suggestion

Afterwards model, optimizer, loader and random generator are what they were, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends import random
from minicnn.errors import ArgumentError, DataError, DivergedError
from minicnn.nn import Module
from minicnn.optim import Optimizer
from minicnn.training.drawing import STYLES, figure, png, tidy
from minicnn.training.evaluation import evaluating
from minicnn.training.trainer import Batches, Trainer

FEWEST = 8  # steps before the suggestion means anything
TOO_MUCH = 4.0  # times the smallest smoothed loss: there the sweep ends


@dataclass(frozen=True)
class LearningRates:
    """The sweep.

    Attributes
    ----------
    rates : float array (S,)
        Rising; fewer than asked for where the loss grew too large.
    losses, smoothed : float array (S,)
    suggestion : float
        Where the smoothed loss falls fastest along the logarithm of the rate, before its minimum; but at most a tenth
        of `largest`, since the mean lags behind.
    largest : float
        Where the smoothed loss is smallest: with this rate a training is at the edge.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    largest: float

    def as_dict(self) -> dict[str, Any]:
        """Lists and numbers, ready for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("rates", "losses", "smoothed")}
        return {**arrays, "suggestion": self.suggestion, "largest": self.largest}

    def __str__(self) -> str:
        sweep = f"{len(self.rates)} steps from {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        return f"learning rate {self.suggestion:.2g} (smallest loss at {self.largest:.2g}; {sweep})"

    def picture(self) -> bytes:
        """A PNG: the loss against the rate, and the suggestion."""
        drawn = figure(5.6, 3.8)
        axes = drawn.subplots()
        axes.plot(self.rates, self.losses, color="0.75", linewidth=0.9, label="each batch")
        axes.plot(self.rates, self.smoothed, color=STYLES[2]["color"], linewidth=1.8, label="smoothed")
        axes.axvline(self.suggestion, color="#b35900", linestyle="--", label=f"suggestion {self.suggestion:.2g}")
        axes.axvline(self.largest, color="0.4", linestyle=":", label=f"smallest loss {self.largest:.2g}")
        tidy(axes, "learning rate", "loss", "a sweep of the learning rate")
        axes.set_xscale("log")
        axes.set_ylim(0, 1.15 * min(self.smoothed.max(), 2 * self.smoothed[0]))  # without the explosion
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        return png(drawn)


def find_learning_rate(
    model: Module,
    optimizer: Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    loader: Batches,
    *,
    start: float = 1e-6,
    end: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    progress: bool | None = None,
) -> LearningRates:
    """Sweep the learning rate once.

    Parameters
    ----------
    model, optimizer, loss
        As a `Trainer` takes them. With several groups of parameters their rates keep their shares: the largest is the
        one that is swept.
    loader : loader
        Its batches come again where there are fewer than `steps`.
    start, end : float
        First and last rate.
    steps : int
        The sweep ends before, where the smoothed loss is 4 times its smallest value, or not finite.
    smoothing : float
        Beta, 0 <= beta < 1.
    progress : bool or None
        Whether a bar is shown; None: only on a terminal.

    Raises
    ------
    ArgumentError
        For rates, steps or a smoothing that cannot be; or if the loss rises from the first step on.
    DivergedError
        If the loss is not finite within the first 8 steps: start lower.
    """
    _check(start, end, steps, smoothing)
    rates = start * (end / start) ** (np.arange(steps) / (steps - 1))
    own = [group["lr"] for group in optimizer.param_groups]
    shares = [rate / max(own) if max(own) > 0 else 1.0 for rate in own]
    trainer = Trainer(model, optimizer, loss, progress=False)
    losses: list[float] = []
    smoothed: list[float] = []
    mean = 0.0
    from tqdm import tqdm

    hidden = None if progress is None else not progress
    with restored(model, optimizer, loader):
        model.train()
        bar = tqdm(rates, "learning rates", disable=hidden, leave=False)
        for i, (rate, (x, labels)) in enumerate(zip(bar, _batches(loader), strict=False)):
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = float(rate * share)
            try:
                value, _ = trainer._step(x, labels, f"learning rate {rate:.2g}")
            except DivergedError:
                if i < FEWEST:
                    raise
                break
            mean = smoothing * mean + (1 - smoothing) * value
            losses.append(value)
            smoothed.append(mean / (1 - smoothing ** (i + 1)))
            if i >= FEWEST and smoothed[-1] > TOO_MUCH * min(smoothed):
                break
        bar.close()
    return _found(rates[: len(losses)], np.array(losses), np.array(smoothed))


@contextmanager
def restored(model: Module, optimizer: Optimizer, loader: Any) -> Iterator[None]:
    """After this block, model, gradients, modes, optimizer, loader and random generator are as before, to the bit."""
    state, settings, drawn = model.state_dict(), optimizer.state_dict(), random.generator().bit_generator.state
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    epoch = (loader.epoch, loader.start) if hasattr(loader, "set_epoch") else None
    with evaluating(model):  # it notes the mode of every module
        try:
            yield
        finally:
            model.load_state_dict(state)
            optimizer.load_state_dict(settings)
            random.generator().bit_generator.state = drawn
            for parameter, gradient in gradients:
                parameter.grad = gradient
            if epoch is not None:
                loader.set_epoch(*epoch)


def _batches(loader: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise DataError("no batch", called="find_learning_rate", seen=repr(loader), rule="at least one batch")


def _found(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray) -> LearningRates:
    """The steepest place before the minimum; the first steps are left out, in which the mean is of few batches."""
    lowest = int(smoothed.argmin())
    if lowest < 2:
        raise ArgumentError(
            "the loss falls nowhere",
            called="find_learning_rate",
            seen=f"smallest at the first rate, {rates[lowest]:.2g}",
            hint="a smaller start",
        )
    first = min(FEWEST, max(lowest - 2, 0))
    slope = np.gradient(smoothed, np.log(rates))[first : lowest + 1]
    suggestion = min(rates[first + slope.argmin()], rates[lowest] / 10)
    return LearningRates(rates, losses, smoothed, float(suggestion), float(rates[lowest]))


def _check(start: float, end: float, steps: int, smoothing: float) -> None:
    called = "find_learning_rate"
    if not 0 < start < end < np.inf:
        raise ArgumentError("rates are not valid", called=called, seen=f"{start} .. {end}", rule="0 < start < end")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps <= FEWEST:
        raise ArgumentError("steps is not valid", called=called, seen=f"steps={steps!r}", rule=f"steps > {FEWEST}")
    if not 0 <= smoothing < 1:
        raise ArgumentError(
            "smoothing is not valid", called=called, seen=f"smoothing={smoothing}", rule="0 <= smoothing < 1"
        )
