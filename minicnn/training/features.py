"""What a frozen network sees in images, computed once.

If everything below the head is frozen, the head gets the same features for an image in every epoch: a frozen network
is in evaluation mode, nothing in it is drawn, and no image of a batch changes what becomes of another. So the network
below the head runs once over the images, and the head is then trained on its results.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.autograd import Tensor, no_grad
from minicnn.data import ArrayDataset
from minicnn.errors import ArgumentError
from minicnn.training.evaluation import device_of


def features(model: nn.Module, head: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], classes: list[str]) -> Any:
    """The inputs of `head` for all images of a loader, as a data set.

    Parameters
    ----------
    model : Module
        Everything in it but the head is frozen, and its output is the output of the head.
    head : Module
    loader : loader
        Without random transforms, in a fixed order.
    classes : list of str
        Names of the classes.

    Returns
    -------
    ArrayDataset
        `dataset[i]` is (features (F,), label).
    """
    if any(not module.frozen for module in model.modules() if module is not head):
        raise ArgumentError("the network is not frozen", called="features", rule="all but the head is frozen")
    seen: list[tuple[Tensor, Tensor]] = []
    inputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    remove = head.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
    try:
        with no_grad():
            for images, labels in loader:
                seen.clear()
                scores = model(images.to(device_of(model)))
                if len(seen) != 1 or seen[0][1] is not scores:
                    raise ArgumentError(
                        "the network does not end in its head",
                        called="features",
                        seen=f"{type(model).__name__}: something follows {type(head).__name__}, or it runs twice",
                    )
                inputs.append(seen[0][0].cpu().numpy())
                targets.append(labels.cpu().numpy())
    finally:
        remove()
    return ArrayDataset(np.concatenate(inputs), np.concatenate(targets), classes)
