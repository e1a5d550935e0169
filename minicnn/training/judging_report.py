"""The report of a judgement: one page of HTML with its pictures in it, and all numbers as `metrics.json`."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.samples import pixels_of
from minicnn.data.transforms.compose import as_image
from minicnn.errors import ArgumentError
from minicnn.files import cannot_write, write_atomically
from minicnn.training import html_page as page
from minicnn.training import judging_pictures, pictures
from minicnn.training.judging import Judgement, prepared
from minicnn.training.maps import grad_cam, occlusion, overlay

FILES = ("report.html", "metrics.json")
MOST_MAPS = 8  # mistakes that are shown with maps: occlusion runs the network some fifty times for each
SIDE = 112  # pixels of a picture in the page


def open_report(folder: str | os.PathLike[str]) -> Path:
    """The folder of a report, made where it is not there; before the work, so that one that takes no files is found."""
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ArgumentError("not a folder", called=os.fspath(folder), rule="a folder for the report") from None
    except OSError as error:
        raise cannot_write(folder, error) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise cannot_write(folder, PermissionError(13, "Permission denied"))
    return path


def write_report(judgement: Judgement, folder: str | os.PathLike[str], maps: bool = False) -> Path:
    """Write `report.html` and `metrics.json`; those that were there are replaced as whole files.

    Parameters
    ----------
    judgement : Judgement
    folder : path
    maps : bool
        Show where the network looked, beside the worst mistakes: Grad-CAM where the network has a layer for it, and
        occlusion.

    Returns
    -------
    Path
        Of the page.
    """
    path = open_report(folder)
    content = page.page(_title(judgement), _body(judgement, maps))
    write_atomically(path / "report.html", content)
    write_atomically(path / "metrics.json", json.dumps(judgement.as_dict(), indent=1, allow_nan=False) + "\n")
    return path / "report.html"


def _title(judgement: Judgement) -> str:
    data = Path(judgement.data).name
    where = f"{data}/{judgement.part}" if judgement.part else data
    return f"{Path(judgement.model).name} on {where}"


def _body(judgement: Judgement, maps: bool) -> Iterator[str]:
    yield f"<h1>{page.text(_title(judgement))}</h1>"
    yield f'<p class="soft">{page.text(_origin(judgement))}</p>'
    yield page.numbers(_numbers(judgement))
    yield from _mistakes(judgement, maps)
    yield from _confusion(judgement)
    yield _classes(judgement)
    if judgement.curves.macro is not None:
        yield page.section(
            "Curves of the scores",
            "Each class against the rest, over all thresholds on its probability: grey lines are single classes, the "
            "three worst are named. Macro counts each class the same, micro each image. Dotted: guessing.",
            page.plot(judging_pictures.score_picture(judgement.curves), "ROC and precision-recall curves"),
        )
    calibration = judgement.calibration
    yield page.section(
        "Calibration",
        "Of the images of which the network says 90%, nine in ten should be right: then the bars end on the dashed "
        f"line. Expected calibration error (ECE) {calibration.ece:.4f}, largest distance {calibration.largest:.3f}, "
        f"Brier score {calibration.brier:.4f}. Suggestion: {calibration.suggestion}.",
        page.plot(judging_pictures.reliability_picture(calibration), "reliability diagram"),
    )


def _origin(judgement: Judgement) -> str:
    left_out = f", {len(judgement.skipped):,} left out that cannot be read" if judgement.skipped else ""
    return (
        f"{judgement.architecture} from {judgement.model}; {judgement.images:,} images of {judgement.data}{left_out}, "
        f"{len(judgement.metrics.classes):,} classes; {judgement.seconds:.1f} s"
    )


def _numbers(judgement: Judgement) -> Iterator[tuple[str, str, str]]:
    metrics, (low, high) = judgement.metrics, judgement.interval
    yield "accuracy", f"{metrics.accuracy:.1%}", f"95%: {low:.1%} to {high:.1%}"
    for k, value in metrics.top_k.items():
        yield f"top-{k}", f"{value:.1%}", ""
    yield "macro F1", f"{metrics.macro_f1:.3f}", f"precision {metrics.precision:.3f}, recall {metrics.recall:.3f}"
    if judgement.curves.macro is not None:
        macro = judgement.curves.macro
        yield "macro AUC", f"{macro.auc:.3f}", f"average precision {macro.average_precision:.3f}"
    after = judgement.calibration.ece_scaled
    yield "ECE", f"{judgement.calibration.ece:.3f}", "" if after is None else f"{after:.3f} with a temperature"
    wrong = judgement.images - int(np.trace(metrics.confusion))
    yield "mistakes", f"{wrong:,}", f"of {judgement.images:,} images"


def _mistakes(judgement: Judgement, maps: bool) -> Iterator[str]:
    if not judgement.mistakes:
        if not judgement.pairs:
            yield page.section("The worst mistakes", "There are none: every image is called right.")
        return
    classes = judgement.metrics.classes

    def lines(mistake: Any) -> list[str]:
        return [
            f"{classes[mistake.prediction]} {mistake.probability:.0%}",
            f"true: {classes[mistake.target]} {mistake.target_probability:.0%}",
            judgement.names[mistake.index],
        ]

    with_maps = judgement.mistakes[:MOST_MAPS] if maps else []
    if with_maps:
        shown = list(_with_maps(judgement, [m.index for m in with_maps], [m.prediction for m in with_maps]))
        figures = [
            page.figure(triple, "image, Grad-CAM, occlusion", lines(m))
            for m, triple in zip(with_maps, shown, strict=True)
        ]
        kinds = "Grad-CAM and occlusion" if len(shown[0]) == 3 else "occlusion"
        yield page.section(
            "Where it looked",
            "The worst mistakes as the network gets them, and beside them where the wrong answer comes from, by "
            f"{kinds}: bright places speak for it, and where all is dark, nothing does. "
            "The first line is what the network says.",
            page.sheet(figures, wide=True),
        )
    figures = [
        page.figure([thumbnail(judgement, m.index)], f"called {classes[m.prediction]}", lines(m))
        for m in judgement.mistakes
    ]
    yield page.section(
        "The worst mistakes",
        "The wrong answers that the network is surest of. Look for wrong labels, two things in one picture, and "
        "pictures of a kind that the training did not have. The first line is what the network says.",
        page.sheet(figures),
    )


def _confusion(judgement: Judgement) -> Iterator[str]:
    metrics = judgement.metrics
    yield page.section(
        "Confusion matrix",
        "True classes downwards, what they are called to the right; a row is shaded by its shares.",
        page.plot(pictures.confusion(metrics), "confusion matrix"),
    )
    if not judgement.pairs:
        return
    classes = metrics.classes
    figures = [
        page.figure(
            [thumbnail(judgement, i) for i in pair.examples],
            f"{classes[pair.target]} called {classes[pair.prediction]}",
            [f"{classes[pair.target]} called {classes[pair.prediction]}", f"{pair.count:,} images, {pair.share:.1%}"],
        )
        for pair in judgement.pairs
    ]
    yield page.section(
        "Confused pairs",
        "The most frequent ones, with their share of the true class; the examples are the surest mistakes.",
        page.sheet(figures, wide=True),
    )


def _classes(judgement: Judgement) -> str:
    rows = []
    for row, curve in zip(judgement.metrics.per_class, judgement.curves.per_class, strict=True):
        areas = ("-", "-") if curve is None else (f"{curve.auc:.3f}", f"{curve.average_precision:.3f}")
        own = [f"{value:.3f}" if row.support else "-" for value in (row.precision, row.recall, row.f1)]
        rows.append([row.name, f"{row.support:,}", *own, *areas])
    return page.section(
        "Classes",
        "Precision: of the images called so, the share that is so. Recall: of the class's images, the share that was "
        "found. F1: their harmonic mean. AUC and AP: areas below the curves of the class against the rest.",
        page.table(["class", "images", "precision", "recall", "F1", "AUC", "AP"], rows),
        page.plot(judging_pictures.classes_picture(judgement.metrics), "F1, precision and recall of the classes"),
    )


def thumbnail(judgement: Judgement, index: int) -> bytes:
    """An image as it was before any transform, small."""
    return encoded(pixels_of(judgement.dataset, index))


def encoded(picture: Any) -> bytes:
    """A picture of `SIDE` pixels: as PNG, or as JPEG where that is smaller; a small one with its pixels to be seen."""
    from PIL import Image

    picture = as_image("report", picture).convert("RGB")
    scale = SIDE / max(picture.size)
    way = Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST
    picture = picture.resize((max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)), way)
    best = b""
    for kind, options in (("PNG", {"optimize": True}), ("JPEG", {"quality": 85})):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        best = min(filter(None, (best, buffer.getvalue())), key=len)
    return best


def _with_maps(judgement: Judgement, indices: list[int], classes: list[int]) -> Iterator[list[bytes]]:
    """Of each image what the network gets, Grad-CAM and occlusion for a class."""
    x = prepared(judgement, indices)
    heats = []
    with contextlib.suppress(ArgumentError):  # a network without any map in it
        heats.append(grad_cam(judgement.network, x, classes=classes))
    heats.append(occlusion(judgement.network, x, classes=classes))
    for i, pixels in enumerate(as_pixels(x.numpy(), judgement.pretrained.info)):
        drawn = [pixels, *(overlay(pixels, heat[i]) for heat in heats)]
        yield [encoded(picture) for picture in drawn]


def as_pixels(x: np.ndarray, info: Any) -> np.ndarray:
    """Images as a network takes them (N, C, H, W) back to what people see: uint8 (N, H, W, 3)."""
    mean, std = (np.asarray(values, np.float64)[:, None, None] / info.scale for values in (info.mean, info.std))
    pixels = np.rint(255 * np.clip(x * std + mean, 0, 1)).astype(np.uint8).transpose(0, 2, 3, 1)
    if info.channels == "BGR":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)) if pixels.shape[3] == 1 else pixels)
