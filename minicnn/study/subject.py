"""What a command looks at: a network and an image for it, both given in words.

MODEL is a weights file, the name of embedded weights, or the name of an architecture, which then has random weights
from seed 0. IMAGE is an image file; without one it is a handwritten digit. The network is in evaluation mode.
"""

from __future__ import annotations

import difflib
import inspect
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import nn, weights
from minicnn.autograd import Tensor, no_grad
from minicnn.backends.random import manual_seed
from minicnn.errors import ArgumentError, WeightsError
from minicnn.models import MODELS, check_arguments
from minicnn.models.pretrained import LARGEST
from minicnn.weights import WeightsInfo

SEED = 0
SIZES = {"cnn": 32, "inception_v3": 299, "vae": 28, "conv_vae": 28}  # of images, where it is not 224
WITHOUT_NORMALISATION = ("vae", "conv_vae")  # networks that take pixels as probabilities
DIGITS = tuple(str(digit) for digit in range(10))


class Subject(NamedTuple):
    """A network, images for it, and what is known of them.

    Attributes
    ----------
    model : Module
        In evaluation mode.
    images : array (N, C, H, W), float32
        Prepared as the network takes them; N is 1.
    labels : array (N,) of int64, or None
        What the loss is taken against: the class that was asked for, else the digit's own where the network tells
        digits apart, else the network's own answer. None where the network gives no scores.
    classes : list of str
        Names of the classes; empty where the network has no names for them. From a file: not to be trusted.
    description : str
        One line: which network, which image, which label and why.
    """

    model: nn.Module
    images: np.ndarray
    labels: np.ndarray | None
    classes: list[str]
    description: str


def load_subject(
    model: str | os.PathLike[str],
    image: str | os.PathLike[str] | None = None,
    *,
    label: str | int | None = None,
    size: int | None = None,
    **arguments: Any,
) -> Subject:
    """The network and the image that these words mean.

    Parameters
    ----------
    model : path or str
        A weights file, the name of embedded weights, or of an architecture (`minicnn.models.MODELS`).
    image : path, optional
        An image file; without, the first handwritten digit of `data.digits`.
    label : str or int, optional
        Class for the loss, by name or number.
    size : int, optional
        Height and width of the image, if not those that the network was made for.
    arguments
        Of an architecture (`width=8`, `num_classes=10`); not with a file. None counts as not given.

    Raises
    ------
    MinicnnError
        One error: an unknown model, a broken file, an image that cannot be read, an unknown class.

    Examples
    --------
    >>> from minicnn.study.subject import load_subject
    >>> load_subject("cnn").images.shape
    (1, 3, 32, 32)
    """
    picture, digit = _picture(image)
    network, info, origin = _network(os.fspath(model), size, arguments)
    images = np.ascontiguousarray(_prepared(picture, info), np.float32)[None]
    classes = list(info.classes)
    labels, why = _label(network, images, classes, label, digit)
    name = "a handwritten digit" if image is None else Path(image).name
    return Subject(network, images, labels, classes, f"{origin}; image: {name}{why}")


def _network(model: str, size: int | None, arguments: dict[str, Any]) -> tuple[nn.Module, WeightsInfo, str]:
    """The network, what it takes, and a few words about it."""
    arguments = {name: value for name, value in arguments.items() if value is not None}
    if model in MODELS:
        known = inspect.signature(MODELS[model]).parameters
        for name in arguments:
            if name not in known:
                raise ArgumentError(f"{model} has no {name}", called=model, hint=f"leave out {name}")
        size = size or arguments.get("image_size") or SIZES.get(model, 224)
        if "image_size" in known:
            arguments["image_size"] = size
        elif "input_size" in known:
            arguments["input_size"] = size
        manual_seed(SEED)
        network = MODELS[model](**arguments).eval()
        channels = network.shape[0] if model in WITHOUT_NORMALISATION else arguments.get("in_channels", 3)
        info = WeightsInfo(model, {"in_channels": channels}, input_size=size, channels="L" if channels == 1 else "RGB")
        if channels == 1:
            info.mean, info.std = (0.5,), (0.5,)
        if model in WITHOUT_NORMALISATION:
            info.mean, info.std = (0.0,) * len(info.mean), (1.0,) * len(info.std)
        return network, info, f"{model} with random weights (seed {SEED})"
    if arguments:
        raise ArgumentError(f"{', '.join(arguments)} go with the name of an architecture", called=model)
    path = _found(model)
    described = weights.describe(path)
    if described.architecture not in MODELS:
        raise ArgumentError("unknown architecture", called=model, seen=described.architecture, rule=", ".join(MODELS))
    if described.architecture in LARGEST:
        check_arguments(path, described)
    network = MODELS[described.architecture](weights=path).eval()
    if size is not None:
        described.input_size, described.resize = size, None
    return network, described, f"{described.architecture} with the weights {path.stem}"


def _found(model: str) -> Path:
    try:
        return weights.find(model)
    except WeightsError:
        if Path(model).suffix:
            raise
        near = difflib.get_close_matches(model, [*MODELS, *weights.available()], 3)
        raise ArgumentError(
            "no such model",
            called=model,
            rule=f"a weights file, embedded weights ({', '.join(weights.available()) or 'none'}), "
            f"or an architecture ({', '.join(MODELS)})",
            hint=f"nearest: {', '.join(near)}" if near else "",
        ) from None


def _picture(image: str | os.PathLike[str] | None) -> tuple[Any, int | None]:
    """The image as PIL has it, and the digit that it shows, if it is one of ours."""
    from minicnn.data import digits, read_image

    if image is not None:
        return read_image(Path(image)), None
    from PIL import Image

    shown, digit = digits()[0]
    return Image.fromarray(np.asarray(shown, np.uint8)).convert("RGB"), int(digit)


def _prepared(picture: Any, info: WeightsInfo) -> np.ndarray:
    return np.asarray(info.transforms()(picture))


def _label(
    network: nn.Module, images: np.ndarray, classes: list[str], label: str | int | None, digit: int | None
) -> tuple[np.ndarray | None, str]:
    """The label, and words that say where it is from."""
    with no_grad():
        scores = network(Tensor(images))
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        if label is not None:
            raise ArgumentError("this network has no classes", called="load_subject", seen=f"label={label!r}")
        return None, ""
    many = scores.shape[1]
    tells_digits = tuple(classes) == DIGITS or (not classes and many == len(DIGITS))
    if label is not None:
        number, why = _class_number(label, classes, many), "the class asked for"
    elif digit is not None and tells_digits:
        number, why = digit, "the digit's own"
    else:
        number, why = int(np.argmax(scores.numpy()[0])), "the network's own answer"
    name = f" ({classes[number]})" if classes else ""
    return np.array([number]), f"; loss against class {number}{name}, {why}"


def _class_number(label: str | int, classes: list[str], many: int) -> int:
    text = str(label)
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < many:
        return int(text)
    near = difflib.get_close_matches(text, classes, 3, 0)
    raise ArgumentError(
        "there is no such class",
        called="load_subject",
        seen=f"label={label!r}",
        rule=f"a number below {many}" + (", or a class's name" if classes else ""),
        hint=f"nearest: {', '.join(near)}" if near else "",
    )
