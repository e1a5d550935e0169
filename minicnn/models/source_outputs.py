"""What a weights file computes in the framework that it came from, where that is installed; to compare results with.

ONNX files are run by onnxruntime; PyTorch's by torchvision's network of the same name. Nothing is run unless asked for
(`verify_weights(..., outputs=True)`): the other frameworks have their own ways with hostile files.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from minicnn.errors import MissingPackageError, WeightsError


def source_outputs(
    path: str | os.PathLike[str], architecture: str, arguments: dict[str, Any], images: np.ndarray
) -> tuple[str, np.ndarray]:
    """Logits of images, by the file's own framework.

    Parameters
    ----------
    path : path
        An ONNX file, or a PyTorch checkpoint that holds a state dict of torchvision's names.
    architecture : str
    arguments : dict
        Of the architecture; torchvision's networks take `num_classes` only.
    images : array
        float32 (N, C, H, W).

    Returns
    -------
    (framework, logits)

    Raises
    ------
    MissingPackageError
        If the framework is not installed.
    WeightsError
        If the file is of another format, or its framework cannot run it.
    """
    from minicnn.weights.importers import read_foreign

    called = os.fspath(path)
    kind = read_foreign(path).format  # refuses what is broken or reaches out, before another library opens it
    if kind == "ONNX":
        return "onnxruntime", _by_onnxruntime(called, images)
    if kind.startswith("PyTorch"):
        return "torchvision", _by_torchvision(called, architecture, arguments, images)
    raise WeightsError(
        "no framework is known that runs this format", called=called, seen=kind, rule="ONNX, or a PyTorch checkpoint"
    )


def _by_onnxruntime(called: str, images: np.ndarray) -> np.ndarray:
    try:
        import onnxruntime
    except ImportError:
        raise MissingPackageError(
            "onnxruntime is not installed", called="outputs", hint="pip install onnxruntime"
        ) from None
    try:
        session = onnxruntime.InferenceSession(called, providers=["CPUExecutionProvider"])
        inputs = [item.name for item in session.get_inputs()]
        if len(inputs) != 1:
            raise WeightsError("the model takes more than images", called=called, seen=", ".join(inputs[:4]))
        # One at a time: many models are exported for one image.
        return np.concatenate([session.run(None, {inputs[0]: image[None]})[0] for image in images])
    except WeightsError:
        raise
    except Exception as error:  # onnxruntime has errors of its own for each cause
        raise WeightsError(
            "onnxruntime cannot run the model", called=called, seen=" ".join(str(error).split())[:200]
        ) from None


def _by_torchvision(called: str, architecture: str, arguments: dict[str, Any], images: np.ndarray) -> np.ndarray:
    try:
        import torch
        import torchvision
    except ImportError:
        raise MissingPackageError(
            "torch or torchvision is not installed", called="outputs", hint="pip install torch torchvision"
        ) from None
    try:
        state = torch.load(called, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has errors of its own for each cause
        raise WeightsError(
            "torch cannot read the file", called=called, seen=" ".join(str(error).split())[:120]
        ) from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    try:
        model = getattr(torchvision.models, architecture)(**arguments)
        model.load_state_dict(state)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise WeightsError(
            "torchvision cannot build this network from the file",
            called=called,
            seen=f"{architecture} {arguments}: {' '.join(str(error).split())[:120]}",
        ) from None
    with torch.no_grad():
        return model.eval()(torch.from_numpy(images)).numpy()
