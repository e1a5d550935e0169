"""What a model does with images, and small helpers for measuring it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import is_array
from minicnn.nn import Module
from minicnn.training.metrics import Metrics

PREDICT_BATCH = 64  # images that go through the network at once when an array is predicted


@dataclass(frozen=True)
class Evaluation:
    """What a model does with the images of a loader.

    Attributes
    ----------
    loss : float
        Mean over images.
    targets, predictions : int array (N,)
        True and most probable classes, in the loader's order.
    probabilities : float array (N, C)
    metrics : Metrics
    """

    loss: float
    targets: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    metrics: Metrics


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode in this block; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def device_of(model: Module) -> str:
    """Where the parameters of a model are."""
    return next((parameter.device for parameter in model.parameters()), "cpu")


def class_names(loader: Any, count: int) -> list[str] | None:
    """Names from the loader's data set, if there is one for each score."""
    names = getattr(getattr(loader, "dataset", None), "classes", None)
    return names if names is not None and len(names) == count else None


def image_batches(images: Any) -> Iterator[Tensor]:
    """Images (N, ...) in parts that go through a network at once; or those of a loader, with or without labels."""
    if isinstance(images, Tensor) or is_array(images):
        array = images.array if isinstance(images, Tensor) else images
        for start in range(0, len(array), PREDICT_BATCH):
            yield Tensor(array[start : start + PREDICT_BATCH])
        return
    for batch in images:
        yield batch[0] if isinstance(batch, (tuple, list)) else batch
