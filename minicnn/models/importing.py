"""Importing weights: a foreign file of any known format becomes a weights file of minicnn.

The file's names are matched against the tables of `minicnn/weights/names.py`; its shapes say the network's arguments
(number of classes, width, stem, channels); every array is then checked against the network that these make. Only
then is the new file written.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import weights as weight_files
from minicnn.errors import ArgumentError, MinicnnError, WeightsError
from minicnn.models.pretrained import LARGEST, Shape
from minicnn.models.recognising import (
    fitting,
    is_home,
    match_of,
    names_of,
    parameters_of,
    recognised,
    shapes_of,
    uninitialized,
)
from minicnn.nn import BatchNorm2d, Module
from minicnn.weights.adaptation import adapted
from minicnn.weights.importers import Foreign, read_foreign
from minicnn.weights.importers.conventions import prepare
from minicnn.weights.importing import ImportReport, classes_of, convert
from minicnn.weights.matching import Match

IMAGENET_CLASSES = 1000
SMALL_IMAGES = 32  # what a small stem is for

# Preparation of images where it is not that of WeightsInfo: short side 256, of which 224 are cut out.
PREPROCESSING: dict[str, dict[str, Any]] = {
    "inception_v3": {"resize": 342, "input_size": 299, "mean": (0.5,) * 3, "std": (0.5,) * 3},
}
INCEPTION_NOTE = (
    "images are normalised by mean 0.5 and std 0.5: the same as torchvision's transform_input=True with ImageNet's"
)


def import_weights(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    arch: str | None = None,
    num_classes: int | None = None,
    *,
    classes: Sequence[str] | None = None,
    input_size: int | None = None,
    prefix: str | None = None,
    bn_epsilon: float | None = None,
    arguments: dict[str, Any] | None = None,
    progress: bool | None = False,
) -> ImportReport:
    """Import a weights file of another library.

    Parameters
    ----------
    src : path
        PyTorch (.pth, .pt), safetensors, .npz, Keras or plain HDF5, ONNX; known by its content.
    dst : path
        The weights file to write. It is written only if everything fits.
    arch : str, optional
        Name in `minicnn.models.MODELS`; without, the one whose names the file has.
    num_classes : int, optional
        The file says it. Where the file has no head, the network gets a new one of this size.
    classes : sequence of str, optional
        Names of the classes, in the order of the logits; without, those that the file may hold.
    input_size : int, optional
        Height and width of the images; 224 (299 for Inception, 32 for a small stem).
    prefix : str, optional
        What stands before the network's names, where a file holds several networks: "model_ema.".
    bn_epsilon : float, optional
        Epsilon of the file's batch normalisations, where it is not that of the library: Keras' default is 1e-3, and
        its files do not say what was used.
    arguments : dict, optional
        Arguments of the architecture that the shapes do not say.
    progress : bool or None
        Show on stderr what is being done; None: only if it is a terminal.

    Returns
    -------
    ImportReport
        Prints as a table.

    Raises
    ------
    WeightsError
        If the file is broken, hostile, or not for this network: what is missing, and what does not fit.
    """
    called = os.fspath(src)
    _check_arguments(arch, num_classes, classes, dst)
    num_classes = len(classes) if num_classes is None and classes is not None else num_classes
    if Path(dst).exists() and Path(src).exists() and os.path.samefile(src, dst):
        raise ArgumentError("the new file would replace its source", called=called, hint="give another name")
    if is_home(src):
        raise WeightsError("already a weights file of minicnn", called=called, hint="use it as it is")
    with _stages(progress) as stage:
        stage("reading")
        foreign = read_foreign(src)
        stage("matching names")
        arch = arch or recognised(foreign, called, prefix)
        state, info, report = _imported(
            foreign, called, arch, num_classes, classes, input_size, prefix, bn_epsilon, arguments
        )
        stage("writing")
        weight_files.save(dst, state, info)
    return report


def _imported(
    foreign: Foreign,
    called: str,
    arch: str,
    num_classes: int | None,
    classes: Sequence[str] | None,
    input_size: int | None,
    prefix: str | None,
    bn_epsilon: float | None,
    arguments: dict[str, Any] | None,
) -> tuple[dict[str, np.ndarray], weight_files.WeightsInfo, ImportReport]:
    """State and description of the network in a file, and the report; raises unless everything fits."""
    try:
        foreign = prepare(foreign, names_of(arch)[0], called, bn_epsilon)
        match = match_of(foreign, arch, called, prefix)
        report = ImportReport(called, foreign.format, match.table.library, match.prefix, arch, notes=[*foreign.notes])
        report.arguments = {**_arguments(foreign, match, arch, num_classes, called), **(arguments or {})}
        model = _network(arch, report.arguments, foreign, match, called)
        heads = tuple(f"{head}." for head in model.heads)
        expected = shapes_of(model)
        lacking = {name for name in expected if name.startswith(heads)}.isdisjoint(match.names)
        eps = {name: module.eps for name, module in model.named_modules() if isinstance(module, BatchNorm2d)}
        state = convert(foreign, match, expected, report, eps=eps, new=heads if lacking and num_classes else ())
    except WeightsError as error:
        others = [name for name in fitting(foreign, prefix) if name != arch]
        if others and "several networks" not in error.problem:
            error.hint = f"these are the names of {' or '.join(others)}"
        raise
    if lacking:
        state.update(_new_head(model, heads, report))
    info = _info(foreign, match, report, classes, input_size)
    return {name: state[name] for name in expected if name in state}, info, report


@contextmanager
def _stages(show: bool | None) -> Iterator[Callable[[str], None]]:
    """Shows which of the three stages is at work; calling what it gives begins the next one."""
    from tqdm import tqdm

    disable = None if show is None else not show
    with tqdm(total=3, disable=disable, leave=False, bar_format="{desc} ({n}/{total}, {elapsed})") as bar:

        def begin(name: str) -> None:
            bar.set_description_str(name, refresh=False)
            bar.update()
            bar.refresh()

        yield begin


def _check_arguments(arch: str | None, num_classes: int | None, classes: Sequence[str] | None, dst: Any) -> None:
    if arch is not None and arch not in LARGEST:
        raise ArgumentError("unknown architecture", called="import_weights", seen=ascii(arch), rule=", ".join(LARGEST))
    if classes is not None and num_classes is not None and len(classes) != num_classes:
        raise ArgumentError(
            "classes and num_classes differ", called="import_weights", seen=f"{len(classes)} names, {num_classes}"
        )
    if not Path(dst).absolute().parent.is_dir():
        raise ArgumentError("there is no such folder", called="import_weights", seen=os.fspath(Path(dst).parent))


def _arguments(foreign: Foreign, match: Match, arch: str, num_classes: int | None, called: str) -> dict[str, Any]:
    """The architecture's arguments, as shapes in the file say; defaults are left out, but for the number of classes."""
    names, heads = names_of(arch)
    takes = parameters_of(arch)
    first = _shape(foreign, match, next(name for name in names if name.endswith(".weight")))
    head = _shape(foreign, match, f"{heads[-1]}weight")
    found: dict[str, Any] = {}
    if head is not None:
        found["num_classes"] = head[0]
        if num_classes not in (None, head[0]):
            raise WeightsError(
                "another number of classes in the file",
                called=called,
                seen=str(head[0]),
                rule=str(num_classes),
                hint="import it as it is: fine-tuning makes a new head by itself",
            )
    elif num_classes is not None:
        found["num_classes"] = num_classes
    if first is not None and len(first) == 4:
        seen = {"width": first[0], "in_channels": first[1], "stem": "small" if first[2:] == (3, 3) else "imagenet"}
        defaults = inspect.signature(LARGEST[arch]).parameters
        found.update({key: n for key, n in seen.items() if key in takes and n != defaults[key].default})
    if "image_size" in takes:  # of the cnn: 64 channels, halved twice, into fc1
        hidden = _shape(foreign, match, "fc1.weight")
        found["image_size"] = 4 * math.isqrt(hidden[-1] // 64) if hidden else SMALL_IMAGES
    if "aux_logits" in takes and not any(name.startswith("AuxLogits.") for name in match.names):
        found["aux_logits"] = False
    return found


def _shape(foreign: Foreign, match: Match, name: str) -> Shape | None:
    """Shape of an array of the file, with the axes as in a network of ours."""
    theirs = match.names.get(name)
    if theirs is None:
        return None
    shape = foreign.arrays[theirs].shape
    return (*shape[:-3:-1], *shape[:-2]) if foreign.layout == "keras" and len(shape) > 1 else shape


def _network(arch: str, arguments: dict[str, Any], foreign: Foreign, match: Match, called: str) -> Module:
    """The network of these arguments, without values; a small file must not make us build a huge one."""
    try:
        largest = LARGEST[arch](**arguments)
    except (TypeError, MinicnnError) as error:
        raise WeightsError(
            f"the shapes are not those of {arch}", called=called, seen=str(arguments), rule=str(error)
        ) from None
    for name, shape in largest.items():
        theirs = match.names.get(name)
        if theirs is not None and foreign.arrays[theirs].size != int(np.prod(shape, dtype=object)):
            raise WeightsError(
                f"shapes that are not those of {arch}",
                called=called,
                seen=f"{theirs} {foreign.arrays[theirs].shape}",
                rule=f"{name} {shape}",
                hint="is it the right architecture?",
            )
    if not any(name in match.names for name in largest):
        raise WeightsError(f"the largest weights of {arch} are missing", called=called, rule=", ".join(largest))
    try:
        return uninitialized(arch, arguments)
    except (MemoryError, ValueError):  # the file lacks one of these, and the others make a huge network
        raise WeightsError(f"the shapes are not those of {arch}", called=called, seen=str(arguments)) from None


def _new_head(model: Module, heads: tuple[str, ...], report: ImportReport) -> dict[str, np.ndarray]:
    """Values for the head of a network whose file has none."""
    for name, module in model.named_modules():
        if f"{name}." in heads:
            module.reset_parameters()  # type: ignore[operator]
    state = {name: array for name, array in model.state_dict().items() if name.startswith(heads)}
    report.notes.append(f"the file has no head: {', '.join(state)} are new, untrained")
    return state


def _info(
    foreign: Foreign, match: Match, report: ImportReport, classes: Sequence[str] | None, input_size: int | None
) -> weight_files.WeightsInfo:
    """What the new file says about itself."""
    arguments = dict(report.arguments)
    count = arguments.get("num_classes", IMAGENET_CLASSES)
    names = list(classes) if classes is not None else classes_of(foreign.values, count)
    if names and len(names) != count:
        raise WeightsError(
            "another number of classes in the file", called=report.source, seen=f"{count}", rule=f"{len(names)} names"
        )
    if names and classes is None:
        report.notes.append("names of the classes are the file's")
    if not names:
        report.notes.append("the file does not name its classes; `minicnn predict` needs names, which --classes gives")
    small = arguments.get("stem") == "small" or "image_size" in arguments
    preparation: dict[str, Any] = {"resize": 256}
    if small:
        preparation = {"resize": None, "input_size": arguments.get("image_size", SMALL_IMAGES)}
    preparation.update(PREPROCESSING.get(report.architecture, {}))
    preparation.update(match.table.preprocessing)
    if arguments.get("stem") == "small":
        report.notes.append(
            "a first convolution of 3x3 is followed by a max pooling here: networks without one give other results"
        )
    if report.architecture == "inception_v3":
        report.notes.append(INCEPTION_NOTE)
    if not match.table.preprocessing:
        report.notes.append(_preparation_note(count, small))
    with open(report.source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    imagenet = count == IMAGENET_CLASSES and not small
    info = weight_files.WeightsInfo(
        report.architecture,
        {**arguments, "num_classes": count},
        classes=names,
        trained_on="not said by the file; 1000 classes, as of ImageNet-1k" if imagenet else "not said by the file",
        notes=f"imported from {Path(report.source).name} ({foreign.format}, names of {match.table.library}), "
        f"sha256 {digest}",
        **preparation,
    )
    channels = info.arguments.pop("in_channels", None)
    return adapted(info, channels, input_size)


def _preparation_note(count: int, small: bool) -> str:
    if count == IMAGENET_CLASSES and not small:
        return "images are prepared as torchvision does for ImageNet"
    return "the file does not say how its images were prepared: as for ImageNet is assumed"
