"""Learning rates that change from epoch to epoch, under PyTorch's names and with its numbers.

::

    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    for epoch in range(90):
        ...                 # the steps of one epoch
        scheduler.step()    # OneCycleLR: after each batch; ReduceLROnPlateau: step(validation_loss)

Each writes `group["lr"]` itself, from the rate that the group had when the scheduler was made. So there is one an
optimizer; a `Trainer`, which sets rates by its own `schedule`, takes those of `minicnn.training.schedules`.

| file | what is in it |
|---|---|
| `scheduler.py` | `LRScheduler`: what they share |
| `by_epoch.py` | `LambdaLR`, `StepLR`, `MultiStepLR`, `ExponentialLR`, `CosineAnnealingLR`: functions of the epoch |
| `one_cycle.py` | `OneCycleLR`: up and down once, momentum the other way |
| `plateau.py` | `ReduceLROnPlateau`: down when a measured number gets no better |
"""

from minicnn.optim.lr_scheduler.by_epoch import CosineAnnealingLR, ExponentialLR, LambdaLR, MultiStepLR, StepLR
from minicnn.optim.lr_scheduler.one_cycle import OneCycleLR
from minicnn.optim.lr_scheduler.plateau import Plateau, ReduceLROnPlateau
from minicnn.optim.lr_scheduler.scheduler import LRScheduler

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "MultiStepLR",
    "OneCycleLR",
    "Plateau",
    "ReduceLROnPlateau",
    "StepLR",
]
