r"""Where a network looked: maps over the image, by Grad-CAM and by occlusion.

Grad-CAM (Selvaraju et al. 2017) takes a convolution's output A (C, h, w) and the score y of a class: a channel's weight
is the mean of its gradient, and the map is what the channels say for the class, weighted:

.. math:: \alpha_c = \frac{1}{hw} \sum_{ij} \frac{\partial y}{\partial A_{cij}}, \qquad
          M_{ij} = \mathrm{ReLU}\Big( \sum_c \alpha_c A_{cij} \Big)

Occlusion (Zeiler, Fergus 2014) asks nothing of the network's inside: a patch is laid over the image, place by place,
and the map says by how much the class's probability falls where it lies. One run of the network a place: slow, honest.

::

    maps = grad_cam(model, images, layer="layer4")      # (N, H, W), the image's size
    picture = overlay(pixels, maps[0])                  # (H, W, 3), to look at
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.backends.arrays import is_array
from minicnn.errors import ArgumentError, DataError, GraphError, ShapeError
from minicnn.nn import Module
from minicnn.nn import functional as F  # noqa: N812
from minicnn.training.evaluation import PREDICT_BATCH, device_of, evaluating


def grad_cam(model: Module, images: Any, layer: str | None = None, classes: Any = None) -> np.ndarray:
    """A map for each image: large where the layer's output speaks for the class.

    Parameters
    ----------
    model : Module
        Images to scores (N, classes). It runs in evaluation mode; mode, parameters and gradients stay as they were.
    images : Tensor or array (N, C, H, W)
        As the network takes them.
    layer : str, optional
        Dotted name of a module whose output is (N, C, h, w): "layer4", "layer4.1.conv2". Without, the last one that has
        such an output, larger than 1x1, where there is one.
    classes : int or int array (N,), optional
        Whose score; without, the class that the network calls each image.

    Returns
    -------
    float32 array (N, H, W)
        0 or more, not normalised; brought to the image's size bilinearly.
    """
    x = _images("grad_cam", images)
    name = _last_map(model, x[:1]) if layer is None else layer
    module = model.get_submodule(name)
    seen: list[Any] = []
    maps = []
    remove = module.register_forward_hook(lambda _, given, output: seen.append(output))
    try:
        with evaluating(model), _parameters_left_alone(model):
            for start in range(0, len(x), PREDICT_BATCH):
                seen.clear()
                part = Tensor(x[start : start + PREDICT_BATCH], requires_grad=False).to(device_of(model))
                scores = _scores(model, Tensor(part.array, requires_grad=True))
                activation = _activation(seen, name, len(scores))
                activation.retain_grad()
                chosen = _chosen("grad_cam", scores, classes, start, len(x))
                one_hot = np.zeros(scores.shape, scores.dtype)
                one_hot[np.arange(len(chosen)), chosen] = 1
                scores.backward(Tensor(one_hot).to(scores.device).array)
                if activation.grad is None:
                    raise GraphError("the scores do not depend on this layer", called="grad_cam", seen=name)
                a, gradient = (t.detach().cpu().numpy() for t in (activation, activation.grad))
                weighted = np.einsum("nchw,nc->nhw", a, gradient.mean(axis=(2, 3)))
                maps.append(_resized(np.maximum(weighted, 0), x.shape[2:]))
    finally:
        remove()
    return np.concatenate(maps)


def occlusion(
    model: Module,
    images: Any,
    size: int | None = None,
    stride: int | None = None,
    classes: Any = None,
    value: float = 0.0,
) -> np.ndarray:
    """A map for each image: by how much the probability of the class falls when a patch lies there.

    Parameters
    ----------
    model : Module
        Images to scores (N, classes); it runs in evaluation mode, and keeps its mode.
    images : Tensor or array (N, C, H, W)
    size : int, optional
        Side of the square patch; a quarter of the shorter side without.
    stride : int, optional
        Distance of its places; half of the patch without. The last place of a row and column is at the image's edge.
    classes : int or int array (N,), optional
        Whose probability; without, the class that the network calls each image.
    value : float
        What the patch is filled with; 0 is the mean of normalised images.

    Returns
    -------
    float32 array (N, H, W)
        For each pixel, the mean over the patches that lay on it; negative where hiding it helps the class.
    """
    x = _images("occlusion", images)
    height, width = x.shape[2:]
    size = max(min(height, width) // 4, 1) if size is None else size
    stride = max(size // 2, 1) if stride is None else stride
    for name, number in (("size", size), ("stride", stride)):
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= min(height, width):
            raise ArgumentError(
                f"{name} is not valid",
                called="occlusion",
                seen=f"{name}={number!r}, images {height}x{width}",
                rule=f"1 <= {name} <= the shorter side",
            )
    if stride > size:
        raise ArgumentError(
            "a stride that leaves gaps", called="occlusion", seen=f"size={size}, stride={stride}", rule="stride <= size"
        )
    places = [(top, left) for top in _places(height, size, stride) for left in _places(width, size, stride)]
    maps = np.zeros((len(x), height, width))
    covered = np.zeros((height, width))
    for top, left in places:
        covered[top : top + size, left : left + size] += 1
    with evaluating(model), no_grad():
        whole = np.concatenate([_probabilities(model, part) for part in _parts(x)])
        chosen = _chosen("occlusion", Tensor(whole), classes, 0, len(x))
        rows = np.arange(len(x))
        for top, left in places:
            hidden = x.copy()
            hidden[:, :, top : top + size, left : left + size] = value
            left_over = np.concatenate([_probabilities(model, part) for part in _parts(hidden)])
            fall = whole[rows, chosen] - left_over[rows, chosen]
            maps[:, top : top + size, left : left + size] += fall[:, None, None]
    return (maps / covered).astype(np.float32)


def overlay(image: Any, heat: Any, strength: float = 0.55) -> np.ndarray:
    """An image under its map: the image in grey, the map from black over red to pale yellow (its largest value).

    Parameters
    ----------
    image : uint8 array (H, W) or (H, W, 3), or PIL.Image
    heat : float array (H, W)
        Negative values count as 0; a map without positive ones stays dark.
    strength : float
        Share of the map in the picture, 0..1.

    Returns
    -------
    uint8 array (H, W, 3)
    """
    image, heat = np.asarray(image), np.maximum(np.asarray(heat, np.float64), 0)
    if image.dtype != np.uint8 or heat.ndim != 2 or image.shape not in (heat.shape, (*heat.shape, 3)):
        raise ShapeError(
            "image and map do not fit",
            called="overlay",
            seen=f"image {image.shape} {image.dtype}, map {heat.shape}",
            rule="image uint8 (H, W) or (H, W, 3), map (H, W)",
        )
    if not np.isfinite(heat).all():
        raise DataError("the map is not finite", called="overlay", seen="NaN or infinity", rule="finite numbers")
    if not 0 <= strength <= 1:
        raise ArgumentError("strength is not valid", called="overlay", seen=str(strength), rule="0 <= strength <= 1")
    from matplotlib import colormaps

    grey = image if image.ndim == 2 else image @ np.array([0.299, 0.587, 0.114])
    colours = colormaps["inferno"](heat / (heat.max() or 1))[..., :3] * 255
    return np.rint((1 - strength) * grey[..., None] + strength * colours).astype(np.uint8)


@contextmanager
def _parameters_left_alone(model: Module) -> Iterator[None]:
    """No gradient is computed for a parameter in this block; what each had, and whether it learns, is as before."""
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in wanted:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter, learns in wanted:
            parameter.requires_grad = learns


def _images(called: str, images: Any) -> np.ndarray:
    on_device = isinstance(images, Tensor) or is_array(images)
    array = Tensor(images).cpu().numpy() if on_device else np.asarray(images)
    if array.ndim != 4 or array.dtype.kind != "f" or not array.size:
        raise ShapeError(
            "not images", called=called, seen=f"{array.shape} {array.dtype}", rule="floats (N, C, H, W), N >= 1"
        )
    return array


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(x), PREDICT_BATCH):
        yield x[start : start + PREDICT_BATCH]


def _scores(model: Module, x: Tensor) -> Tensor:
    scores = model(x)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(x):
        raise ShapeError(
            "the model does not classify", called="maps", seen=type(model).__name__, rule="scores (N, classes)"
        )
    return scores


def _probabilities(model: Module, x: np.ndarray) -> np.ndarray:
    return F.softmax(_scores(model, Tensor(x).to(device_of(model))), 1).cpu().numpy()


def _last_map(model: Module, x: np.ndarray) -> str:
    """The name of the module that ran last of those with an output (1, C, h, w); larger than 1x1 if there is one."""
    names = {module: name for name, module in model.named_modules()}
    found: list[tuple[str, int]] = []

    def note(module: Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found.append((names[module], output.shape[2] * output.shape[3]))

    removes = [module.register_forward_hook(note) for module in names]
    try:
        with evaluating(model), no_grad():
            model(Tensor(x).to(device_of(model)))
    finally:
        for remove in removes:
            remove()
    large = [name for name, pixels in found if pixels > 1] or [name for name, _ in found]
    if not large:
        raise ArgumentError(
            "no layer has a map as its output", called="grad_cam", rule="(N, C, h, w)", hint="occlusion needs none"
        )
    return large[-1]


def _activation(seen: list[Any], name: str, n: int) -> Tensor:
    output = seen[-1] if seen else None
    if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != n:
        raise ArgumentError(
            f"the output of {name!r} is not a map",
            called="grad_cam",
            seen=str(output.shape) if isinstance(output, Tensor) else "it did not run",
            rule="(N, C, h, w)",
        )
    if not output.requires_grad:
        raise GraphError("nothing is recorded", called="grad_cam", hint="call it outside no_grad")
    return output


def _chosen(called: str, scores: Tensor, classes: Any, start: int, total: int) -> np.ndarray:
    """The class of each image of a part, of `total` images in all, that begins at `start`."""
    n, count = scores.shape
    if classes is None:
        return scores.detach().cpu().numpy().argmax(axis=1)
    chosen = np.asarray(classes)
    chosen = np.full(total, chosen) if chosen.ndim == 0 else chosen
    if chosen.shape != (total,) or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= count:
        raise ArgumentError(
            "classes do not fit",
            called=called,
            seen=f"{np.asarray(classes).shape} {chosen.dtype}, {count} classes",
            rule="one class, or one for each image, 0 <= class < number of classes",
        )
    return chosen[start : start + n]


def _places(length: int, size: int, stride: int) -> list[int]:
    starts = list(range(0, length - size + 1, stride))
    return starts if starts[-1] == length - size else [*starts, length - size]


def _resized(maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maps (N, h, w) at the size (H, W), bilinearly, centres of pixels kept."""
    from PIL import Image

    size = (shape[1], shape[0])
    sheets = [Image.fromarray(heat.astype(np.float32)) for heat in maps]
    return np.stack([np.asarray(sheet.resize(size, Image.Resampling.BILINEAR)) for sheet in sheets])
