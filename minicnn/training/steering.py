"""What a training may have besides model, optimizer and loss: everything that changes its steps, or ends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from minicnn.autograd import Tensor
from minicnn.nn import Module
from minicnn.nn.utils import clip_grad_norm_
from minicnn.optim import EMA, Optimizer
from minicnn.training.early_stopping import EarlyStopping
from minicnn.training.history import History
from minicnn.training.schedules import Schedule


@dataclass
class Steering:
    """The arguments of `Trainer` with these names, and when each of them has its turn."""

    schedule: Schedule
    penalty: Callable[[], Tensor] | None = None
    clip_norm: float | None = None
    ema: EMA | None = None
    early_stopping: EarlyStopping | None = None

    def begin(self) -> None:
        """Forget what was learned about an earlier training."""
        if self.early_stopping is not None:
            self.early_stopping.weights = None
        self.tell(History())

    def tell(self, history: History) -> None:
        """Show all epochs so far to a schedule that wants to see them, such as `ReduceOnPlateau`."""
        after_epoch = getattr(self.schedule, "after_epoch", None)
        if after_epoch is not None:
            after_epoch(history)

    def step(self, loss: Tensor, optimizer: Optimizer) -> None:
        """Move the weights along the gradient of the loss."""
        optimizer.zero_grad()
        if self.penalty is not None:
            loss = loss + self.penalty()
        loss.backward()
        if self.clip_norm is not None:
            clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], self.clip_norm)
        optimizer.step()
        if self.ema is not None:
            self.ema.update()

    def averaged(self) -> AbstractContextManager[None]:
        """In this block the model has the averaged weights, where there are such."""
        return self.ema.applied() if self.ema is not None else nullcontext()

    def own(self) -> AbstractContextManager[None]:
        """In this block, which may be within `averaged`, the model has the weights that learn."""
        return self.ema.applied() if self.ema is not None and self.ema.is_applied else nullcontext()

    def after_epoch(self, history: History, model: Module) -> None:
        """Look at the model of an epoch."""
        if self.early_stopping is not None:
            self.early_stopping.after_epoch(history, model)

    def is_over(self, history: History) -> bool:
        """Whether the training ends before its last epoch."""
        return self.early_stopping is not None and self.early_stopping.is_over(history)

    def end(self, history: History, model: Module) -> bool:
        """Give the model the weights that are the result; whether they are others than after the last epoch."""
        if self.early_stopping is not None:
            self.early_stopping.restore(model)
            return self.early_stopping.best(history) is not history[-1]
        if self.ema is not None:
            self.ema.finish()
        return False

    @property
    def about(self) -> dict[str, Any]:
        """Settings of what there is, for checkpoints; the schedule's values are noted elsewhere."""
        settings = {
            "plateau": getattr(self.schedule, "about", None),
            "early_stopping": getattr(self.early_stopping, "about", None),
            "ema": getattr(self.ema, "decay", None),
            "clip_norm": self.clip_norm,
            "penalty": True if self.penalty is not None else None,
        }
        return {name: value for name, value in settings.items() if value is not None}
