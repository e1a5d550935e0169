"""The main job: a pretrained network learns new classes, and what that is worth is measured.

`finetune(Settings())` takes the digits of scikit-learn and the embedded weights and goes three ways to compare them;
`finetune(Settings(data=folder))` fine-tunes on photographs of one's own. The ways are those of `minicnn.training.ways`.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn.errors import DivergedError
from minicnn.training import sources
from minicnn.training.augmentation import variation
from minicnn.training.fingerprint import fingerprint
from minicnn.training.last_and_best import LastAndBest
from minicnn.training.pretrained import Pretrained, default_weights
from minicnn.training.report import RunFolder, shown_path
from minicnn.training.results import FinetuneResult, Row
from minicnn.training.settings import Settings
from minicnn.training.sources import Source
from minicnn.training.way_files import WayFiles
from minicnn.training.ways import Journey, Outcome, Way, choose

if TYPE_CHECKING:
    from minicnn.training.resuming import Resumed

Announce = Callable[[str], Any]


def finetune(
    settings: Settings, announce: Announce | None = print, *, resumed: Resumed | None = None
) -> FinetuneResult:
    """Fine-tune a pretrained network, and report.

    Parameters
    ----------
    settings : Settings
    announce : callable, optional
        Gets a line of text at each step; None: quiet, without a progress bar.
    resumed : Resumed, optional
        The run that goes on; see `minicnn.training.resume`.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    MinicnnError
        For settings, images or weights that cannot be used; no folder is made then.
    """
    from minicnn.backends.jit import CompileClock

    start = time.perf_counter()
    say = announce or (lambda line: None)
    ways, journey = prepare(settings, say, None if announce else False)
    pretrained, source = journey.pretrained, journey.source
    journey.build(ways[-1])  # weights that do not fit, and names that no child has, are found here
    say(f"{source.name}: {_images(source)}, {len(source.classes)} classes ({source.parts})")
    if source.skipped:
        say(f"{len(source.skipped):,} images cannot be read and are left out; the first: {source.skipped[0][1]}")
    say(pretrained.describe(source.classes))
    tables = _tables(settings, pretrained, source, ways)
    if resumed is not None:
        tables = resumed.checked(tables)
    about = {"images": tables["data"]["fingerprint"], "weights": tables["network"]["sha256"], "seed": settings.seed}
    folder = RunFolder(settings.out, source.name) if resumed is None else resumed.folder
    files = WayFiles(folder.path, source.classes, about, settings.checkpoint_every, say)
    say(f"checkpoints: {files.folder}, after epochs and every {_every(settings)}")
    try:
        folder.write_settings(tables)
        with CompileClock(_once(say, "compiling kernels for this machine; later runs find them compiled ...")) as clock:
            journey.warm_up()
            if clock.kernels:
                say(f"compiled {len(clock.kernels)} kernels in {clock.seconds:.1f} s")
            outcomes = []
            for way in ways:
                outcome = files.outcome(way)
                if outcome is None:
                    on_epoch = _on_epoch(folder, pretrained, source, way is ways[-1])
                    outcome = journey.go(way, on_epoch, files.checkpoints(way))
                    files.finish(way, outcome, settings.keep_checkpoints)
                outcomes.append(outcome)
                say(str(outcome))
        _report(folder, source, outcomes, clock.seconds)
        if not settings.keep_checkpoints:
            files.remove()
    except BaseException as error:
        if not (files.exist or resumed or (folder.path / "model.h5").exists()):
            folder.discard()
        elif isinstance(error, DivergedError):
            say(f"the weights after the last whole epoch, if there was one, are in {folder.path / 'model.h5'}")
        else:
            say(f"to go on: minicnn finetune --resume {shlex.quote(str(folder.path))}")
        raise
    finally:
        folder.unlock()
    return FinetuneResult(
        rows=[
            Row(o.way.name, o.evaluation.metrics.accuracy, o.evaluation.metrics.macro_f1, o.seconds) for o in outcomes
        ],
        classes=source.classes,
        train_images=len(source.train),
        validation_images=len(source.validation),
        folder=folder.path,
        seconds=time.perf_counter() - start,
        compile_seconds=clock.seconds,
        skipped_images=len(source.skipped),
    )


def prepare(settings: Settings, say: Announce, progress: bool | None) -> tuple[list[Way], Journey]:
    """What these settings ask for: the ways, and who goes them, with the weights and the images looked at.

    Parameters
    ----------
    settings : Settings
    say : callable
        Gets a line if other weights are taken than those for such images.
    progress : bool or None
        As for `Trainer`.
    """
    settings.check()
    photographs = settings.data is not None
    ways = choose(
        settings.freeze,
        settings.lr,
        settings.compares,
        photographs=photographs,
        head_first=settings.trains_head_first,
        rates_by_depth=settings.depth_factor,
        unfreeze=settings.unfreeze,
        freeze_bn=settings.batch_norm_kept,
    )
    pretrained = Pretrained(settings.weights or default_weights(photographs, say), input_size=settings.input_size)
    transform = pretrained.transform(grey=not photographs)
    vary = variation(pretrained.info, progress) if settings.augments else None
    source = sources.load(
        settings.data, transform, settings.per_class, settings.seed, settings.skip_bad, vary, settings.division
    )
    sizes = settings.epochs, settings.batch_size, settings.seed
    return ways, Journey(pretrained, source, *sizes, progress, settings.device)


def _on_epoch(folder: RunFolder, pretrained: Pretrained, source: Source, is_last: bool) -> Any:
    """Of the last way, the weights are kept."""
    if not is_last:
        return None
    info = pretrained.info_for(source.classes, f"{source.name}, {len(source.train):,} images")
    return lambda model: LastAndBest(folder.path, model, info, last="model.h5")


def _report(folder: RunFolder, source: Source, outcomes: list[Outcome], compile_seconds: float) -> None:
    """The pictures, and at last `metrics.json`, by which a run is finished."""
    asked = outcomes[-1]
    title = f"{source.name}, {len(source.train):,} images to train on"
    histories = {outcome.way.name: outcome.history for outcome in outcomes}
    folder.write_pictures(histories, asked.evaluation.metrics, title, asked.way.name)
    folder.write_metrics(
        {
            "way": asked.way.name,
            "classes": source.classes,
            "train_images": len(source.train),
            "validation_images": len(source.validation),
            "skipped_images": [name for name, _ in source.skipped],
            "compile_seconds": compile_seconds,
            "ways": [
                {
                    "way": outcome.way.name,
                    "seconds": outcome.seconds,
                    "loss": outcome.evaluation.loss,
                    **outcome.evaluation.metrics.as_dict(),
                    "history": outcome.history.as_dict(),
                }
                for outcome in outcomes
            ],
        }
    )


def _tables(settings: Settings, pretrained: Pretrained, source: Source, ways: list[Way]) -> dict[str, Any]:
    """What `run.toml` says: what was asked for, and what came of it."""
    asked = {item.name: getattr(settings, item.name) for item in fields(settings)}
    for name in ("data", "out"):
        asked[name] = None if asked[name] is None else shown_path(asked[name])
    stages = {"rates_by_depth": settings.depth_factor or 1, "freeze_bn": settings.batch_norm_kept}
    if settings.freeze == "backbone":  # which has none
        stages = {}
    asked["weights"] = pretrained.path.name if settings.weights is None else shown_path(pretrained.path)
    return {
        "settings": {
            **asked,
            "compare": settings.compares,
            "augment": settings.augments,
            "head_first": settings.trains_head_first,
            **stages,
        },
        "data": {
            "name": source.name,
            "parts": source.parts,
            "classes": source.classes,
            "train_images": len(source.train),
            "validation_images": len(source.validation),
            "skipped_images": len(source.skipped),
            "fingerprint": f"{fingerprint(source.train)[:32]}{fingerprint(source.validation)[:32]}",
        },
        "network": {
            "sha256": sha256(pretrained.path),
            "architecture": pretrained.info.architecture,
            "arguments": pretrained.info.arguments,
            "input_size": pretrained.info.input_size,
            "mean": pretrained.info.mean,
            "std": pretrained.info.std,
        },
        "training": {"optimizer": "Adam", "schedule": "cosine", "loss": "cross-entropy"},
        "ways": {
            way.name: {
                "pretrained": way.pretrained,
                "freeze": way.freeze,
                "lr": way.lr,
                "head_first": way.head_first,
                "rates_by_depth": way.rates_by_depth,
                "unfreeze": way.unfreeze,
                "freeze_bn": way.freeze_bn,
            }
            for way in ways
        },
    }


def _images(source: Source) -> str:
    return f"{len(source.train):,} images to train on, {len(source.validation):,} to test"


def _every(settings: Settings) -> str:
    return (
        settings.checkpoint_every.replace("min", " minutes")
        if "min" in settings.checkpoint_every
        else (f"{settings.checkpoint_every} steps")
    )


def sha256(path: Path) -> str:
    """Of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _once(say: Announce, line: str) -> Announce:
    """Says `line` when it is called first."""
    lines = [line]
    return lambda _: say(lines.pop()) if lines else None
