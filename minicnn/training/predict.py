"""From image files to class names and probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minicnn import nn
from minicnn.autograd import Tensor, no_grad
from minicnn.backends.arrays import check_device
from minicnn.data import read_image
from minicnn.errors import WeightsError
from minicnn.training.pretrained import Pretrained


def predict_images(
    model: str | os.PathLike[str], paths: Sequence[str | os.PathLike[str]], top: int = 5, device: str = "cpu"
) -> list[list[tuple[str, float]]]:
    """The most probable classes of each image.

    Parameters
    ----------
    model : path or name
        A weights file: it says which network, which classes, and how images are prepared.
    paths : sequence of paths
    top : int
        Classes for each image.
    device : str
        Where the network runs: "cpu" or "cuda".

    Returns
    -------
    list of lists of (class name, probability)
        The most probable first.
    """
    check_device(device)
    pretrained = Pretrained(model)
    classes = list(pretrained.info.classes)
    if not classes:
        raise WeightsError(
            "the file names no classes",
            called=os.fspath(model),
            hint="give a model.h5 of a run, or name them: minicnn weights import ... --classes names.txt",
        )
    images = [read_image(Path(path)) for path in paths]  # an image that cannot be read is found before any work
    transform, network = pretrained.transform(), pretrained.build(classes).eval().to(device)
    answers = []
    for image in images:
        with no_grad():
            logits = network(Tensor(np.asarray(transform(image))[None]).to(device))
            probabilities = nn.functional.softmax(logits, 1).cpu().numpy()[0]
        best = np.argsort(-probabilities, kind="stable")[:top]
        answers.append([(classes[i], float(probabilities[i])) for i in best])
    return answers
