"""Going on with a fine-tuning that was interrupted, by the settings in its `run.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from minicnn import weights as weight_files
from minicnn.errors import ArgumentError, DataError, WeightsError
from minicnn.training.finetune import finetune
from minicnn.training.report import RunFolder
from minicnn.training.results import FinetuneResult
from minicnn.training.settings import Settings
from minicnn.training.way_files import FOLDER, WayFiles

SAME = (
    ("versions", "minicnn", "a run of another version of minicnn", "install that version, or start anew"),
    ("data", "fingerprint", "a run with other images", "give the folder as it was: minicnn finetune DATA --resume RUN"),
    ("network", "sha256", "a run with other weights", "give the file: minicnn finetune --resume RUN --weights FILE"),
)


# Of settings that may be left out.
KINDS: dict[str, tuple[type, ...]] = {
    "lr": (int, float),
    "compare": (bool,),
    "per_class": (int,),
    "input_size": (int,),
    "augment": (bool,),
    "head_first": (bool,),
}


@dataclass(frozen=True)
class Resumed:
    """A run that goes on.

    Attributes
    ----------
    folder : RunFolder
    before : dict
        What its `run.toml` said.
    device : str
        Where it goes on.
    """

    folder: RunFolder
    before: dict[str, Any]
    device: str

    def checked(self, tables: dict[str, Any]) -> dict[str, Any]:
        """The tables of the new `run.toml`; raises if images or weights are not those of the run."""
        for table, key, problem, hint in SAME:
            if table in tables:
                _same(self.folder.path, problem, self.before[table][key], tables[table][key], hint)
        past = self.before.get("resumed", {}).get("devices", [])
        return {**tables, "resumed": {"times": len(past) + 1, "devices": [*past, self.device]}}


def resume(
    run: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str | None = None,
    checkpoint_every: str | None = None,
    keep_checkpoints: bool | None = None,
    announce: Callable[[str], Any] | None = print,
) -> FinetuneResult:
    """Go on with a fine-tuning, to the same bits as if it had not been interrupted.

    Ways that were gone to their end are not gone again; the others go on from their last checkpoint.

    Parameters
    ----------
    run : path
        The run's folder.
    data, weights : path, optional
        Where they are now, if they were moved.
    device : str, optional
        Where to go on, if not where it was: the bits are then others.
    checkpoint_every, keep_checkpoints : optional
        If not as before.
    announce : callable, optional
        As for `finetune`.

    Raises
    ------
    MinicnnError
        For a folder that is no run, a run that is finished, or of another version, with other images or weights. The
        folder stays as it is.
    """
    folder = RunFolder.reopen(run)
    try:
        before = _read(folder)
        if folder.is_finished:
            _tidy(folder, before)
            raise ArgumentError(
                "the run is finished", called=str(folder.path), hint="its results are in metrics.json; start another"
            )
        settings = replace(settings_in(before, folder.path / "run.toml"), out=folder.path)
        changes = {"data": data, "weights": weights, "device": device, "checkpoint_every": checkpoint_every}
        changes["keep_checkpoints"] = keep_checkpoints  # type: ignore[assignment]
        settings = replace(settings, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
        find(settings)
        devices = before.get("resumed", {}).get("devices", []) or [before["settings"]["device"]]
        if announce is not None and settings.device != devices[-1]:
            announce(f"on {settings.device} now, after {devices[-1]}: not to the bits of an uninterrupted run")
        return finetune(settings, announce, resumed=Resumed(folder, before, settings.device))
    finally:
        folder.unlock()


def _read(folder: RunFolder) -> dict[str, Any]:
    """What `run.toml` says."""
    called = str(folder.path / "run.toml")
    try:
        before = tomllib.loads((folder.path / "run.toml").read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ArgumentError("not the settings of a run", called=called, seen="no TOML") from None
    if not before:
        raise ArgumentError(
            "the run was interrupted before it began", called=str(folder.path), hint="start it anew, with --out"
        )
    for table, key, problem, hint in SAME:
        if not isinstance(before.get(table, {}).get(key), str):
            raise ArgumentError("a run that cannot go on", called=called, seen=f"no {key} in [{table}]", hint=hint)
        if table == "versions":
            from minicnn import __version__

            _same(folder.path, problem, before[table][key], __version__, hint)
    return before


def _same(path: Path, problem: str, found: str, own: str, hint: str) -> None:
    if found != own:
        raise ArgumentError(problem, called=str(path), seen=found[:64], rule=own[:64], hint=hint)


def settings_in(before: dict[str, Any], path: Path) -> Settings:
    """The settings in what a TOML file says."""
    table, kinds = before.get("settings", {}), get_type_hints(Settings)
    values = {item.name: table[item.name] for item in fields(Settings) if item.name in table}
    for name, value in values.items():
        whole_for_real = isinstance(value, int) and isinstance(1.0, kinds[name])
        if not isinstance(value, kinds[name]) and not whole_for_real:
            raise ArgumentError("not the settings of a run", called=str(path), seen=f"{name} = {value!r}"[:80])
    if "weights" in values:
        file = Path(values["weights"]).expanduser()
        is_default = len(file.parts) == 1 and not file.exists()  # then run.toml has the name of the file alone
        values["weights"] = None if is_default else file
    return Settings(**values)


def find(settings: Settings) -> None:
    """Raise for images or weights that are not where they were; paths in run.toml start where the run was started."""
    if settings.data is not None and not Path(settings.data).expanduser().exists():
        raise DataError(
            "the images are not there",
            called=os.fspath(settings.data),
            hint="go to the folder where the run was started, or give them: minicnn finetune DATA --resume RUN",
        )
    names = (None, *weight_files.available())
    if settings.weights not in names and not Path(str(settings.weights)).exists():
        raise WeightsError(
            "the weights that the run began with are not there",
            called=os.fspath(str(settings.weights)),
            hint="give them: minicnn finetune --resume RUN --weights FILE",
        )


def _tidy(folder: RunFolder, before: dict[str, Any]) -> None:
    """Remove what a run leaves that was interrupted after its last result and before its end."""
    if not before["settings"].get("keep_checkpoints", False) and (folder.path / FOLDER).is_dir():
        WayFiles(folder.path, [], {}, "5min", lambda line: None).remove()
